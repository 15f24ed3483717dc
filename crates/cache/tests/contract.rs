//! The contract that every layer keeps.
//!
//! One clause is left out: a miss allocates, for the request's fields are kept until the response
//! has said by which of them it varies, and so does a hit, for its head is a copy. What passes
//! without being looked up does not.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use bartizan_cache::{Cache, CacheLayer, ResponseCache};
use bartizan_core::{Engine, Mode};
use bartizan_testing::{Bodied, Bodiless, Inner, InnerBody};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Response};
use tower::util::MapResponse;

#[test]
fn the_readied_instance_is_called() {
    bartizan_testing::readied_instance_is_called(&LayerAndEngine::new());
}

#[test]
fn readiness_is_not_hoarded() {
    bartizan_testing::readiness_is_not_hoarded(&LayerAndEngine::new(), LayerAndEngine::held);
}

#[test]
fn clones_share_state() {
    bartizan_testing::clones_share_state(&LayerAndEngine::new(), LayerAndEngine::seen);
}

#[test]
fn abandoned_exchanges_leave_nothing() {
    bartizan_testing::abandoned_exchanges_leave_nothing(
        &LayerAndEngine::new(),
        LayerAndEngine::held,
    );
}

#[test]
fn panics_leave_nothing() {
    bartizan_testing::panics_leave_nothing(&LayerAndEngine::new(), LayerAndEngine::held);
}

#[test]
fn a_cache_that_is_off_allocates_nothing() {
    let layer = LayerAndEngine::new();
    layer.cache.switch().set(Mode::Off);
    bartizan_testing::admitted_path_allocates_nothing(&Bare(layer.cache));
}

/// The layer together with the engine whose figures tell what it holds.
#[derive(Clone, Debug)]
struct LayerAndEngine {
    cache: ResponseCache,
}

impl LayerAndEngine {
    fn new() -> Self {
        Self { cache: ResponseCache::new("contract") }
    }

    fn value(&self, metric: &str, outcome: &str) -> u64 {
        self.cache.snapshot().value(metric, outcome).unwrap() as u64
    }

    fn held(&self) -> u64 {
        self.value("bartizan_cache_filling_bytes", "")
    }

    fn seen(&self) -> u64 {
        ["uri_miss", "hit"]
            .map(|kind| self.value("bartizan_cache_requests_total", kind))
            .iter()
            .sum()
    }
}

type Answer = Response<InnerBody>;

impl tower::Layer<Inner> for LayerAndEngine {
    type Service = Bodied<Cache<MapResponse<Bodiless<Inner>, fn(Answer) -> Answer>>>;

    fn layer(&self, inner: Inner) -> Self::Service {
        let fresh: fn(Answer) -> Answer = |mut response| {
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
            response
        };
        Bodied(CacheLayer::new(self.cache.clone()).layer(MapResponse::new(Bodiless(inner), fresh)))
    }
}

/// The layer around the bare service: the response's first field would be an allocation.
struct Bare(ResponseCache);

impl tower::Layer<Inner> for Bare {
    type Service = Bodied<Cache<Bodiless<Inner>>>;

    fn layer(&self, inner: Inner) -> Self::Service {
        Bodied(CacheLayer::new(self.0.clone()).layer(Bodiless(inner)))
    }
}
