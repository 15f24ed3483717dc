//! Whom a request is counted under.
//!
//! ```
//! use bartizan_core::key::{self, Key, KeyExtractor};
//! use http::Request;
//!
//! // By API version and caller.
//! let by = (key::header(http::header::ACCEPT), |_: &Request<()>| Some(Key::of("v1")));
//! let request = Request::builder().header("accept", "*/*").body(()).unwrap();
//! assert!(by.key(&request).is_some());
//! ```

use std::hash::{BuildHasher, Hash};
use std::sync::OnceLock;

use ahash::RandomState;
use http::{HeaderName, Request};
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::client_ip;
use crate::{ClientAddr, ConfigError, Principal};

/// A 128-bit keyed hash (two of aHash, each with keys of its own) of what a request is counted under.
///
/// The hash's key is drawn at random once per process, so that nobody can craft two inputs that
/// meet. It is not for storage; processes that shall count together [`share`] a secret first.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(u128);

/// Two independent halves: both would have to meet at once. Never drawn if keys are shared, so that
/// whoever does not share pays for one look at this and no more.
static HALVES: OnceLock<[RandomState; 2]> = OnceLock::new();

/// The first key, or [`share`], settles whether keys are shared: a SipHash-2-4 that has the secret
/// for its key, or none.
static SHARED: OnceLock<Option<SipHasher24>> = OnceLock::new();

/// Makes [`Key::of`] the same in every process that is given the same secret, for limits that are
/// counted outside the process.
///
/// Comes before anything is hashed, so at the start of `main`. The same secret may be given again.
/// The secret is what keeps callers from crafting keys that meet: draw it at random, and keep it as
/// other secrets are kept.
///
/// Keys are then SipHash-2-4 with 128 bits, at a cost of some 100 instructions more for an address.
/// They are equal where the hashed types feed their `Hash` the same bytes: the same types, on
/// machines of the same byte order and word size, compiled from the same code. Where that changes,
/// as it may with a version of a crate or of Rust, keys merely start afresh: no two callers are
/// mixed up.
///
/// # Errors
///
/// If the secret is shorter than 16 bytes, if another one was given before, or if keys were hashed
/// already, which other processes could not have known.
pub fn share(secret: &[u8]) -> Result<(), ConfigError> {
    if secret.len() < 16 {
        return Err(ConfigError::new(
            "key.secret",
            "is shorter than 16 bytes",
            "draw at least 16 bytes at random, as with `openssl rand -hex 16`",
        ));
    }
    // Of whatever length the secret is, all of it counts. The result is never seen by anyone.
    let seed = SipHasher24::new().hash(secret).as_u128();
    let hasher = SipHasher24::new_with_keys((seed >> 64) as u64, seed as u64);
    let settled = SHARED.get_or_init(|| Some(hasher));
    if settled.as_ref().is_some_and(|own| own.keys() == hasher.keys()) {
        return Ok(());
    }
    Err(match settled {
        Some(_) => ConfigError::new(
            "key.secret",
            "differs from the one that was given before",
            "give one secret in one place",
        ),
        None => ConfigError::new(
            "key.secret",
            "comes after keys were hashed without it",
            "share the secret first, at the start of `main`",
        ),
    })
}

impl Key {
    /// The one key for all; see [`global`].
    pub const GLOBAL: Self = Self(0);

    /// Hashes `value`, without allocation.
    #[must_use]
    #[inline]
    pub fn of<T: Hash + ?Sized>(value: &T) -> Self {
        match HALVES.get() {
            Some(halves) => Self::by(halves, value),
            None => Self::settle(value),
        }
    }

    #[inline]
    fn by<T: Hash + ?Sized>([high, low]: &[RandomState; 2], value: &T) -> Self {
        Self(u128::from(high.hash_one(value)) << 64 | u128::from(low.hash_one(value)))
    }

    /// The first key of a process, and each one that is shared.
    #[cold]
    fn settle<T: Hash + ?Sized>(value: &T) -> Self {
        if let Some(mut hasher) = *SHARED.get_or_init(|| None) {
            value.hash(&mut hasher);
            return Self(hasher.finish128().as_u128());
        }
        Self::by(HALVES.get_or_init(draw), value)
    }

    /// The key of the pair of both. The order matters.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::of(&(self.0, other.0))
    }

    /// A key by chance.
    #[must_use]
    pub fn random() -> Self {
        Self(fastrand::u128(..))
    }

    /// A key whose hash was made elsewhere: it must be keyed, and spread over all 128 bits.
    #[must_use]
    pub const fn from_u128(hash: u128) -> Self {
        Self(hash)
    }

    /// The hash itself.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

fn draw() -> [RandomState; 2] {
    // The standard library's own hash keys come from the system's random source.
    let draw = || std::hash::RandomState::new().hash_one(0_u8);
    [(); 2].map(|()| RandomState::with_seeds(draw(), draw(), draw(), draw()))
}

/// Finds the key of a request. `None` if the request has none, as when a field is missing.
///
/// Closures and tuples of extractors are extractors; a tuple has a key if each part has one.
pub trait KeyExtractor<Req> {
    /// The key of `request`.
    fn key(&self, request: &Req) -> Option<Key>;
}

impl<F, Req> KeyExtractor<Req> for F
where
    F: Fn(&Req) -> Option<Key>,
{
    fn key(&self, request: &Req) -> Option<Key> {
        self(request)
    }
}

impl<A, B, Req> KeyExtractor<Req> for (A, B)
where
    A: KeyExtractor<Req>,
    B: KeyExtractor<Req>,
{
    fn key(&self, request: &Req) -> Option<Key> {
        Some(self.0.key(request)?.and(self.1.key(request)?))
    }
}

impl<A, B, C, Req> KeyExtractor<Req> for (A, B, C)
where
    A: KeyExtractor<Req>,
    B: KeyExtractor<Req>,
    C: KeyExtractor<Req>,
{
    fn key(&self, request: &Req) -> Option<Key> {
        Some(self.0.key(request)?.and(self.1.key(request)?).and(self.2.key(request)?))
    }
}

/// By client address; see [`ip`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ByIp;

/// By client address: what [`ClientIpLayer`](crate::ClientIpLayer) found, else the peer's own.
/// IPv4-mapped IPv6 is its IPv4; IPv6 is cut to the layer's prefix, or to its /64.
#[must_use]
pub const fn ip() -> ByIp {
    ByIp
}

impl<B> KeyExtractor<Request<B>> for ByIp {
    fn key(&self, request: &Request<B>) -> Option<Key> {
        if let Some(addr) = request.extensions().get::<ClientAddr>() {
            return Some(addr.key());
        }
        client_ip::peer(request.extensions()).map(|addr| client_ip::prefix_key(addr, 64))
    }
}

/// By a request field; see [`header`].
#[derive(Clone, Debug)]
pub struct ByHeader(HeaderName);

/// By the first value of a request field.
#[must_use]
pub const fn header(name: HeaderName) -> ByHeader {
    ByHeader(name)
}

impl<B> KeyExtractor<Request<B>> for ByHeader {
    fn key(&self, request: &Request<B>) -> Option<Key> {
        request.headers().get(&self.0).map(|value| Key::of(value.as_bytes()))
    }
}

/// By caller; see [`principal`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ByPrincipal;

/// By issuer and subject of the [`Principal`] that auth put into the request.
#[must_use]
pub const fn principal() -> ByPrincipal {
    ByPrincipal
}

impl<B> KeyExtractor<Request<B>> for ByPrincipal {
    fn key(&self, request: &Request<B>) -> Option<Key> {
        let principal = request.extensions().get::<Principal>()?;
        Some(Key::of(&(principal.issuer(), principal.subject())))
    }
}

/// By path; see [`route`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ByRoute;

/// By path, without the query. With the feature `axum`, by the matched route's template where
/// there is one, so that `/users/1` and `/users/2` are one key.
#[must_use]
pub const fn route() -> ByRoute {
    ByRoute
}

impl<B> KeyExtractor<Request<B>> for ByRoute {
    fn key(&self, request: &Request<B>) -> Option<Key> {
        #[cfg(feature = "axum")]
        if let Some(path) = request.extensions().get::<axum::extract::MatchedPath>() {
            return Some(Key::of(path.as_str()));
        }
        Some(Key::of(request.uri().path()))
    }
}

/// By method; see [`method`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ByMethod;

/// By request method.
#[must_use]
pub const fn method() -> ByMethod {
    ByMethod
}

impl<B> KeyExtractor<Request<B>> for ByMethod {
    fn key(&self, request: &Request<B>) -> Option<Key> {
        Some(Key::of(request.method()))
    }
}

/// One key for all; see [`global`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Global;

/// One key for all requests, of any kind.
#[must_use]
pub const fn global() -> Global {
    Global
}

impl<Req> KeyExtractor<Req> for Global {
    fn key(&self, _: &Req) -> Option<Key> {
        Some(Key::GLOBAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(uri: &str) -> Request<()> {
        Request::builder().uri(uri).body(()).unwrap()
    }

    #[test]
    fn order_and_parts_matter() {
        let (a, b) = (Key::of("a"), Key::of("b"));
        assert_eq!(Key::of("a"), a);
        assert_ne!(a, b);
        assert_ne!(a.and(b), b.and(a));
    }

    #[test]
    fn a_tuple_needs_every_part() {
        let by = (method(), header(http::header::HOST), route());
        assert_eq!(by.key(&get("/a")), None);
        let mut request = get("/a?x=1");
        request.headers_mut().insert("host", "h".parse().unwrap());
        let first = by.key(&request).unwrap();
        *request.uri_mut() = "/a?x=2".parse().unwrap();
        assert_eq!(by.key(&request), Some(first));
        *request.uri_mut() = "/b".parse().unwrap();
        assert_ne!(by.key(&request), Some(first));
    }

    #[test]
    fn principals_are_told_apart_by_issuer() {
        let of = |issuer: &str| {
            let mut request = get("/");
            request.extensions_mut().insert(Principal::new("7").with_issuer(issuer));
            principal().key(&request)
        };
        assert_eq!(principal().key(&get("/")), None);
        assert_ne!(of("a"), of("b"));
        assert_eq!(of("a"), of("a"));
    }
}
