//! What goes wrong with other layers of this kind.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bartizan_core::{Clock, Engine};
use bartizan_shed::{LoadShedLayer, LoadShedder, Settings};
use bartizan_testing::{Inner, UnreadBody, request};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use tokio_test::task::spawn;
use tower::{Layer, Service, ServiceExt, service_fn};

fn shedder(settings: Settings) -> LoadShedder {
    let settings = settings.critical_slots(0.0);
    LoadShedder::new("test").clock(Clock::manual()).settings(settings).unwrap()
}

fn one_slot() -> LoadShedder {
    shedder(Settings::fixed(1).queue(0))
}

type Answer = Result<Response<Full<Bytes>>, Infallible>;

async fn hello<B>(_: Request<B>) -> Answer {
    Ok(Response::new(Full::from("hi")))
}

/// A service that is ready when it is told to be.
#[derive(Clone, Debug, Default)]
struct Slow(Arc<AtomicBool>);

impl Service<Request<()>> for Slow {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.0.load(Relaxed) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Full::from("hi"))))
    }
}

/// tower's `LoadShed` leaves a waiter in line that swallows the next free permit.
#[tokio::test]
async fn whoever_was_refused_takes_no_slot_afterwards() {
    let shedder = one_slot();
    let service = LoadShedLayer::new(shedder.clone()).layer(service_fn(hello::<()>));
    let held = shedder.admit().unwrap();
    let mut refused = service.clone();
    for _ in 0..3 {
        let answer = refused.ready().await.unwrap().call(Request::new(())).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    // It is polled once more, and then left alone.
    refused.ready().await.unwrap();
    drop(held);
    assert_eq!(shedder.in_flight(), 0);
    let answer = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// tower's `LoadShed` answers an inner service's pause, as a connection pool's, with a refusal.
#[tokio::test]
async fn a_service_that_is_not_ready_yet_is_waited_for() {
    let inner = Slow::default();
    let service = LoadShedLayer::new(one_slot()).layer(inner.clone());
    let mut call = spawn(service.oneshot(Request::new(())));
    assert!(call.poll().is_pending());
    inner.0.store(true, Relaxed);
    let Poll::Ready(answer) = call.poll() else { panic!("it is ready now") };
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

/// A clone is not ready because its original was.
#[tokio::test(start_paused = true)]
async fn who_waited_is_served_by_the_instance_that_was_ready() {
    let shedder = shedder(Settings::fixed(1));
    let mut service = LoadShedLayer::new(shedder.clone()).layer(Inner::default());
    let held = shedder.admit().unwrap();
    // It panics if it is called without being ready.
    let mut call = spawn(service.ready().await.unwrap().call(request("/")));
    assert!(call.poll().is_pending());
    drop(held);
    let Poll::Ready(answer) = call.poll() else { panic!("there is a slot") };
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_call_has_its_slot_before_it_is_first_polled() {
    let shedder = one_slot();
    let service = LoadShedLayer::new(shedder.clone()).layer(service_fn(hello::<()>));
    let mut first = service.clone();
    let call = first.ready().await.unwrap().call(Request::new(()));
    assert_eq!(shedder.in_flight(), 1);
    let refused = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(call);
    assert_eq!(shedder.in_flight(), 0);
}

/// As linkerd's queue did, which drops futures late.
#[tokio::test]
async fn a_future_that_is_kept_after_its_answer_holds_nothing() {
    let shedder = one_slot();
    let mut service = LoadShedLayer::new(shedder.clone()).layer(service_fn(hello::<()>));
    let mut call = Box::pin(service.ready().await.unwrap().call(Request::new(())));
    let answer = call.as_mut().await.unwrap();
    answer.into_body().collect().await.unwrap();
    assert_eq!(shedder.in_flight(), 0);
    let again = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
    drop(call);
}

#[tokio::test]
async fn upgrades_and_streams_without_an_end_can_be_exempt() {
    let shedder = one_slot();
    let layer = LoadShedLayer::new(shedder.clone()).exempt_with(|request: &Request<()>| {
        request.headers().contains_key(header::UPGRADE) || request.uri().path() == "/stream"
    });
    let service = layer.layer(Inner::default());
    let mut upgrade = request("/");
    upgrade.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let held = shedder.admit().unwrap();
    for exempt in [upgrade, request("/stream")] {
        let answer = service.clone().oneshot(exempt).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let open = service.clone().oneshot(request("/stream")).await.unwrap();
    drop(held);
    // While it lasts, it has nobody's slot.
    let other = service.oneshot(request("/")).await.unwrap();
    assert_eq!((other.status(), shedder.in_flight()), (StatusCode::OK, 1));
    drop(open);
    assert_eq!(shedder.in_flight(), 1);
}

#[tokio::test]
async fn a_refusal_leaves_the_requests_body_unread() {
    let shedder = one_slot();
    let service = LoadShedLayer::new(shedder.clone()).layer(service_fn(hello::<UnreadBody>));
    let _held = shedder.admit().unwrap();
    let answer = service.oneshot(Request::new(UnreadBody)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let refused = shedder.snapshot().value("bartizan_shed_refusals_total", "limit");
    assert_eq!(refused, Some(1.0));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains("#temporary-reduced-capacity"), "{body}");
}

/// A timeout around the layer drops every call of a service that hangs: if that taught nothing, the
/// limit at which all of them time out would stay.
#[tokio::test(start_paused = true)]
async fn calls_that_are_all_given_up_lower_the_limit() {
    let clock = Clock::manual();
    let settings = Settings::default().limits(1, 100, 200).queue(0);
    let shedder = LoadShedder::new("test").clock(clock.clone()).settings(settings).unwrap();
    let service =
        LoadShedLayer::new(shedder.clone()).layer(service_fn(|_: Request<()>| pending::<Answer>()));
    let mut calls = VecDeque::new();
    for _ in 0..10_000 {
        while shedder.in_flight() < shedder.limit() {
            let mut call = spawn(service.clone().oneshot(Request::new(())));
            assert!(call.poll().is_pending());
            calls.push_back(call);
        }
        // Each is given up after 250 ms.
        clock.advance(Duration::from_millis(250) / calls.len() as u32);
        calls.pop_front();
    }
    drop(calls);
    assert_eq!(shedder.in_flight(), 0);
    assert!(shedder.limit() < 10, "{}", shedder.limit());
}

/// Layers are built per route and per connection.
#[tokio::test]
async fn services_of_one_layer_share_one_limit() {
    let layer = LoadShedLayer::new(one_slot());
    let (one, two) = (layer.layer(service_fn(hello::<()>)), layer.layer(service_fn(hello::<()>)));
    let first = one.oneshot(Request::new(())).await.unwrap();
    let second = two.oneshot(Request::new(())).await.unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
}
