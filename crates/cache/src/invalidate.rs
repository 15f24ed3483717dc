//! What an unsafe request makes invalid (RFC 9111 §4.4).

use http::header::{CACHE_CONTROL, CONTENT_LOCATION, EXPIRES, HeaderName, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::key::Target;

/// Whether requests by this method change nothing. Unknown methods may change anything.
pub(crate) fn is_safe(method: &Method) -> bool {
    method.is_safe() || method.as_str() == "QUERY"
}

/// Where an unsafe request went, kept to read the answer's references by.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) uri: Uri,
    pub(crate) host: Option<HeaderValue>,
    pub(crate) scheme: &'static str,
}

impl Site {
    pub(crate) fn target(&self) -> Option<Target<'_>> {
        let host = self.host.as_ref().map(HeaderValue::as_bytes);
        Target::of(&self.uri, host, self.scheme)
    }

    /// The targets that are invalid: the request's own, and those of the same origin that the
    /// answer refers to.
    pub(crate) fn invalid(&self, response: &HeaderMap, mut take: impl FnMut(&Target<'_>)) {
        let Some(target) = self.target() else { return };
        take(&target);
        for name in [LOCATION, CONTENT_LOCATION] {
            referred(&target, response, &name, self.scheme, &mut take);
        }
    }

    /// Whether the answer says that it is the representation of its target (RFC 9110 §8.7), and for
    /// how long (§9.3.3).
    pub(crate) fn is_represented(&self, response: &HeaderMap) -> bool {
        let Some(target) = self.target() else { return false };
        if ![CACHE_CONTROL, EXPIRES].iter().any(|name| response.contains_key(name)) {
            return false;
        }
        let mut same = false;
        referred(&target, response, &CONTENT_LOCATION, self.scheme, &mut |other| {
            same = other.key() == target.key();
        });
        same
    }
}

fn referred(
    target: &Target<'_>,
    response: &HeaderMap,
    name: &HeaderName,
    scheme: &'static str,
    take: &mut impl FnMut(&Target<'_>),
) -> Option<()> {
    let reference = response.get(name)?.to_str().ok()?;
    let reference = reference.split('#').next()?;
    let absolute = if reference.starts_with("//") {
        Some(format!("{}:{reference}", target.scheme()).parse().ok()?)
    } else {
        reference.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some())
    };
    match absolute {
        Some(uri) => {
            let other = Target::of(&uri, None, scheme)?;
            if target.same_origin(&other) {
                take(&other);
            }
        }
        None => take(&target.with_path(&resolve(target.path(), reference))),
    }
    Some(())
}

/// Resolves a relative reference against a path (RFC 3986 §5.2).
fn resolve(base: &str, reference: &str) -> String {
    let base = base.split('?').next().unwrap_or_default();
    let merged = match reference.as_bytes().first() {
        None => return base.to_owned(),
        Some(b'?') => return format!("{base}{reference}"),
        Some(b'/') => reference.to_owned(),
        Some(_) => {
            let folder = base.rfind('/').map_or("/", |end| &base[..=end]);
            format!("{folder}{reference}")
        }
    };
    let (path, query) = match merged.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*merged, None),
    };
    let mut kept = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    let mut resolved = format!("/{}", kept.join("/"));
    if let Some(query) = query {
        resolved.push('?');
        resolved.push_str(query);
    }
    resolved
}

#[cfg(test)]
mod tests {
    use bartizan_core::Key;

    use super::*;

    fn site(uri: &str) -> Site {
        let host = Some(HeaderValue::from_static("a.test"));
        Site { uri: uri.parse().unwrap(), host, scheme: "https" }
    }

    fn key(path: &str) -> Key {
        let uri: Uri = format!("https://a.test{path}").parse().unwrap();
        Target::of(&uri, None, "https").unwrap().key()
    }

    fn invalid(uri: &str, location: &'static str) -> Vec<Key> {
        let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(location))]);
        let mut keys = Vec::new();
        site(uri).invalid(&headers, |target| keys.push(target.key()));
        keys
    }

    #[test]
    fn references_of_the_same_origin_are_invalid_too() {
        for reference in [
            "/items/7",
            "7",
            "./7",
            "../items/7",
            "https://a.test/items/7",
            "https://A.test:443/items/7#part",
            "//a.test/items/7",
        ] {
            assert_eq!(
                invalid("/items/", reference),
                [key("/items/"), key("/items/7")],
                "{reference}"
            );
        }
    }

    #[test]
    fn references_to_elsewhere_are_left_alone() {
        for reference in ["https://b.test/items/7", "http://a.test/items/7", "//b.test/items/7"] {
            assert_eq!(invalid("/items/", reference), [key("/items/")], "{reference}");
        }
    }

    #[test]
    fn paths_are_resolved() {
        for (base, reference, path) in [
            ("/a/b?x", "", "/a/b"),
            ("/a/b?x", "?y", "/a/b?y"),
            ("/a/b", "c?y=../z", "/a/c?y=../z"),
            ("/a/b", "..", "/"),
            ("/a/b/", ".", "/a/b/"),
            ("/a/b", "../../../c", "/c"),
            ("/a", "/x/./y/../z", "/x/z"),
        ] {
            assert_eq!(resolve(base, reference), path, "{base} {reference}");
        }
    }

    #[test]
    fn unknown_methods_are_unsafe() {
        let safe = |name: &str| is_safe(&Method::from_bytes(name.as_bytes()).unwrap());
        assert!(["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"].into_iter().all(safe));
        assert!(!["POST", "PUT", "PATCH", "DELETE", "M-SEARCH"].into_iter().any(safe));
    }
}
