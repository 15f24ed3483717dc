//! The contract that every layer keeps.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use bartizan_circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use bartizan_core::Engine;

bartizan_testing::contract! {
    layer: LayerAndEngine::new(),
    // What a closed breaker could hold against the next call is that it refuses it.
    held: |under_test: &LayerAndEngine| under_test.breaker.try_acquire().is_err().into(),
    seen: |under_test: &LayerAndEngine| {
        let snapshot = under_test.breaker.snapshot();
        snapshot.value("bartizan_circuit_breaker_calls_total", "success").unwrap() as u64
    },
}

/// The layer together with the engine whose figures tell what it holds.
#[derive(Clone, Debug)]
struct LayerAndEngine {
    breaker: CircuitBreaker,
    layer: CircuitBreakerLayer,
}

impl LayerAndEngine {
    fn new() -> Self {
        let breaker = CircuitBreaker::new("contract");
        Self { layer: CircuitBreakerLayer::new(breaker.clone()), breaker }
    }
}

impl<S> tower::Layer<S> for LayerAndEngine {
    type Service = <CircuitBreakerLayer as tower::Layer<S>>::Service;

    fn layer(&self, inner: S) -> Self::Service {
        self.layer.layer(inner)
    }
}
