//! Cache-Control in requests and responses (RFC 9111 §5.2).

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName};

use crate::list;

/// Spans above this one are taken for it (RFC 9111 §1.2.2).
const MAX_DELTA: u32 = 1 << 31;

/// Reads a span in whole seconds. One that is too long to count saturates; anything but digits is
/// no span.
pub(crate) fn delta_seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = text
        .iter()
        .fold(0_u32, |sum, digit| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
    Some(seconds.min(MAX_DELTA))
}

/// What a response says about its reuse by a shared cache.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ResponseDirectives {
    pub(crate) immutable: bool,
    pub(crate) max_age: Option<u32>,
    pub(crate) must_revalidate: bool,
    pub(crate) must_understand: bool,
    /// For the whole response; if it names fields, see `withholds`.
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    /// For the whole response; if it names fields, see `withholds`.
    pub(crate) private: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) public: bool,
    pub(crate) s_maxage: Option<u32>,
    pub(crate) stale_if_error: Option<u32>,
    pub(crate) stale_while_revalidate: Option<u32>,
    /// Whether `no-cache` or `private` names fields that are not to be reused; see [`withheld`].
    pub(crate) withholds: bool,
}

impl ResponseDirectives {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let mut read = Self::default();
        each(headers, |name, argument| match name {
            Name::Immutable => read.immutable = true,
            Name::MaxAge => strictest(&mut read.max_age, argument),
            Name::MustRevalidate => read.must_revalidate = true,
            Name::MustUnderstand => read.must_understand = true,
            Name::NoCache if argument.names_fields() => read.withholds = true,
            Name::NoCache => read.no_cache = true,
            Name::NoStore => read.no_store = true,
            Name::Private if argument.names_fields() => read.withholds = true,
            Name::Private => read.private = true,
            Name::ProxyRevalidate => read.proxy_revalidate = true,
            Name::Public => read.public = true,
            Name::SMaxage => strictest(&mut read.s_maxage, argument),
            Name::StaleIfError => strictest(&mut read.stale_if_error, argument),
            Name::StaleWhileRevalidate => {
                strictest(&mut read.stale_while_revalidate, argument);
            }
            Name::MaxStale | Name::MinFresh | Name::OnlyIfCached => {}
        });
        read
    }
}

/// The fields that `no-cache="…"` and `private="…"` keep from reuse (RFC 9111 §5.2.2.4, §5.2.2.7).
pub(crate) fn withheld(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut names = Vec::new();
    each(headers, |name, argument| {
        if let (Name::NoCache | Name::Private, Argument::Text(text)) = (name, argument) {
            names.extend(field_names(text).flatten());
        }
    });
    names
}

fn field_names(text: &[u8]) -> impl Iterator<Item = Option<HeaderName>> {
    list::split(text).filter(|name| !name.is_empty()).map(|name| HeaderName::from_bytes(name).ok())
}

/// A span that is not one, or that contradicts another one, means stale (RFC 9111 §4.2.1).
fn strictest(span: &mut Option<u32>, argument: Argument<'_>) {
    let new = argument.seconds().unwrap_or(0);
    *span = Some(match *span {
        Some(old) if old != new => 0,
        _ => new,
    });
}

/// What a request says about the responses that it takes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct RequestDirectives {
    pub(crate) max_age: Option<u32>,
    /// `u32::MAX` if it names no span.
    pub(crate) max_stale: Option<u32>,
    pub(crate) min_fresh: Option<u32>,
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    pub(crate) only_if_cached: bool,
}

impl RequestDirectives {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let mut read = Self::default();
        if !headers.contains_key(CACHE_CONTROL) {
            read.no_cache = list::members(headers, PRAGMA)
                .any(|member| member.eq_ignore_ascii_case(b"no-cache"));
            return read;
        }
        each(headers, |name, argument| match name {
            Name::MaxAge => {
                let span = argument.seconds().unwrap_or(0);
                read.max_age = Some(read.max_age.map_or(span, |old| old.min(span)));
            }
            Name::MaxStale => {
                let span = match argument {
                    Argument::Absent => Some(u32::MAX),
                    _ => argument.seconds(),
                };
                // One that cannot be read allows nothing.
                let span = span.unwrap_or(0);
                read.max_stale = Some(read.max_stale.map_or(span, |old| old.min(span)));
            }
            Name::MinFresh => {
                if let Some(span) = argument.seconds() {
                    read.min_fresh = Some(read.min_fresh.map_or(span, |old| old.max(span)));
                }
            }
            Name::NoCache => read.no_cache = true,
            Name::NoStore => read.no_store = true,
            Name::OnlyIfCached => read.only_if_cached = true,
            _ => {}
        });
        read
    }

    /// What is left for a cache that does not let its clients force it to ask the service.
    pub(crate) const fn without_demands(self) -> Self {
        Self {
            max_age: None,
            max_stale: None,
            min_fresh: None,
            no_cache: false,
            no_store: self.no_store,
            only_if_cached: self.only_if_cached,
        }
    }
}

#[derive(Clone, Copy)]
enum Name {
    Immutable,
    MaxAge,
    MaxStale,
    MinFresh,
    MustRevalidate,
    MustUnderstand,
    NoCache,
    NoStore,
    OnlyIfCached,
    Private,
    ProxyRevalidate,
    Public,
    SMaxage,
    StaleIfError,
    StaleWhileRevalidate,
}

const NAMES: [(&[u8], Name); 15] = [
    (b"immutable", Name::Immutable),
    (b"max-age", Name::MaxAge),
    (b"max-stale", Name::MaxStale),
    (b"min-fresh", Name::MinFresh),
    (b"must-revalidate", Name::MustRevalidate),
    (b"must-understand", Name::MustUnderstand),
    (b"no-cache", Name::NoCache),
    (b"no-store", Name::NoStore),
    (b"only-if-cached", Name::OnlyIfCached),
    (b"private", Name::Private),
    (b"proxy-revalidate", Name::ProxyRevalidate),
    (b"public", Name::Public),
    (b"s-maxage", Name::SMaxage),
    (b"stale-if-error", Name::StaleIfError),
    (b"stale-while-revalidate", Name::StaleWhileRevalidate),
];

#[derive(Clone, Copy)]
enum Argument<'a> {
    Absent,
    Malformed,
    Text(&'a [u8]),
}

impl Argument<'_> {
    /// Whether it is a list of fields. What cannot be read as one restricts the whole response.
    fn names_fields(self) -> bool {
        match self {
            Self::Text(text) => {
                let mut names = field_names(text).peekable();
                names.peek().is_some() && names.all(|name| name.is_some())
            }
            Self::Absent | Self::Malformed => false,
        }
    }

    fn seconds(self) -> Option<u32> {
        match self {
            Self::Text(text) => delta_seconds(text),
            Self::Absent | Self::Malformed => None,
        }
    }
}

/// Calls `take` with each directive that is known.
fn each(headers: &HeaderMap, mut take: impl FnMut(Name, Argument<'_>)) {
    for member in list::members(headers, CACHE_CONTROL) {
        let (name, argument) = match member.iter().position(|byte| *byte == b'=') {
            None => (member, Argument::Absent),
            Some(at) => (&member[..at], argument(&member[at + 1..])),
        };
        // White space around `=` is an error: the directive counts, its argument does not.
        let trimmed = name.trim_ascii_end();
        let argument = if trimmed.len() == name.len() { argument } else { Argument::Malformed };
        if let Some((_, name)) = NAMES.iter().find(|(known, _)| trimmed.eq_ignore_ascii_case(known))
        {
            take(*name, argument);
        }
    }
}

fn argument(text: &[u8]) -> Argument<'_> {
    match text {
        [b'"', inner @ .., b'"'] => Argument::Text(inner),
        _ => Argument::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (CACHE_CONTROL, HeaderValue::from_str(line).unwrap())).collect()
    }

    fn response(line: &str) -> ResponseDirectives {
        ResponseDirectives::read(&headers(&[line]))
    }

    #[test]
    fn spans_saturate_and_hold_nothing_but_digits() {
        assert_eq!(delta_seconds(b"0060"), Some(60));
        assert_eq!(delta_seconds(b"99999999999999999999999"), Some(MAX_DELTA));
        for wrong in ["", "-1", "1.5", "a100", "100a", "'100'", " 1", "+1"] {
            assert_eq!(delta_seconds(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_on_any_line() {
        let read = ResponseDirectives::read(&headers(&["PRIVATE, Max-Age=60", "No-Store"]));
        assert!(read.private && read.no_store);
        assert_eq!(read.max_age, Some(60));
        assert!(response(r#"ext="a, no-store"#).no_store, "an open quote hides it");
    }

    #[test]
    fn named_fields_are_withheld_and_a_bad_list_restricts_all() {
        let line = r#"no-cache="set-cookie, X-A", private=X-B, max-age=60"#;
        let read = response(line);
        assert!(read.withholds && !read.no_cache && !read.private);
        assert_eq!(withheld(&headers(&[line])), ["set-cookie", "x-a", "x-b"]);
        for whole in ["private", r#"private="a b""#, r#"private="""#, "private =x"] {
            assert!(response(whole).private, "{whole}");
        }
        assert!(response(r#"no-cache="x", no-cache"#).no_cache);
    }

    #[test]
    fn grace_is_read() {
        let read = response("max-age=1, stale-while-revalidate=5, stale-if-error=x, immutable");
        assert_eq!((read.stale_while_revalidate, read.stale_if_error), (Some(5), Some(0)));
        assert!(read.immutable);
    }

    #[test]
    fn what_stands_in_a_quoted_string_is_no_directive() {
        let read = response(r#"ext="max-age=100, no-store", max-age="1""#);
        assert_eq!((read.max_age, read.no_store), (Some(1), false));
    }

    #[test]
    fn wrong_and_contradicting_spans_mean_stale() {
        for wrong in
            ["max-age=a", "max-age =100", "max-age= 100", "max-age", "max-age=1, max-age=2"]
        {
            assert_eq!(response(wrong).max_age, Some(0), "{wrong}");
        }
        assert_eq!(response("max-age=5, max-age=5").max_age, Some(5));
        assert_eq!(response("s-maxage='9'").s_maxage, Some(0));
    }

    #[test]
    fn requests_are_read_with_pragma_as_a_fallback() {
        let read = |line: &str| RequestDirectives::read(&headers(&[line]));
        assert_eq!(read("max-stale").max_stale, Some(u32::MAX));
        assert_eq!(read("max-stale=x").max_stale, Some(0));
        assert_eq!(read("max-age=x").max_age, Some(0));
        assert_eq!(read("min-fresh=x").min_fresh, None);
        assert!(read("only-if-cached, no-store").only_if_cached);
        let mut pragma = HeaderMap::new();
        pragma.insert(PRAGMA, HeaderValue::from_static("No-Cache"));
        assert!(RequestDirectives::read(&pragma).no_cache);
        pragma.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=5"));
        assert!(!RequestDirectives::read(&pragma).no_cache);
    }

    proptest! {
        #[test]
        fn any_span_is_read_as_a_wide_integer_would(digits in "[0-9]{1,30}") {
            let wide: u128 = digits.parse().unwrap();
            let expected = wide.min(u128::from(MAX_DELTA)) as u32;
            prop_assert_eq!(delta_seconds(digits.as_bytes()), Some(expected));
        }

        #[test]
        fn any_bytes_are_read(value in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let headers = HeaderMap::from_iter([(CACHE_CONTROL, value)]);
                ResponseDirectives::read(&headers);
                RequestDirectives::read(&headers);
            }
        }
    }
}
