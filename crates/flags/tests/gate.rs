//! What a route answers while its flag is off.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bartizan_flags::{Flag, Flags, GateLayer};
use bartizan_testing::UnreadBody;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tower::{Layer, Service, ServiceExt, service_fn};

static BETA: Flag<bool> = Flag::new("beta", false);

fn document(on: bool) -> String {
    format!(
        r#"{{"flags": {{"beta": {{"state": "ENABLED", "variants": {{"v": {on}}},
        "defaultVariant": "v"}}}}}}"#
    )
}

fn flags(on: bool) -> Flags {
    Flags::from_json(&document(on)).unwrap()
}

async fn handle(_: Request<UnreadBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("beta")))
}

async fn answer(gate: GateLayer, content_type: &str) -> Response<Bytes> {
    let request = Request::post("/beta").header("content-type", content_type);
    let service = gate.layer(service_fn(handle));
    let response = service.oneshot(request.body(UnreadBody).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn each_answer_is_what_it_says_and_is_not_kept() {
    let gate = || GateLayer::new(flags(false), BETA);
    let elsewhere = HeaderValue::from_static("https://old.test/beta");
    for (gate, status, code) in [
        (gate(), 404, "not_found"),
        (gate().forbidden(), 403, "forbidden"),
        (gate().gone(), 410, "gone"),
        (gate().unavailable(Duration::from_millis(1500)), 503, "unavailable"),
        (gate().redirect(elsewhere), 307, "elsewhere"),
    ] {
        let response = answer(gate, "application/json").await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["cache-control"], "no-store");
        let retry_after = response.headers().get("retry-after").map(HeaderValue::as_bytes);
        assert_eq!(retry_after, (status == 503).then_some(&b"2"[..]));
        assert_eq!(response.headers().contains_key("location"), status == 307);
        let problem: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()));
    }
}

#[tokio::test]
async fn grpc_callers_get_a_status() {
    let gate = GateLayer::new(flags(false), BETA).unavailable(Duration::from_secs(3));
    let response = answer(gate, "application/grpc").await;
    assert_eq!(
        (response.status(), &response.headers()["grpc-status"]),
        (StatusCode::OK, &"14".parse().unwrap())
    );
    assert!(response.body().is_empty());
}

#[tokio::test]
async fn another_service_answers_otherwise() {
    let fallback = service_fn(|_: Request<UnreadBody>| async {
        Ok::<_, Infallible>(Response::new(Full::from("old")))
    });
    for (on, expected) in [(true, "beta"), (false, "old")] {
        let gate = GateLayer::new(flags(on), BETA).otherwise(fallback);
        let response = gate.layer(service_fn(handle)).oneshot(Request::new(UnreadBody)).await;
        let body = response.unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), expected);
    }
}

/// Never ready, as a backend that is down; nobody may call it.
#[derive(Clone)]
struct Down;

impl Service<Request<UnreadBody>> for Down {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, _: Request<UnreadBody>) -> Self::Future {
        panic!("it is not ready")
    }
}

/// A kill switch is for services that are down.
#[test]
fn a_flag_that_is_off_for_everyone_answers_for_a_service_that_is_not_ready() {
    let mut cx = Context::from_waker(Waker::noop());
    let gate = GateLayer::new(flags(false), BETA).unavailable(Duration::from_secs(1));
    let mut gate = gate.layer(Down);
    assert!(gate.poll_ready(&mut cx).is_ready());
    let Poll::Ready(Ok(response)) = pin!(gate.call(Request::new(UnreadBody))).poll(&mut cx) else {
        panic!("it answers at once");
    };
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);

    let fallback = service_fn(|_: Request<UnreadBody>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("old")))
    });
    let mut gate = GateLayer::new(flags(false), BETA).otherwise(fallback).layer(Down);
    assert!(gate.poll_ready(&mut cx).is_ready());
    assert!(pin!(gate.call(Request::new(UnreadBody))).poll(&mut cx).is_ready());

    // What may be open waits, as ever.
    assert!(GateLayer::new(flags(true), BETA).layer(Down).poll_ready(&mut cx).is_pending());
    let some = r#"{"flags": {"beta": {"state": "ENABLED", "variants": {"on": true, "off": false},
        "defaultVariant": "off", "targeting": {"if": [{"==": [{"var": "tier"}, "a"]}, "on"]}}}}"#;
    let flags = Flags::from_json(some).unwrap();
    assert!(GateLayer::new(flags, BETA).layer(Down).poll_ready(&mut cx).is_pending());
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// The backend hangs, callers wait for it, and then somebody turns the flag off.
#[test]
fn a_kill_switch_frees_who_waits_already() {
    let (flags, woken) = (flags(true), Arc::<Woken>::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    let mut gate = GateLayer::new(flags.clone(), BETA).gone().layer(Down);
    assert!(gate.poll_ready(&mut cx).is_pending());
    // Another document, by which it is still on, lets them wait on.
    flags.replace(&document(true)).unwrap();
    assert_eq!(woken.0.load(Relaxed), 1);
    assert!(gate.poll_ready(&mut cx).is_pending());
    assert!(gate.poll_ready(&mut cx).is_pending());

    flags.replace(&document(false)).unwrap();
    assert_eq!(woken.0.load(Relaxed), 2);
    assert!(gate.poll_ready(&mut cx).is_ready());
    let Poll::Ready(Ok(response)) = pin!(gate.call(Request::new(UnreadBody))).poll(&mut cx) else {
        panic!("it answers at once");
    };
    assert_eq!(response.status(), StatusCode::GONE);
}

/// Between the question for readiness and the call the flag may turn, or the request override it.
#[test]
fn a_service_that_is_not_ready_is_not_called_by_a_gate_that_opens_meanwhile() {
    let mut cx = Context::from_waker(Waker::noop());
    let flags = flags(false);
    let mut gate = GateLayer::new(flags.clone(), BETA).gone().layer(Down);
    assert!(gate.poll_ready(&mut cx).is_ready());
    flags.replace(&document(true)).unwrap();
    let Poll::Ready(Ok(response)) = pin!(gate.call(Request::new(UnreadBody))).poll(&mut cx) else {
        panic!("it answers at once");
    };
    assert_eq!(response.status(), StatusCode::GONE);
    assert!(gate.poll_ready(&mut cx).is_pending());
}

#[tokio::test]
async fn a_gate_on_one_route_leaves_the_others_alone() {
    use axum::Router;
    use axum::routing::get;
    let app = Router::<()>::new()
        .route("/beta", get(async || "beta").layer(GateLayer::new(flags(false), BETA).gone()))
        .route("/", get(async || "home"));
    for (path, status) in [("/beta", 410), ("/", 200), ("/nowhere", 404)] {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status, "{path}");
    }
}
