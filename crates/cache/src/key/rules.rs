use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bartizan_core::{Key, Principal};
use http::header::COOKIE;
use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri};
use sha2::{Digest, Sha256};

use super::Target;
use super::query::{Keep, Query};

/// What stored responses are told apart by, beside `Vary`. The default is the whole target URI:
/// scheme, host, path and query.
///
/// ```
/// use bartizan_cache::{KeyRules, ResponseCache};
///
/// let rules = KeyRules::default()
///     .ignore_query(["utm_*", "fbclid"])
///     .sort_query(true)
///     .header(http::header::ACCEPT)
///     .tenant();
/// let cache = ResponseCache::new("pages").keyed_by(rules);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct KeyRules {
    query: Query,
    no_vary_search: bool,
    parts: Vec<Part>,
}

type Find = dyn Fn(&RequestHead<'_>) -> Option<Cow<'static, str>> + Send + Sync;

#[derive(Clone)]
enum Part {
    Constant(String),
    Cookie(String),
    Header(HeaderName),
    Principal,
    Tenant,
    With(Arc<Find>),
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(text) => f.debug_tuple("Constant").field(text).finish(),
            Self::Cookie(name) => f.debug_tuple("Cookie").field(name).finish(),
            Self::Header(name) => f.debug_tuple("Header").field(name).finish(),
            Self::Principal => f.write_str("Principal"),
            Self::Tenant => f.write_str("Tenant"),
            Self::With(_) => f.write_str("With"),
        }
    }
}

/// A request without its body.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The URI, as this layer's service is given it.
    pub uri: &'a Uri,
    /// The fields.
    pub headers: &'a HeaderMap,
    /// What layers further out found.
    pub extensions: &'a Extensions,
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

impl KeyRules {
    /// Ignores these parameters of the query. A name that ends with `*` is a prefix.
    pub fn ignore_query<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.query.keep = Keep::Except(names.into_iter().map(Into::into).collect());
        self
    }

    /// Ignores all parameters of the query but these. A name that ends with `*` is a prefix.
    pub fn allow_query<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.query.keep = Keep::Only(names.into_iter().map(Into::into).collect());
        self
    }

    /// Whether parameters of different names may stand in any order.
    pub const fn sort_query(mut self, on: bool) -> Self {
        self.query.sort = on;
        self
    }

    /// Whether a response's `No-Vary-Search` is honoured: it says itself which parameters it does
    /// not depend on. It holds for the path that it was given for. What changes or purges a resource
    /// then does so for all queries of its path, since it may be stored under any.
    pub const fn no_vary_search(mut self, on: bool) -> Self {
        self.no_vary_search = on;
        self
    }

    /// Keeps responses apart by a request field, absent or not.
    pub fn header(self, name: HeaderName) -> Self {
        self.part(Part::Header(name))
    }

    /// Keeps responses apart by a cookie, all its values, absent or not. The request's cookies are then no longer
    /// credentials to this layer: those that are not named must not matter.
    pub fn cookie(self, name: impl Into<String>) -> Self {
        self.part(Part::Cookie(name.into()))
    }

    /// Keeps the responses of each caller apart: issuer and subject of the [`Principal`]. Requests
    /// without one are not answered from the store.
    pub fn principal(self) -> Self {
        self.part(Part::Principal)
    }

    /// Keeps the responses of each tenant apart, by the [`Principal`]. Requests of no tenant are
    /// not answered from the store.
    pub fn tenant(self) -> Self {
        self.part(Part::Tenant)
    }

    /// Keeps these responses apart from those of other layers over the same store.
    pub fn constant(self, text: impl Into<String>) -> Self {
        self.part(Part::Constant(text.into()))
    }

    /// Keeps responses apart by what `find` finds. Requests for which it finds nothing are not
    /// answered from the store, and their answers are not stored.
    pub fn with(
        self,
        find: impl Fn(&RequestHead<'_>) -> Option<Cow<'static, str>> + Send + Sync + 'static,
    ) -> Self {
        self.part(Part::With(Arc::new(find)))
    }

    fn part(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Whether a resource has keys that its target does not tell: by parts of the key, or by what
    /// was learned of its query and may be forgotten.
    pub(crate) fn has_many_keys(&self) -> bool {
        self.no_vary_search || !self.parts.is_empty()
    }

    pub(crate) fn learns(&self) -> bool {
        self.no_vary_search
    }

    /// Whether the field is part of the key.
    pub(crate) fn has_header(&self, name: &HeaderName) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Header(keyed) if keyed == name))
    }

    pub(crate) fn has_cookies(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Cookie(_)))
    }

    /// Whether each caller has responses of its own.
    pub(crate) fn has_principal(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Principal))
    }

    /// What the parts find in a request; `None` if one finds nothing.
    pub(crate) fn suffix(&self, request: &RequestHead<'_>) -> Option<Suffix> {
        if self.parts.is_empty() {
            return Some(Suffix(None));
        }
        let mut found = Vec::with_capacity(64);
        for part in &self.parts {
            match part {
                Part::Constant(text) => push(&mut found, text.as_bytes()),
                Part::Cookie(name) => {
                    // Which one of several the service takes, nobody knows.
                    for value in cookies(request.headers, name) {
                        push(&mut found, value);
                    }
                    found.push(0);
                }
                Part::Header(name) => {
                    for value in request.headers.get_all(name) {
                        push(&mut found, value.as_bytes());
                    }
                    found.push(0);
                }
                Part::Principal => {
                    let principal = request.extensions.get::<Principal>()?;
                    push(&mut found, principal.issuer().unwrap_or_default().as_bytes());
                    push(&mut found, principal.subject().as_bytes());
                }
                Part::Tenant => {
                    let tenant = request.extensions.get::<Principal>()?.tenant()?;
                    push(&mut found, tenant.as_bytes());
                }
                Part::With(find) => push(&mut found, find(request)?.as_bytes()),
            }
        }
        Some(Suffix(Some(found.into_boxed_slice())))
    }

    /// The keys of a target. `learned` is what the resource said of its query.
    #[inline]
    pub(crate) fn keyed(
        &self,
        target: &Target<'_>,
        suffix: &Suffix,
        learned: Option<&Query>,
    ) -> Keyed {
        let query = learned.or((self.query != Query::default()).then_some(&self.query));
        let whole = match query {
            None => target.key(),
            Some(rules) => {
                let (path, query) = target.path().split_once('?').unwrap_or((target.path(), ""));
                // Different rules must not meet on one text.
                Key::of(&(target.with_path(path).key().as_u128(), rules, rules.normalise(query)))
            }
        };
        let key = match &suffix.0 {
            None => whole,
            Some(parts) => Key::of(&(whole.as_u128(), parts)),
        };
        let resource = if self.no_vary_search { Self::learned_at(target) } else { whole };
        Keyed { key, resource }
    }

    /// The key of the resource whose `No-Vary-Search` holds for the target.
    pub(crate) fn learned_at(target: &Target<'_>) -> Key {
        let path = target.path().split('?').next().unwrap_or_default();
        target.with_path(path).key()
    }

    /// The key of a resource, in all its parts, that is the same in every process.
    pub(crate) fn portable_resource(&self, target: &Target<'_>) -> [u8; 32] {
        let path = target.path().split('?').next().unwrap_or_default();
        let target = if self.no_vary_search { target.with_path(path) } else { target.clone() };
        self.portable(&target, &Suffix::default(), None)
    }

    /// A key that is the same in every process.
    pub(crate) fn portable(
        &self,
        target: &Target<'_>,
        suffix: &Suffix,
        learned: Option<&Query>,
    ) -> [u8; 32] {
        let (path, query) = target.path().split_once('?').unwrap_or((target.path(), ""));
        let rules = learned.unwrap_or(&self.query);
        let query = if *rules == Query::default() {
            Cow::Borrowed(&target.path()[path.len()..])
        } else {
            Cow::Owned(format!("{rules:?}{}", rules.normalise(query)))
        };
        let mut hash = Sha256::new();
        let suffix = suffix.0.as_deref();
        hash.update([u8::from(suffix.is_some())]);
        for part in [
            target.scheme().as_bytes(),
            target.host(),
            path.as_bytes(),
            query.as_bytes(),
            suffix.unwrap_or_default(),
        ] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// What the parts of the rules found in a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suffix(Option<Box<[u8]>>);

/// The keys of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Keyed {
    /// Of the stored responses.
    pub(crate) key: Key,
    /// Of the resource in all its parts; of its path, if responses say what matters of the query.
    pub(crate) resource: Key,
}

/// Each part with its length: no two lists of parts run into each other.
fn push(found: &mut Vec<u8>, part: &[u8]) {
    found.push(1);
    found.extend_from_slice(&(part.len() as u64).to_be_bytes());
    found.extend_from_slice(part);
}

fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(COOKIE).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).filter_map(move |pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        (pair[..at].trim_ascii() == name.as_bytes()).then(|| pair[at + 1..].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(rules: &KeyRules, request: &Request<()>) -> Option<Keyed> {
        let target = Target::of(request.uri(), Some(b"a.test"), "https")?;
        Some(rules.keyed(&target, &rules.suffix(&request.into())?, None))
    }

    fn key(rules: &KeyRules, uri: &str, fields: &[(&str, &str)]) -> Option<Key> {
        let mut request = Request::get(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        keyed(rules, &request.body(()).unwrap()).map(|keyed| keyed.key)
    }

    #[test]
    fn the_query_counts_as_far_as_the_rules_say() {
        let whole = KeyRules::default();
        assert_ne!(key(&whole, "/x?a=1&b=2", &[]), key(&whole, "/x?b=2&a=1", &[]));
        let rules = KeyRules::default().ignore_query(["utm_*"]).sort_query(true);
        let one = key(&rules, "/x?a=1&b=2", &[]);
        assert_eq!(key(&rules, "/x?b=2&utm_source=z&a=1", &[]), one);
        assert_ne!(key(&rules, "/x?a=1&b=3", &[]), one);
        assert_ne!(key(&rules, "/y?a=1&b=2", &[]), one);
        let only = KeyRules::default().allow_query(["id"]);
        assert_eq!(key(&only, "/x?id=1&z=2", &[]), key(&only, "/x?id=1", &[]));
    }

    #[test]
    fn parts_are_kept_apart_and_do_not_run_into_each_other() {
        let rules = KeyRules::default()
            .header(HeaderName::from_static("x-a"))
            .header(HeaderName::from_static("x-b"))
            .cookie("lang");
        let one = key(&rules, "/", &[("x-a", "1"), ("x-b", "2")]);
        for other in [
            &[("x-a", "12")][..],
            &[("x-b", "12")],
            &[("x-a", "1"), ("x-a", "2")],
            &[("x-a", "2"), ("x-b", "1")],
            &[("x-a", "1"), ("x-b", "2"), ("cookie", "lang=de")],
        ] {
            assert_ne!(key(&rules, "/", other), one, "{other:?}");
        }
        let other_cookies = &[("x-a", "1"), ("x-b", "2"), ("cookie", "session=1; x=lang")];
        assert_eq!(key(&rules, "/", other_cookies), one);
    }

    #[test]
    fn whoever_is_nobody_has_no_key_by_caller() {
        let request = |principal: Option<Principal>| {
            let mut request = Request::new(());
            principal.into_iter().for_each(|principal| {
                request.extensions_mut().insert(principal);
            });
            request
        };
        let by_tenant = KeyRules::default().tenant();
        let acme = request(Some(Principal::new("a").with_tenant("acme")));
        assert!(keyed(&by_tenant, &request(None)).is_none());
        assert!(keyed(&by_tenant, &request(Some(Principal::new("a")))).is_none());
        let found = keyed(&by_tenant, &acme).unwrap();
        assert_ne!(found.key, found.resource);
        let by_caller = KeyRules::default().principal();
        let (a, b) = (request(Some(Principal::new("a"))), request(Some(Principal::new("b"))));
        assert_ne!(keyed(&by_caller, &a).unwrap().key, keyed(&by_caller, &b).unwrap().key);
        let never = KeyRules::default().with(|_| None);
        assert!(keyed(&never, &request(None)).is_none());
    }

    #[test]
    fn keys_for_other_processes_tell_the_same_apart() {
        let rules = KeyRules::default().header(HeaderName::from_static("x-a"));
        let portable = |uri: &str, value: &str| {
            let request = Request::get(uri).header("x-a", value).body(()).unwrap();
            let target = Target::of(request.uri(), Some(b"a.test"), "https").unwrap();
            rules.portable(&target, &rules.suffix(&(&request).into()).unwrap(), None)
        };
        assert_eq!(portable("/x?a", "1"), portable("/x?a", "1"));
        assert_ne!(portable("/x?a", "1"), portable("/x?a", "2"));
        assert_ne!(portable("/x?a", "1"), portable("/x?b", "1"));
        assert_ne!(portable("/x", "1"), portable("/x?", "1"));
    }
}
