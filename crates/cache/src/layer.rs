use std::sync::Arc;

use bartizan_core::Http;
use http::HeaderName;
use tower_layer::Layer;

use crate::rules::Rules;
use crate::{Cache, ResponseCache, SetCookie};

/// [`Layer`] that applies [`Cache`].
///
/// Every service built from one layer, or from a clone of it, shares one store. See the
/// [crate docs](crate) for examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct CacheLayer {
    cache: ResponseCache,
    rules: Arc<Rules>,
    http: Http,
    status: bool,
}

impl CacheLayer {
    /// The same as [`CacheLayer::safe`].
    pub fn new(cache: ResponseCache) -> Self {
        Self::safe(cache)
    }

    /// Creates a layer that answers from `cache`, and is careful beyond the standard:
    ///
    /// - `Authorization`, `Cookie` and a [`Principal`](bartizan_core::Principal) are credentials:
    ///   only responses that say `public` are shared among such requests;
    /// - a response with `Set-Cookie` is not stored;
    /// - a request with a field by which frameworks are steered past the key (`X-Forwarded-Host`,
    ///   `X-Original-URL`, method overrides …) is not answered from the store, and its answer not
    ///   stored, unless the field is [trusted](Self::trust_field) or part of the key;
    /// - nothing is guessed: only explicit freshness counts.
    pub fn safe(cache: ResponseCache) -> Self {
        Self::build(cache, Rules::safe())
    }

    /// Creates a layer that answers from `cache` by the letter of RFC 9111: `must-revalidate` and
    /// `s-maxage` share answers to `Authorization` too, cookies are nothing special and are stored,
    /// freshness may be guessed from `Last-Modified`, stale responses stand in for a service that
    /// cannot be reached, the answer to a POST that is a representation of its target is stored,
    /// and `CDN-Cache-Control` is obeyed.
    ///
    /// For proxies in front of services that are written for shared caches.
    pub fn rfc(cache: ResponseCache) -> Self {
        Self::build(cache, Rules::rfc())
    }

    fn build(cache: ResponseCache, rules: Rules) -> Self {
        Self { cache, rules: Arc::new(rules), http: Http::new(), status: true }
    }

    fn rule(mut self, set: impl FnOnce(&mut Rules)) -> Self {
        set(Arc::make_mut(&mut self.rules));
        self
    }

    /// Whether a request's `Cookie` is a credential. If not, cookies must not matter to any
    /// response that is stored, or be part of the key.
    pub fn cookies_are_credentials(self, yes: bool) -> Self {
        self.rule(|rules| rules.cookies = yes)
    }

    /// Sets what becomes of a response with `Set-Cookie` that could be stored otherwise.
    pub fn set_cookie(self, policy: SetCookie) -> Self {
        self.rule(|rules| rules.set_cookie = policy)
    }

    /// Trusts that a field such as `X-Forwarded-Proto` does not change responses: whoever stands
    /// in front sets it for all alike, or the service does not read it.
    pub fn trust_field(self, name: &HeaderName) -> Self {
        self.rule(|rules| rules.steering.retain(|steering| steering != name))
    }

    /// Has requests with this field go past the cache: the service may build URLs or choose its
    /// answer by it, and does not say so in `Vary`.
    pub fn distrust_field(self, name: HeaderName) -> Self {
        self.rule(|rules| rules.distrust(name))
    }

    /// Sets the targeted fields (RFC 9213) that speak to this cache in place of `Cache-Control`,
    /// the most specific first, as `ours-cache-control` before `cdn-cache-control`.
    pub fn targeted_fields(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.rule(|rules| rules.targeted = names.into_iter().collect())
    }

    /// Whether freshness may be guessed as a tenth of the time since `Last-Modified`, a day at most
    /// (RFC 9111 §4.2.2).
    pub fn heuristics(self, on: bool) -> Self {
        self.rule(|rules| rules.heuristics = on)
    }

    /// Sets how the refusal of a request with `only-if-cached` is rendered.
    pub fn http(mut self, http: Http) -> Self {
        self.http = http;
        self
    }

    /// Whether responses say in `Cache-Status` (RFC 9211) how they came about. On by default.
    pub const fn status(mut self, on: bool) -> Self {
        self.status = on;
        self
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = Cache<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Cache {
            inner,
            cache: self.cache.clone(),
            rules: Arc::clone(&self.rules),
            http: self.http.clone(),
            status: self.status,
        }
    }
}
