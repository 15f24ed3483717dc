//! The contract that every layer keeps.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use bartizan_core::{Engine, key};
use bartizan_rate_limit::{One, Quota, RateLimit, RateLimitLayer, RateLimiter};

bartizan_testing::contract! {
    layer: LayerAndEngine::new(),
    // A limiter holds nothing beyond the decision.
    held: |_: &LayerAndEngine| 0,
    seen: |under_test: &LayerAndEngine| under_test.decisions(),
}

/// The layer together with the engine whose figures tell what it has decided.
#[derive(Clone, Debug)]
struct LayerAndEngine {
    limiter: RateLimiter,
}

impl LayerAndEngine {
    fn new() -> Self {
        Self { limiter: RateLimiter::new(Quota::per_second(1_000_000).unwrap()) }
    }

    fn decisions(&self) -> u64 {
        let snapshot = self.limiter.snapshot();
        snapshot.value("bartizan_rate_limit_decisions_total", "admitted").unwrap() as u64
    }
}

impl<S> tower::Layer<S> for LayerAndEngine {
    type Service = RateLimit<S, One<key::Global>>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimitLayer::new(self.limiter.clone()).key(key::global()).fields(false).layer(inner)
    }
}
