//! Which resource a request is about.

use std::borrow::Cow;

use bartizan_core::Key;
use http::header::HOST;
use http::{HeaderValue, Request, Uri};

/// Longer than any name of a host.
const MAX_HOST: usize = 255;
/// What is longer is no URI together with its host: those end at 65 534 bytes.
const MAX_PATH: usize = 65_534 - "https://".len() - MAX_HOST;

/// The target URI of a request (RFC 9110 §7.1), normalised: case and default port of the origin
/// do not matter. Path and query are taken as they are, for the service may tell them apart.
#[derive(Clone)]
pub(crate) struct Target<'a> {
    scheme: &'static str,
    host: Cow<'a, [u8]>,
    path: Cow<'a, str>,
}

impl<'a> Target<'a> {
    /// The target of `uri`; its origin is by `host` and `scheme` where the URI does not say it.
    ///
    /// `None` if it is ambiguous, or no HTTP: the service may read the host from either, so they
    /// have to name the same.
    #[inline]
    pub(crate) fn of(uri: &'a Uri, host: Option<&'a [u8]>, scheme: &'static str) -> Option<Self> {
        let scheme = match uri.scheme_str() {
            None => scheme,
            Some(said) => ["http", "https"].into_iter().find(|s| said.eq_ignore_ascii_case(s))?,
        };
        let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
        let name = authority.or(host).unwrap_or_default();
        let is_named_once = authority.is_none() || host.is_none_or(|host| host == name);
        // Most need nothing else.
        let host = if is_named_once && is_simple(name) {
            Cow::Borrowed(name)
        } else {
            normal(authority, host, if scheme == "http" { b":80" } else { b":443" })?
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        if host.len() > MAX_HOST || path.len() > MAX_PATH {
            return None;
        }
        // An empty path is that of the root (RFC 9110 §4.2.3).
        let path = match path.strip_prefix('?') {
            Some(query) => Cow::Owned(["/?", query].concat()),
            None => Cow::Borrowed(path),
        };
        Some(Self { scheme, host, path })
    }

    /// The same origin, another path and query.
    pub(crate) fn with_path<'b>(&'b self, path: &'b str) -> Target<'b> {
        Target { scheme: self.scheme, host: Cow::Borrowed(&self.host), path: Cow::Borrowed(path) }
    }

    pub(crate) const fn scheme(&self) -> &'static str {
        self.scheme
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
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
        Key::of(&(self.scheme, self.host(), self.path()))
    }

    /// As a URI; what has no host is told by its path.
    pub(crate) fn to_uri(&self) -> Option<Uri> {
        let has_no_host = self.host.is_empty();
        if has_no_host { self.path.parse().ok() } else { self.to_text().parse().ok() }
    }

    /// The URI as text, by which prefixes are compared.
    pub(crate) fn to_text(&self) -> String {
        let host = String::from_utf8_lossy(&self.host);
        [self.scheme, "://", &host, &self.path].concat()
    }
}

/// Whether this is a name as it is compared: without a port, in lower case.
fn is_simple(name: &[u8]) -> bool {
    name.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

/// What the URI's authority, or failing that the field, is compared by. `None` if they differ, or it
/// is the field, and no plain host.
fn normal<'a>(
    authority: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
    default_port: &[u8],
) -> Option<Cow<'a, [u8]>> {
    let without_port = |name: &'a [u8]| {
        name.strip_suffix(default_port).or_else(|| name.strip_suffix(b":")).unwrap_or(name)
    };
    let name = match authority {
        Some(authority) => {
            // Who the user is matters nothing to where the resource is.
            let name = authority.rsplit(|byte| *byte == b'@').next().unwrap_or(authority);
            let name = without_port(name);
            if host.is_some_and(|host| !without_port(host).eq_ignore_ascii_case(name)) {
                return None;
            }
            name
        }
        None => without_port(host.filter(|host| is_plain(host))?),
    };
    Some(if name.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

/// Whether this is a host with or without a port (RFC 9110 §7.2): what else a service makes of it,
/// nobody knows.
fn is_plain(host: &[u8]) -> bool {
    let is_address = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    // Without escapes: no URI of the `http` crate has them there.
    let is_name =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let (is_host, rest) = match host.strip_prefix(b"[") {
        Some(literal) => {
            let Some(end) = literal.iter().position(|byte| *byte == b']') else { return false };
            (literal[..end].iter().all(is_address), &literal[end + 1..])
        }
        None => {
            let end = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
            (host[..end].iter().all(is_name), &host[end..])
        }
    };
    is_host && rest.strip_prefix(b":").unwrap_or(rest).iter().all(u8::is_ascii_digit)
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
    use proptest::prelude::*;

    use super::*;

    /// An empty host is none.
    fn key(uri: &str, host: &str) -> Option<Key> {
        let uri: Uri = uri.parse().unwrap();
        let host = Some(host.as_bytes()).filter(|host| !host.is_empty());
        Target::of(&uri, host, "https").map(|target| target.key())
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
            ("https://a.test/x", "A.test:443"),
            ("https://user@A.test:443/x", ""),
            ("HTTPS://a.test/x", ""),
        ] {
            assert_eq!(key(uri, host), one, "{uri} {host}");
        }
        // RFC 9110 §4.2.3.
        assert_eq!(key("https://a.test?y", ""), key("/?y", "a.test"));
        assert_eq!(key("https://a.test", ""), key("/", "a.test"));
    }

    #[test]
    fn a_host_is_a_name_or_address_and_a_port_rfc_9110_7_2() {
        for plain in ["a.test", "a_b-c.test:8080", "127.0.0.1:80", "[::1]", "[::ffff:1.2.3.4]:80"] {
            assert!(is_plain(plain.as_bytes()), "{plain}");
        }
        for other in [
            "b.test@a.test",
            "b.test/a.test",
            "a.test:80:443",
            "a.test:x",
            "[::1]x",
            "[::1",
            "[x.test]:80",
            "a.test, b.test",
            "a.test ",
            "a.test?x",
            "\u{e4}.test",
            "a%62c.test",
        ] {
            assert!(!is_plain(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn what_is_no_http_or_has_no_clear_host_has_no_key() {
        assert_eq!(key("ftp://a.test/", ""), None);
        assert_eq!(key("https://a.test/", "b.test"), None);
        assert_eq!(key("https://a.test/", "a.test:80"), None);
        assert_eq!(key("/", &"a".repeat(256)), None);
        assert_eq!(key(&format!("/{}", "a".repeat(MAX_PATH)), "a.test"), None);
        let mut request = Request::new(());
        request.headers_mut().append(HOST, HeaderValue::from_static("a"));
        assert!(sent(&request).is_some());
        request.headers_mut().append(HOST, HeaderValue::from_static("b"));
        assert!(sent(&request).is_none());
    }

    proptest! {
        #[test]
        fn a_target_and_its_uri_are_one(
            scheme in prop::sample::select(vec!["http", "https"]),
            host in "[a-zA-Z0-9.:_~%-]{0,12}|\\[[0-9a-f:.]{0,9}\\](:[0-9]{0,9})?",
            path in "/[a-z?%/]{0,9}",
        ) {
            let sent: Uri = path.parse().unwrap();
            if let Some(target) = Target::of(&sent, Some(host.as_bytes()), scheme) {
                let uri = target.to_uri().expect("whatever has a key is some URI");
                let other = Target::of(&uri, None, scheme).map(|target| target.key());
                prop_assert_eq!(other, Some(target.key()));
            }
        }
    }
}
