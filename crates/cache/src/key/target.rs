//! Which resource a request is about.

use std::borrow::Cow;

use bartizan_core::Key;
use http::header::HOST;
use http::{HeaderValue, Request, Uri};

/// Longer than any name of a host.
const MAX_HOST: usize = 255;

/// The target URI of a request (RFC 9110 §7.1), normalised: case and default port of the origin
/// do not matter. Path and query are taken as they are, for the service may tell them apart.
#[derive(Clone)]
pub(crate) struct Target<'a> {
    scheme: &'static str,
    host: Cow<'a, [u8]>,
    path: &'a str,
}

impl<'a> Target<'a> {
    /// The target of `uri`; its origin is by `host` and `scheme` where the URI does not say it.
    ///
    /// `None` if it is ambiguous, or no HTTP.
    #[inline]
    pub(crate) fn of(uri: &'a Uri, host: Option<&'a [u8]>, scheme: &'static str) -> Option<Self> {
        let scheme = match uri.scheme_str() {
            None => scheme,
            Some(said) => ["http", "https"].into_iter().find(|s| said.eq_ignore_ascii_case(s))?,
        };
        let authority = match uri.authority() {
            Some(authority) => authority.as_str().as_bytes(),
            None => host.unwrap_or_default(),
        };
        let default_port: &[u8] = if scheme == "http" { b":80" } else { b":443" };
        let name = authority
            .strip_suffix(default_port)
            .or_else(|| authority.strip_suffix(b":"))
            .unwrap_or(authority);
        // Most need nothing else.
        let host = if name.iter().any(|byte| *byte == b'@' || byte.is_ascii_uppercase()) {
            // Who the user is matters nothing to where the resource is.
            let name = name.rsplit(|byte| *byte == b'@').next().unwrap_or(name);
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        if host.len() > MAX_HOST {
            return None;
        }
        Some(Self { scheme, host, path: uri.path_and_query().map_or("/", |path| path.as_str()) })
    }

    /// The same origin, another path and query.
    pub(crate) fn with_path<'b>(&'b self, path: &'b str) -> Target<'b> {
        Target { scheme: self.scheme, host: Cow::Borrowed(&self.host), path }
    }

    pub(crate) const fn scheme(&self) -> &'static str {
        self.scheme
    }

    pub(crate) const fn path(&self) -> &'a str {
        self.path
    }

    pub(crate) fn same_origin(&self, other: &Target<'_>) -> bool {
        self.scheme == other.scheme && self.host() == other.host()
    }

    pub(crate) fn host(&self) -> &[u8] {
        &self.host
    }

    /// The key of the whole URI.
    pub(crate) fn key(&self) -> Key {
        // Each part is hashed with its length or end: no two targets run into each other.
        Key::of(&(self.scheme, self.host(), self.path))
    }

    /// The URI as text, by which prefixes are compared.
    pub(crate) fn to_text(&self) -> String {
        let host = String::from_utf8_lossy(&self.host);
        [self.scheme, "://", &host, self.path].concat()
    }
}

/// The URI that the client sent, and the host that the request names beside it.
///
/// `None` if it names several.
pub(crate) fn sent<B>(request: &Request<B>) -> Option<(&Uri, Option<&HeaderValue>)> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    hosts.next().is_none().then_some((uri(request), host))
}

fn uri<B>(request: &Request<B>) -> &Uri {
    // A nested router cuts the URI: what is left would be the same for two of them.
    #[cfg(feature = "axum")]
    if let Some(original) = request.extensions().get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    request.uri()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uri: &str, host: &str) -> Option<Key> {
        let uri: Uri = uri.parse().unwrap();
        Target::of(&uri, Some(host.as_bytes()), "https").map(|target| target.key())
    }

    #[test]
    fn the_whole_target_uri_is_the_key() {
        let key = |uri, host| key(uri, host).unwrap();
        let one = key("/x?page=1", "a.test");
        for other in ["/x?page=2", "/x", "/x?", "/X?page=1", "//x?page=1"] {
            assert_ne!(key(other, "a.test"), one, "{other}");
        }
        assert_ne!(key("/x?page=1", "b.test"), one);
        assert_ne!(key("/x?page=1", "a.test:8443"), one);
        assert_ne!(key("http://a.test/x?page=1", ""), one);
    }

    #[test]
    fn spellings_of_one_origin_are_one() {
        let key = |uri, host| key(uri, host).unwrap();
        let one = key("/x", "a.test");
        for (uri, host) in [
            ("/x", "A.TEST:443"),
            ("/x", "a.test:"),
            ("https://a.test/x", "other.test"),
            ("https://user@A.test:443/x", ""),
            ("HTTPS://a.test/x", ""),
        ] {
            assert_eq!(key(uri, host), one, "{uri} {host}");
        }
    }

    #[test]
    fn what_is_no_http_or_has_no_clear_host_has_no_key() {
        assert_eq!(key("ftp://a.test/", ""), None);
        assert_eq!(key("/", &"a".repeat(256)), None);
        let mut request = Request::new(());
        request.headers_mut().append(HOST, HeaderValue::from_static("a"));
        assert!(sent(&request).is_some());
        request.headers_mut().append(HOST, HeaderValue::from_static("b"));
        assert!(sent(&request).is_none());
    }
}
