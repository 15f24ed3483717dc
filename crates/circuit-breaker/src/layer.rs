use bartizan_core::{Http, Plain};
use tower_layer::Layer;

use crate::{CircuitBreak, CircuitBreaker};

/// [`Layer`] that applies [`CircuitBreak`].
///
/// Every service built from one layer, or from a clone of it, shares one breaker. See the
/// [crate docs](crate) for examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct CircuitBreakerLayer<P = Http> {
    breaker: CircuitBreaker,
    protocol: P,
}

impl CircuitBreakerLayer {
    /// Creates a layer for HTTP and gRPC that asks `breaker`.
    pub const fn new(breaker: CircuitBreaker) -> Self {
        Self { breaker, protocol: Http::new() }
    }
}

impl<P> CircuitBreakerLayer<P> {
    /// Reports refusals as errors, for services that do not speak HTTP.
    pub fn plain(self) -> CircuitBreakerLayer<Plain> {
        CircuitBreakerLayer { breaker: self.breaker, protocol: Plain::default() }
    }

    /// Sets how HTTP is judged and refusals are rendered.
    pub fn http(self, http: Http) -> CircuitBreakerLayer<Http> {
        CircuitBreakerLayer { breaker: self.breaker, protocol: http }
    }
}

impl<S, P: Clone> Layer<S> for CircuitBreakerLayer<P> {
    type Service = CircuitBreak<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreak { inner, breaker: self.breaker.clone(), protocol: self.protocol.clone() }
    }
}
