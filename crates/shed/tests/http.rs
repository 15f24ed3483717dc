//! Slots, answers and switches through real tower services.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;

use axum::{Router, routing::get};
use bartizan_core::{Clock, Engine, Mode, Rejection};
use bartizan_shed::{LoadShedLayer, LoadShedder, Settings};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

fn shedder(limit: u32) -> LoadShedder {
    LoadShedder::new("test")
        .clock(Clock::manual())
        .settings(Settings::fixed(limit).queue(0).critical_slots(0.0))
        .unwrap()
}

async fn hello(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hi")))
}

#[tokio::test]
async fn u31_a_slot_is_held_to_the_end_of_the_body() {
    let shedder = shedder(1);
    let mut service =
        ServiceBuilder::new().layer(LoadShedLayer::new(shedder.clone())).service_fn(hello);
    let first = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    let second = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    let seconds: u32 = second.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=3).contains(&seconds));
    assert_eq!(second.headers()["content-type"], "application/problem+json");
    first.into_body().collect().await.unwrap();
    let third = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(third.status(), StatusCode::OK);
    drop(third);
    assert_eq!(shedder.in_flight(), 0);
}

#[tokio::test]
async fn u31_of_ten_downloads_held_open_two_are_in_flight() {
    let shedder = shedder(2);
    let mut service =
        ServiceBuilder::new().layer(LoadShedLayer::new(shedder.clone())).service_fn(hello);
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(service.ready().await.unwrap().call(Request::new(())).await.unwrap());
        assert!(shedder.in_flight() <= 2);
    }
    let statuses: Vec<_> = held.iter().map(|response| response.status().as_u16()).collect();
    assert_eq!(statuses, [[200; 2].as_slice(), &[503; 8]].concat());
    assert_eq!(shedder.in_flight(), 2, "heads are out, bodies are not");
    // One is read to its end, the other given up.
    held.remove(0).into_body().collect().await.unwrap();
    assert_eq!(shedder.in_flight(), 1);
    held.clear();
    assert_eq!(shedder.in_flight(), 0);
}

#[tokio::test]
async fn a_grpc_call_is_refused_as_unavailable() {
    let shedder = shedder(1);
    let _held = shedder.admit().unwrap();
    let service =
        ServiceBuilder::new().layer(LoadShedLayer::new(shedder.clone())).service_fn(hello);
    let request = Request::builder().header("content-type", "application/grpc").body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "14");
    let millis: u32 =
        response.headers()["grpc-retry-pushback-ms"].to_str().unwrap().parse().unwrap();
    assert!((500..3000).contains(&millis));
}

#[tokio::test]
async fn u33_cancelled_and_panicked_calls_give_their_slot_back() {
    let shedder = shedder(2);
    let layer = LoadShedLayer::new(shedder.clone());
    for _ in 0..2 {
        let pending = ServiceBuilder::new().layer(layer.clone()).service_fn(|_: Request<()>| {
            std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()
        });
        let task = tokio::spawn(pending.oneshot(Request::new(())));
        tokio::task::yield_now().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());

        let panics =
            ServiceBuilder::new().layer(layer.clone()).service_fn(|_: Request<()>| async {
                if true {
                    panic!("on purpose");
                }
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("")))
            });
        assert!(tokio::spawn(panics.oneshot(Request::new(()))).await.unwrap_err().is_panic());
    }
    assert_eq!(shedder.in_flight(), 0);
    // Both slots are there for those who come next, at once.
    let mut next = Vec::new();
    for _ in 0..2 {
        let service = ServiceBuilder::new().layer(layer.clone()).service_fn(hello);
        next.push(service.oneshot(Request::new(())).await.unwrap());
    }
    let statuses: Vec<_> = next.iter().map(|response| response.status().as_u16()).collect();
    assert_eq!((statuses, shedder.in_flight()), (vec![200, 200], 2));
}

#[tokio::test]
async fn u35_exempt_paths_are_always_served() {
    let shedder = shedder(1);
    let _held = shedder.admit().unwrap();
    let app: Router = Router::new()
        .route("/livez", get(|| async { "up" }))
        .route("/", get(|| async { "hi" }))
        .layer(LoadShedLayer::new(shedder.clone()).exempt_paths(["/livez"]));
    let status = |path: &'static str| {
        let call = app.clone().oneshot(Request::get(path).body(axum::body::Body::empty()).unwrap());
        async { call.await.unwrap().status() }
    };
    assert_eq!(status("/livez").await, StatusCode::OK);
    assert_eq!(status("/").await, StatusCode::SERVICE_UNAVAILABLE);
}

#[derive(Debug)]
struct Refused;

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        assert_eq!(rejection.code(), "overloaded");
        Self
    }
}

#[tokio::test]
async fn a_plain_service_is_refused_by_an_error() {
    let shedder = shedder(1);
    let _held = shedder.admit().unwrap();
    let service = ServiceBuilder::new()
        .layer(LoadShedLayer::new(shedder.clone()).plain())
        .service(service_fn(|n: u32| async move { Ok::<_, Refused>(n) }));
    assert!(service.oneshot(1).await.is_err());
}

#[tokio::test]
async fn shadow_counts_and_off_does_not() {
    let shedder = shedder(1);
    let _held = shedder.admit().unwrap();
    let count =
        |outcome| shedder.snapshot().value("bartizan_shed_requests_total", outcome).unwrap();
    shedder.switch().set(Mode::Shadow);
    drop(shedder.admit().unwrap());
    assert_eq!((count("admitted"), count("shadow_refused")), (2.0, 1.0));
    shedder.switch().set(Mode::Off);
    drop(shedder.admit().unwrap());
    assert_eq!((count("admitted"), count("shadow_refused"), count("refused")), (2.0, 1.0, 0.0));
    assert_eq!(shedder.in_flight(), 1);
}

#[test]
fn settings_change_while_running_and_wrong_ones_are_named() {
    let shedder = shedder(1);
    let _held = shedder.admit().unwrap();
    assert!(shedder.admit().is_none());
    let limits = |limit: u32| serde_json::json!({"algorithm": "fixed", "initial_limit": limit, "max_limit": 9});
    shedder.apply(limits(2)).unwrap();
    assert!(shedder.admit().is_some());
    assert_eq!(shedder.limit(), 2);
    // What is in flight stays so when the limit falls below it.
    shedder.apply(limits(1)).unwrap();
    assert_eq!((shedder.in_flight(), shedder.admit().is_some()), (1, false));
    shedder.apply(limits(2)).unwrap();
    let wrong = shedder.apply(serde_json::json!({"min_limit": 0})).unwrap_err();
    assert_eq!(wrong.field(), "min_limit");
    let unknown = shedder.apply(serde_json::json!({"minimum": 3})).unwrap_err();
    assert!(unknown.to_string().contains("minimum"), "{unknown}");
    assert_eq!(shedder.limit(), 2);
    shedder.set(Settings::fixed(5)).unwrap();
    assert_eq!(shedder.limit(), 5);
    assert_eq!(shedder.set(Settings::fixed(0)).unwrap_err().field(), "min_limit");
    assert_eq!(shedder.limit(), 5);
}
