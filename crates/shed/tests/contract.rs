//! The contract that every layer keeps.

use bartizan_core::Engine;
use bartizan_shed::{LoadShedLayer, LoadShedder};

bartizan_testing::contract! {
    layer: LayerAndEngine::new(),
    held: |under_test: &LayerAndEngine| under_test.shedder.in_flight().into(),
    seen: |under_test: &LayerAndEngine| {
        let snapshot = under_test.shedder.snapshot();
        snapshot.value("bartizan_shed_requests_total", "admitted").unwrap() as u64
    },
}

/// The layer together with the engine whose figures tell what it holds.
#[derive(Clone, Debug)]
struct LayerAndEngine {
    shedder: LoadShedder,
    layer: LoadShedLayer,
}

impl LayerAndEngine {
    fn new() -> Self {
        let shedder = LoadShedder::new("contract");
        Self { layer: LoadShedLayer::new(shedder.clone()), shedder }
    }
}

impl<S> tower::Layer<S> for LayerAndEngine {
    type Service = <LoadShedLayer as tower::Layer<S>>::Service;

    fn layer(&self, inner: S) -> Self::Service {
        self.layer.layer(inner)
    }
}
