use bartizan_core::key::{self, ByIp};
use bartizan_core::{Http, Plain};
use tower_layer::Layer;

use crate::{RateLimit, RateLimiter};

/// [`Layer`] that applies [`RateLimit`].
///
/// Every service built from one layer, or from a clone of it, draws on the same counts.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimitLayer<K = ByIp, P = Http> {
    limiter: RateLimiter,
    key: K,
    protocol: P,
    fields: bool,
}

impl RateLimitLayer {
    /// Creates a layer that counts requests by client address.
    pub const fn new(limiter: RateLimiter) -> Self {
        Self { limiter, key: key::ip(), protocol: Http::new(), fields: true }
    }
}

impl<K, P> RateLimitLayer<K, P> {
    /// Counts requests by what `extractor` finds. Those for which it finds nothing pass unlimited.
    pub fn key<X>(self, extractor: X) -> RateLimitLayer<X, P> {
        let Self { limiter, protocol, fields, .. } = self;
        RateLimitLayer { limiter, key: extractor, protocol, fields }
    }

    /// Speaks `protocol`, as one with its own way to render refusals.
    pub fn protocol<Q>(self, protocol: Q) -> RateLimitLayer<K, Q> {
        let Self { limiter, key, fields, .. } = self;
        RateLimitLayer { limiter, key, protocol, fields }
    }

    /// Reports refusals as errors, for services that do not speak HTTP.
    pub fn plain(self) -> RateLimitLayer<K, Plain> {
        self.protocol(Plain::default())
    }

    /// Whether responses tell the caller what is left, in `RateLimit` and `RateLimit-Policy`. On by
    /// default. Redirects never do.
    pub const fn fields(mut self, on: bool) -> Self {
        self.fields = on;
        self
    }
}

impl<S, K: Clone, P: Clone> Layer<S> for RateLimitLayer<K, P> {
    type Service = RateLimit<S, K, P>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit {
            inner,
            limiter: self.limiter.clone(),
            key: self.key.clone(),
            protocol: self.protocol.clone(),
            fields: self.fields,
        }
    }
}
