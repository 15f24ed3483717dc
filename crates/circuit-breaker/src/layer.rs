use bartizan_core::{Http, Plain};
use tower_layer::Layer;

use crate::fallback::{Divert, Fixed, NoFallback, Respond};
use crate::guard::ByKey;
use crate::{CircuitBreak, CircuitBreaker, KeyedCircuitBreaker, Open};

/// [`Layer`] that applies [`CircuitBreak`].
///
/// Every service built from one layer, or from a clone of it, shares one breaker, or one table of
/// them. See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct CircuitBreakerLayer<G = CircuitBreaker, P = Http, F = NoFallback> {
    guard: G,
    protocol: P,
    fallback: F,
}

impl CircuitBreakerLayer {
    /// Creates a layer for HTTP and gRPC that asks `breaker`.
    pub const fn new(breaker: CircuitBreaker) -> Self {
        Self { guard: breaker, protocol: Http::new(), fallback: NoFallback }
    }
}

impl<K> CircuitBreakerLayer<ByKey<K>> {
    /// Creates a layer for HTTP and gRPC that asks the breaker of each request's own key. Requests
    /// for which `key` finds nothing pass unguarded.
    pub const fn keyed(breakers: KeyedCircuitBreaker, key: K) -> Self {
        let guard = ByKey { breakers, key };
        Self { guard, protocol: Http::new(), fallback: NoFallback }
    }
}

impl<G, P, F> CircuitBreakerLayer<G, P, F> {
    /// Speaks `protocol`, as one with its own judgement of responses or its own way to render
    /// refusals.
    pub fn protocol<Q>(self, protocol: Q) -> CircuitBreakerLayer<G, Q, F> {
        let Self { guard, fallback, .. } = self;
        CircuitBreakerLayer { guard, protocol, fallback }
    }

    /// Reports refusals as errors, for services that do not speak HTTP.
    pub fn plain(self) -> CircuitBreakerLayer<G, Plain, F> {
        self.protocol(Plain::default())
    }

    /// Answers with copies of `response` instead of refusing.
    pub fn fallback_response<Res: Clone>(
        self,
        response: Res,
    ) -> CircuitBreakerLayer<G, P, Fixed<Res>> {
        self.fallback(Fixed(response))
    }

    /// Answers with what `respond` makes of the request instead of refusing, or refuses if it makes
    /// nothing.
    pub fn fallback_with<Req, Res, R>(self, respond: R) -> CircuitBreakerLayer<G, P, Respond<R>>
    where
        R: Fn(&Req, Open) -> Option<Res>,
    {
        self.fallback(Respond(respond))
    }

    /// Asks `service`, cloned per request, instead of refusing. Its answers are not counted.
    pub fn fallback_service<T: Clone>(self, service: T) -> CircuitBreakerLayer<G, P, Divert<T>> {
        self.fallback(Divert(service))
    }

    fn fallback<N>(self, fallback: N) -> CircuitBreakerLayer<G, P, N> {
        let Self { guard, protocol, .. } = self;
        CircuitBreakerLayer { guard, protocol, fallback }
    }
}

impl<S, G: Clone, P: Clone, F: Clone> Layer<S> for CircuitBreakerLayer<G, P, F> {
    type Service = CircuitBreak<S, G, P, F>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreak {
            inner,
            guard: self.guard.clone(),
            protocol: self.protocol.clone(),
            fallback: self.fallback.clone(),
            stalled: None,
        }
    }
}
