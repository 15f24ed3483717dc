use bartizan_core::Http;
use bartizan_core::key::{self, Global};
use tower_layer::Layer;

use crate::{Cache, ResponseCache};

/// [`Layer`] that applies [`Cache`].
///
/// Every service built from one layer, or from a clone of it, shares one store. See the
/// [crate docs](crate) for examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct CacheLayer<K = Global> {
    cache: ResponseCache,
    partition: K,
    http: Http,
    status: bool,
}

impl CacheLayer {
    /// Creates a layer that answers from `cache`.
    pub const fn new(cache: ResponseCache) -> Self {
        Self { cache, partition: key::global(), http: Http::new(), status: true }
    }
}

impl<K> CacheLayer<K> {
    /// Keeps what is stored apart by what `extractor` finds, beside the target URI: a tenant, or a
    /// constant for each of two services behind one cache. Requests for which it finds nothing go
    /// to the service, and their answers are not stored.
    pub fn partition<X>(self, extractor: X) -> CacheLayer<X> {
        let Self { cache, http, status, .. } = self;
        CacheLayer { cache, partition: extractor, http, status }
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

impl<S, K: Clone> Layer<S> for CacheLayer<K> {
    type Service = Cache<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        Cache {
            inner,
            cache: self.cache.clone(),
            partition: self.partition.clone(),
            http: self.http.clone(),
            status: self.status,
        }
    }
}
