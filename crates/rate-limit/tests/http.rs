//! The layer as HTTP, gRPC and plain callers meet it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not marked as tests themselves")]

use std::convert::Infallible;
use std::time::Duration;

use bartizan_core::Rejection;
use bartizan_rate_limit::{Clock, Engine, Key, Mode, Quota, RateLimitLayer, RateLimiter, key};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};

const DECISIONS: &str = "bartizan_rate_limit_decisions_total";

async fn echo(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = if request.uri().path() == "/moved" { 308 } else { 200 };
    Ok(Response::builder().status(status).body(Full::from("hello")).unwrap())
}

fn limiter(quota: &str) -> (RateLimiter, Clock) {
    let clock = Clock::manual();
    (RateLimiter::new(quota.parse::<Quota>().unwrap()).clock(clock.clone()), clock)
}

/// Sends one request through a service of its own, as a server does per connection.
macro_rules! send {
    ($layer:expr, $request:expr) => {
        $layer.layer(service_fn(echo)).oneshot($request).await.unwrap()
    };
    ($layer:expr) => {
        send!($layer, Request::new(()))
    };
}

#[tokio::test]
async fn refusals_are_problem_details() {
    let (limiter, clock) = limiter("100/min;burst=2");
    let layer = RateLimitLayer::new(limiter.named("api")).key(key::global());

    let response = send!(layer);
    assert_eq!(response.headers()["ratelimit-policy"], r#""api";q=2;w=2"#);
    assert_eq!(response.headers()["ratelimit"], r#""api";r=1;t=1"#);
    assert_eq!(send!(layer).status(), StatusCode::OK);

    let response = send!(layer);
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["ratelimit"], r#""api";r=0;t=1"#);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let problem_type = "https://iana.org/assignments/http-problem-types#quota-exceeded";
    assert_eq!(problem["type"], problem_type);
    assert_eq!(problem["code"], "quota-exceeded");
    assert_eq!(problem["violated-policies"], serde_json::json!(["api"]));

    // One request comes back every 600 ms.
    clock.advance(Duration::from_millis(600));
    assert_eq!(send!(layer).status(), StatusCode::OK);
    assert_eq!(send!(layer).status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn grpc_callers_get_a_status() {
    let layer = RateLimitLayer::new(limiter("1/min").0).key(key::global());
    send!(layer);
    let request = Request::builder().header("content-type", "application/grpc").body(());
    let response = send!(layer, request.unwrap());
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "8");
}

#[tokio::test]
async fn fields_are_left_out_of_redirects_and_when_off() {
    let layer = RateLimitLayer::new(limiter("9/min").0).key(key::global());
    let moved = send!(layer, Request::builder().uri("/moved").body(()).unwrap());
    assert_eq!(moved.status(), StatusCode::PERMANENT_REDIRECT);
    assert!(!moved.headers().contains_key("ratelimit"));
    assert!(!moved.headers().contains_key("ratelimit-policy"));
    assert!(!send!(layer.clone().fields(false)).headers().contains_key("ratelimit"));
    assert!(send!(layer).headers().contains_key("ratelimit"));
}

#[tokio::test]
async fn nested_limits_each_have_their_entries() {
    let outer = RateLimitLayer::new(limiter("100/day").0.named("daily")).key(key::global());
    let inner = RateLimitLayer::new(limiter("5/s").0.named("burst")).key(key::global());
    let service = outer.layer(inner.layer(service_fn(echo)));
    let response = service.oneshot(Request::new(())).await.unwrap();
    let policies: Vec<_> = response.headers().get_all("ratelimit-policy").iter().collect();
    assert_eq!(policies, [r#""burst";q=5;w=1"#, r#""daily";q=100;w=86400"#]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_means_five_over_a_hundred_tasks() {
    let layer = RateLimitLayer::new(limiter("5/min").0).key(key::global());
    let tasks: Vec<_> = (0..100)
        .map(|_| layer.clone().layer(service_fn(echo)))
        .map(|service| tokio::spawn(service.oneshot(Request::new(()))))
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += usize::from(task.await.unwrap().unwrap().status() == StatusCode::OK);
    }
    assert_eq!(admitted, 5);
}

#[tokio::test]
async fn clones_share_counts_and_keys_do_not() {
    let layer = RateLimitLayer::new(limiter("2/min").0).key(key::header(http::header::HOST));
    let mut service = layer.clone().layer(service_fn(echo));
    let mut twin = service.clone();
    let from = |host: &str| Request::builder().header("host", host).body(()).unwrap();
    assert_eq!(service.ready().await.unwrap().call(from("a")).await.unwrap().status(), 200);
    assert_eq!(twin.ready().await.unwrap().call(from("a")).await.unwrap().status(), 200);
    assert_eq!(send!(layer, from("a")).status(), 429);
    assert_eq!(send!(layer, from("b")).status(), 200);
}

#[tokio::test]
async fn requests_without_a_key_pass_and_are_counted() {
    let (limiter, _) = limiter("1/min");
    // By address, and nothing says what the address is.
    let layer = RateLimitLayer::new(limiter.clone());
    for _ in 0..3 {
        assert_eq!(send!(layer).status(), StatusCode::OK);
    }
    assert_eq!(limiter.snapshot().value(DECISIONS, "no_key"), Some(3.0));
}

#[tokio::test]
async fn shadow_counts_and_off_does_not() {
    let (limiter, _) = limiter("1/min");
    let layer = RateLimitLayer::new(limiter.clone()).key(key::global());
    let figures = || {
        let snapshot = limiter.snapshot();
        ["admitted", "refused", "shadow_refused"].map(|o| snapshot.value(DECISIONS, o).unwrap())
    };

    limiter.switch().set(Mode::Off);
    assert!(!send!(layer).headers().contains_key("ratelimit"));
    assert_eq!(figures(), [0.0, 0.0, 0.0]);

    limiter.switch().set(Mode::Shadow);
    for _ in 0..3 {
        let response = send!(layer);
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.headers().contains_key("ratelimit"));
    }
    assert_eq!(figures(), [1.0, 0.0, 2.0]);

    limiter.switch().set(Mode::Enforce);
    assert_eq!(send!(layer).status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(figures(), [1.0, 1.0, 2.0]);
}

#[tokio::test]
async fn plain_services_get_an_error() {
    let layer = RateLimitLayer::new(limiter("1/min").0)
        .key(|name: &&'static str| Some(Key::of(name)))
        .plain();
    let ask = |name: &'static str| {
        layer
            .layer(service_fn(|name: &'static str| async move { Ok::<_, Rejection>(name) }))
            .oneshot(name)
    };
    assert_eq!(ask("a").await.unwrap(), "a");
    assert_eq!(ask("a").await.unwrap_err().code(), "quota-exceeded");
    assert_eq!(ask("b").await.unwrap(), "b");
}
