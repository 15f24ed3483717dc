use std::fmt::{self, Write};
use std::time::Duration;

use http::{HeaderName, HeaderValue};

/// The value of `Cache-Control` in a response, or of a targeted field (RFC 9111 §5.2.2, RFC 5861,
/// RFC 8246).
///
/// ```
/// use std::time::Duration;
///
/// use bartizan_cache::CacheControl;
///
/// let pages = CacheControl::public()
///     .max_age(Duration::from_secs(60))
///     .stale_while_revalidate(Duration::from_secs(30));
/// assert_eq!(pages.to_string(), "public, max-age=60, stale-while-revalidate=30");
/// assert_eq!(CacheControl::no_store().to_string(), "no-store");
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use]
pub struct CacheControl {
    public: bool,
    private: bool,
    private_fields: Vec<HeaderName>,
    no_store: bool,
    no_cache: bool,
    no_cache_fields: Vec<HeaderName>,
    no_transform: bool,
    must_revalidate: bool,
    proxy_revalidate: bool,
    must_understand: bool,
    immutable: bool,
    max_age: Option<u64>,
    s_maxage: Option<u64>,
    stale_while_revalidate: Option<u64>,
    stale_if_error: Option<u64>,
}

impl CacheControl {
    /// Says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// For everyone, answers to credentials too.
    pub fn public() -> Self {
        Self { public: true, ..Self::default() }
    }

    /// For the client's own cache only.
    pub fn private() -> Self {
        Self { private: true, ..Self::default() }
    }

    /// Not to be stored at all.
    pub fn no_store() -> Self {
        Self { no_store: true, ..Self::default() }
    }

    /// To be stored, but validated before each reuse.
    pub fn no_cache() -> Self {
        Self { no_cache: true, ..Self::default() }
    }

    /// Fresh for so long, in whole seconds.
    pub const fn max_age(mut self, span: Duration) -> Self {
        self.max_age = Some(span.as_secs());
        self
    }

    /// Fresh for so long in shared caches, in whole seconds; then never served stale.
    pub const fn s_maxage(mut self, span: Duration) -> Self {
        self.s_maxage = Some(span.as_secs());
        self
    }

    /// May be served stale for so long while it is validated, in whole seconds.
    pub const fn stale_while_revalidate(mut self, span: Duration) -> Self {
        self.stale_while_revalidate = Some(span.as_secs());
        self
    }

    /// May be served stale for so long in place of an error, in whole seconds.
    pub const fn stale_if_error(mut self, span: Duration) -> Self {
        self.stale_if_error = Some(span.as_secs());
        self
    }

    /// Never to be served stale.
    pub const fn must_revalidate(mut self) -> Self {
        self.must_revalidate = true;
        self
    }

    /// Never to be served stale by shared caches.
    pub const fn proxy_revalidate(mut self) -> Self {
        self.proxy_revalidate = true;
        self
    }

    /// To be stored only by who knows the status; who does passes over `no-store`.
    pub const fn must_understand(mut self) -> Self {
        self.must_understand = true;
        self
    }

    /// Does not change while it is fresh.
    pub const fn immutable(mut self) -> Self {
        self.immutable = true;
        self
    }

    /// Not to be changed on its way.
    pub const fn no_transform(mut self) -> Self {
        self.no_transform = true;
        self
    }

    /// These fields are for the client only.
    pub fn private_fields(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.private_fields.extend(names);
        self
    }

    /// These fields are not to be reused without validation.
    pub fn no_cache_fields(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.no_cache_fields.extend(names);
        self
    }

    /// Whether it keeps the response from shared caches.
    pub(super) const fn is_for_one(&self) -> bool {
        self.private || self.no_store
    }

    /// The value as a field's.
    #[must_use]
    pub fn value(&self) -> HeaderValue {
        // Made of tokens and digits: it can always be written.
        HeaderValue::try_from(self.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("no-store"))
    }
}

impl fmt::Display for CacheControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut write = |name: &str, argument: &dyn fmt::Display| {
            let result = write!(f, "{separator}{name}{argument}");
            separator = ", ";
            result
        };
        for (is_said, name) in [
            (self.public, "public"),
            (self.private, "private"),
            (self.no_store, "no-store"),
            (self.no_cache, "no-cache"),
            (self.must_understand, "must-understand"),
        ] {
            if is_said {
                write(name, &"")?;
            }
        }
        for (names, name) in
            [(&self.private_fields, "private="), (&self.no_cache_fields, "no-cache=")]
        {
            if !names.is_empty() {
                let mut list = String::from('"');
                for (at, field) in names.iter().enumerate() {
                    let _ = write!(list, "{}{field}", if at == 0 { "" } else { ", " });
                }
                list.push('"');
                write(name, &list)?;
            }
        }
        for (span, name) in [
            (self.max_age, "max-age="),
            (self.s_maxage, "s-maxage="),
            (self.stale_while_revalidate, "stale-while-revalidate="),
            (self.stale_if_error, "stale-if-error="),
        ] {
            if let Some(span) = span {
                write(name, &span)?;
            }
        }
        for (is_said, name) in [
            (self.must_revalidate, "must-revalidate"),
            (self.proxy_revalidate, "proxy-revalidate"),
            (self.immutable, "immutable"),
            (self.no_transform, "no-transform"),
        ] {
            if is_said {
                write(name, &"")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::CACHE_CONTROL;

    use super::*;
    use crate::directives::{ResponseDirectives, withheld};

    #[test]
    fn what_is_said_is_what_is_read() {
        let second = Duration::from_millis(1500);
        let said = CacheControl::public()
            .max_age(second)
            .s_maxage(second * 2)
            .stale_while_revalidate(second * 4)
            .stale_if_error(second * 6)
            .private_fields([http::header::SET_COOKIE])
            .no_cache_fields(["x-a", "x-b"].map(HeaderName::from_static))
            .must_revalidate()
            .proxy_revalidate()
            .must_understand()
            .no_transform()
            .immutable();
        let headers = HeaderMap::from_iter([(CACHE_CONTROL, said.value())]);
        let read = ResponseDirectives::read(&headers);
        assert_eq!((read.max_age, read.s_maxage), (Some(1), Some(3)));
        assert_eq!((read.stale_while_revalidate, read.stale_if_error), (Some(6), Some(9)));
        assert!(read.public && read.must_revalidate && read.proxy_revalidate);
        assert!(read.must_understand && read.immutable && read.withholds);
        assert!(!read.private && !read.no_cache && !read.no_store);
        assert_eq!(withheld(&headers), ["set-cookie", "x-a", "x-b"]);
        assert_eq!(CacheControl::private().no_transform().to_string(), "private, no-transform");
        assert_eq!(CacheControl::no_cache().to_string(), "no-cache");
        assert_eq!(CacheControl::new().to_string(), "");
    }
}
