//! The breaker in a tower stack, over HTTP and gRPC.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bartizan_circuit_breaker::{
    CircuitBreak, CircuitBreaker, CircuitBreakerLayer, Permit, Settings, State,
};
use bartizan_core::{Clock, Engine, Mode, Outcome, Rejection, Watch};
use bartizan_testing::{Inner, request};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceExt, service_fn};

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

fn reply(status: u16) -> Reply {
    let mut response = Response::new(Full::from("hello").boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn grpc_reply(status: &'static str) -> Reply {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    let body = Full::from("hello").with_trailers(std::future::ready(Some(Ok(trailers))));
    Response::builder()
        .header("content-type", "application/grpc")
        .body(body.boxed_unsync())
        .unwrap()
}

const WAIT: Duration = Duration::from_secs(5);

fn settings() -> Settings {
    Settings::default()
        .window(10, 10)
        .open_wait(WAIT, WAIT * 4)
        .half_open_probes(1)
        .probe_deadline(Duration::from_secs(30))
}

fn breaker() -> (CircuitBreaker, Clock) {
    let clock = Clock::manual();
    let breaker = CircuitBreaker::new("test").settings(settings()).unwrap().clock(clock.clone());
    (breaker, clock)
}

fn open(breaker: &CircuitBreaker) {
    (0..10).for_each(|_| breaker.try_acquire().unwrap().settle(Outcome::Failure));
    assert_eq!(breaker.state(), State::Open);
}

/// A breaker whose next call is a probe.
fn ready_to_probe() -> (CircuitBreaker, Clock) {
    let (breaker, clock) = breaker();
    open(&breaker);
    clock.advance(WAIT);
    (breaker, clock)
}

fn answering(
    breaker: &CircuitBreaker,
    answer: impl Fn() -> Reply + Clone,
) -> impl Service<
    Request<()>,
    Response = Response<bartizan_core::ResponseBody<UnsyncBoxBody<Bytes, Infallible>, Permit>>,
    Error = Infallible,
> + Clone {
    let inner = service_fn(move |_: Request<()>| std::future::ready(Ok::<_, Infallible>(answer())));
    CircuitBreakerLayer::new(breaker.clone()).layer(inner)
}

/// Calls and reads the body to its end.
async fn calls(breaker: &CircuitBreaker, count: usize, answer: impl Fn() -> Reply + Clone) {
    let service = answering(breaker, answer);
    for _ in 0..count {
        let response = service.clone().oneshot(Request::new(())).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
}

fn figure(breaker: &CircuitBreaker, outcome: &str) -> f64 {
    breaker.snapshot().value("bartizan_circuit_breaker_calls_total", outcome).unwrap()
}

#[tokio::test]
async fn server_errors_open_and_the_refusal_says_when_to_come_back() {
    let (breaker, clock) = breaker();
    calls(&breaker, 10, || reply(500)).await;
    assert_eq!(breaker.state(), State::Open);
    clock.advance(Duration::from_millis(3500));
    let service = answering(&breaker, || panic!("called"));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "2");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "circuit-open");
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
    );
}

#[tokio::test]
async fn grpc_callers_are_refused_in_grpc() {
    let (breaker, _clock) = breaker();
    open(&breaker);
    let request = Request::builder().header("content-type", "application/grpc").body(()).unwrap();
    let response = answering(&breaker, || reply(200)).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "14");
}

#[tokio::test]
async fn u16_one_of_a_hundred_concurrent_calls_probes() {
    stampede(1).await;
}

#[tokio::test]
async fn u16_exactly_n_of_a_hundred_concurrent_calls_probe() {
    stampede(7).await;
}

async fn stampede(probes: u32) {
    let clock = Clock::manual();
    let settings = settings().half_open_probes(probes);
    let breaker = CircuitBreaker::new("test").settings(settings).unwrap().clock(clock.clone());
    open(&breaker);
    clock.advance(WAIT);
    let (hits, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let inner = {
        let (hits, gate) = (Arc::clone(&hits), Arc::clone(&gate));
        service_fn(move |_: Request<()>| {
            let (hits, gate) = (Arc::clone(&hits), Arc::clone(&gate));
            async move {
                hits.fetch_add(1, SeqCst);
                gate.acquire().await.unwrap().forget();
                Ok::<_, Infallible>(reply(500))
            }
        })
    };
    let service = CircuitBreakerLayer::new(breaker.clone()).layer(inner);
    let tasks: Vec<_> =
        (0..100).map(|_| tokio::spawn(service.clone().oneshot(Request::new(())))).collect();
    // All have either reached the service or been refused before any probe ends.
    while hits.load(SeqCst) + tasks.iter().filter(|task| task.is_finished()).count() < 100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(hits.load(SeqCst), probes as usize);
    gate.add_permits(100);
    let mut refused = 0;
    for task in tasks {
        refused += u32::from(task.await.unwrap().unwrap().status() == 503);
    }
    assert_eq!(refused, 100 - probes);
    assert_eq!(breaker.state(), State::Open);
}

/// A call that never ends.
fn hanging(breaker: &CircuitBreaker) -> Pin<Box<dyn Future<Output = ()>>> {
    let inner = service_fn(|_: Request<()>| std::future::pending::<Result<Reply, Infallible>>());
    let mut service: CircuitBreak<_> = CircuitBreakerLayer::new(breaker.clone()).layer(inner);
    let call = service.call(Request::new(()));
    Box::pin(async move { drop(call.await) })
}

#[tokio::test]
async fn u17a_dropped_probe_frees_its_slot_and_counts_as_neither() {
    let (breaker, _clock) = ready_to_probe();
    let probe = hanging(&breaker);
    assert!(breaker.try_acquire().is_err());
    drop(probe);
    assert_eq!(breaker.state(), State::HalfOpen);
    calls(&breaker, 1, || reply(200)).await;
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test]
async fn u17b_s17_panicking_probe_is_a_failure_and_opens() {
    let (breaker, clock) = ready_to_probe();
    let inner = service_fn(|_: Request<()>| async {
        if true {
            panic!("probe panics");
        }
        Ok::<_, Infallible>(reply(200))
    });
    let service = CircuitBreakerLayer::new(breaker.clone()).layer(inner);
    let task = tokio::spawn(async move { service.oneshot(Request::new(())).await.map(drop) });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(breaker.state(), State::Open, "a panic is a failure");
    clock.advance(WAIT * 2);
    assert!(breaker.try_acquire().is_ok());
}

#[test]
fn s17_panic_with_a_permit_in_hand_is_a_failure() {
    let (breaker, _clock) = ready_to_probe();
    let permit = breaker.try_acquire().unwrap();
    let caught = std::panic::catch_unwind(AssertUnwindSafe(move || {
        let _permit = permit;
        panic!("probe panics");
    }));
    assert!(caught.is_err());
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn s17_panic_caught_around_poll_is_a_failure_at_once() {
    let (breaker, _clock) = ready_to_probe();
    let inner = service_fn(|_: Request<()>| {
        std::future::poll_fn(|_| -> Poll<Result<Reply, Infallible>> { panic!("probe panics") })
    });
    let mut service: CircuitBreak<_> = CircuitBreakerLayer::new(breaker.clone()).layer(inner);
    let mut call = Box::pin(service.call(Request::new(())));
    let mut context = Context::from_waker(Waker::noop());
    let caught = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let _ = call.as_mut().poll(&mut context);
    }));
    assert!(caught.is_err());
    // The future is still alive.
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn u17c_hung_probe_is_reclaimed_after_its_deadline() {
    let (breaker, clock) = ready_to_probe();
    let hung = hanging(&breaker);
    clock.advance(Duration::from_secs(29));
    assert!(breaker.try_acquire().is_err());
    clock.advance(Duration::from_secs(1));
    let probe = breaker.try_acquire().unwrap();
    drop(hung);
    assert!(breaker.try_acquire().is_err(), "the late drop must not free the new probe's slot");
    probe.settle(Outcome::Success);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test]
async fn u19_not_found_is_no_failure() {
    let (breaker, _clock) = breaker();
    calls(&breaker, 20, || reply(404)).await;
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(figure(&breaker, "success"), 20.0);
}

#[tokio::test]
async fn u19_grpc_failure_in_trailers_opens_at_the_end_of_the_body() {
    for status in ["14", "13", "4"] {
        let (breaker, _clock) = breaker();
        calls(&breaker, 9, || grpc_reply(status)).await;
        let last = answering(&breaker, || grpc_reply(status)).oneshot(Request::new(())).await;
        assert_eq!(breaker.state(), State::Closed, "the head does not tell");
        last.unwrap().into_body().collect().await.unwrap();
        assert_eq!(breaker.state(), State::Open);
    }
}

#[tokio::test]
async fn u19_refusals_by_a_layer_further_in_are_not_counted() {
    let ((outer, _), (inner, _)) = (breaker(), breaker());
    open(&inner);
    let refusing = CircuitBreakerLayer::new(inner)
        .layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(reply(200)) }));
    let service = CircuitBreakerLayer::new(outer.clone()).layer(refusing);
    for _ in 0..20 {
        let response = service.clone().oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.status(), 503);
    }
    assert_eq!(outer.state(), State::Closed);
    assert_eq!(figure(&outer, "ignored"), 20.0);
}

#[tokio::test]
async fn u19_cancelled_calls_and_dropped_bodies_are_not_counted() {
    let (breaker, _clock) = breaker();
    for _ in 0..20 {
        drop(hanging(&breaker));
        let service = CircuitBreakerLayer::new(breaker.clone()).layer(Inner::default());
        let mut body = service.oneshot(request("/stream")).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
    }
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(figure(&breaker, "ignored"), 40.0);
    assert_eq!(figure(&breaker, "success"), 0.0);
}

#[tokio::test]
async fn shadow_counts_and_opens_but_never_refuses() {
    let (breaker, _clock) = breaker();
    breaker.switch().set(Mode::Shadow);
    calls(&breaker, 15, || reply(500)).await;
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(figure(&breaker, "shadow_refused"), 5.0);
    assert_eq!(figure(&breaker, "refused"), 0.0);
}

#[tokio::test]
async fn off_counts_nothing() {
    let (breaker, _clock) = breaker();
    breaker.switch().set(Mode::Off);
    calls(&breaker, 20, || reply(500)).await;
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(figure(&breaker, "failure"), 0.0);
}

#[tokio::test]
async fn settings_change_while_running_and_the_window_stays() {
    let (breaker, _clock) = breaker();
    calls(&breaker, 9, || reply(500)).await;
    let error = breaker.apply(serde_json::json!({ "windw": 3 })).unwrap_err();
    assert!(error.to_string().contains("windw"), "{error}");
    let error = breaker.apply(serde_json::json!({ "failure_rate": 2.0 })).unwrap_err();
    assert!(error.to_string().contains("failure_rate"), "{error}");
    breaker.apply(serde_json::json!({ "window": 50, "minimum_calls": 10 })).unwrap();
    calls(&breaker, 1, || reply(500)).await;
    assert_eq!(breaker.state(), State::Open);
}

#[derive(Debug)]
struct Failed;

impl From<Rejection> for Failed {
    fn from(_: Rejection) -> Self {
        Self
    }
}

#[tokio::test]
async fn plain_services_count_errors_and_are_refused_by_error() {
    let (breaker, _clock) = breaker();
    let inner = service_fn(|_: ()| async { Err::<(), _>(Failed) });
    let service = CircuitBreakerLayer::new(breaker.clone()).plain().layer(inner);
    for _ in 0..11 {
        assert!(service.clone().oneshot(()).await.is_err());
    }
    assert_eq!(figure(&breaker, "failure"), 10.0);
    assert_eq!(figure(&breaker, "refused"), 1.0);
}
