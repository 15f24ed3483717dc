//! The contract that every layer keeps.
//!
//! Without a credential, where that is allowed, all of it. With one, all but the clause on
//! allocations: the principal goes into the request's extensions, which are on the heap.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use bartizan_auth::{ApiKeys, AuthLayer, Authenticator, Engine, Principal, RequireLayer, Settings};
use http::{HeaderValue, Request};
use tower::{Layer, Service};

const KEY: &str = "bz_0123456789abcdefghijklmn";

bartizan_testing::contract! {
    layer: LayerAndEngine::new(),
    held: |_: &LayerAndEngine| 0,
    seen: |under_test: &LayerAndEngine| under_test.count("anonymous"),
}

mod with_a_credential {
    use super::*;

    #[test]
    fn the_readied_instance_is_called() {
        bartizan_testing::readied_instance_is_called(&Keyed(LayerAndEngine::new()));
    }

    #[test]
    fn clones_share_state() {
        let layer = Keyed(LayerAndEngine::new());
        bartizan_testing::clones_share_state(&layer, |layer| layer.0.count("authenticated"));
    }

    #[test]
    fn nothing_is_held() {
        let layer = Keyed(LayerAndEngine::new());
        bartizan_testing::readiness_is_not_hoarded(&layer, |_| 0);
        bartizan_testing::abandoned_exchanges_leave_nothing(&layer, |_| 0);
        bartizan_testing::panics_leave_nothing(&layer, |_| 0);
        assert_eq!(layer.0.count("authenticated"), 3 * 3_334 + 3);
    }
}

/// The layer with a guard inside it, and the engine whose figures tell what it saw.
#[derive(Clone, Debug)]
struct LayerAndEngine {
    auth: Authenticator,
    layer: AuthLayer,
}

impl LayerAndEngine {
    fn new() -> Self {
        let keys = ApiKeys::new();
        assert!(keys.insert(KEY, Principal::new("alice")).is_ok());
        let auth = Authenticator::new("contract")
            .scheme(keys)
            .settings(Settings::default().optional(true));
        Self { layer: AuthLayer::new(auth.clone()), auth }
    }

    fn count(&self, outcome: &str) -> u64 {
        self.auth.snapshot().value("bartizan_auth_requests_total", outcome).unwrap() as u64
    }
}

impl<S> Layer<S> for LayerAndEngine {
    type Service = <AuthLayer as Layer<S>>::Service;

    fn layer(&self, inner: S) -> Self::Service {
        self.layer.layer(inner)
    }
}

/// The same, and a guard, asked with a credential.
#[derive(Clone, Debug)]
struct Keyed(LayerAndEngine);

impl<S> Layer<S> for Keyed {
    type Service = WithKey<<AuthLayer as Layer<<RequireLayer as Layer<S>>::Service>>::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        let guard = RequireLayer::new(self.0.auth.clone());
        WithKey(self.0.layer(guard.layer(inner)))
    }
}

#[derive(Clone, Debug)]
struct WithKey<S>(S);

impl<S: Service<Request<()>>> Service<Request<()>> for WithKey<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<()>) -> S::Future {
        request.headers_mut().insert("x-api-key", HeaderValue::from_static(KEY));
        self.0.call(request)
    }
}
