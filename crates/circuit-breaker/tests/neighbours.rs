//! The breaker together with tower's retry and time-out, as the page on stacking has it.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bartizan_circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, Settings, State};
use bartizan_core::{Clock, Engine, Refused};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

fn breaker(settings: Settings) -> CircuitBreaker {
    CircuitBreaker::new("test").settings(settings).unwrap().clock(Clock::manual())
}

fn figure(breaker: &CircuitBreaker, outcome: &str) -> f64 {
    breaker.snapshot().value("bartizan_circuit_breaker_calls_total", outcome).unwrap()
}

/// Tries again after every 5xx, up to four times.
#[derive(Clone)]
struct Again(u32);

impl<B> Policy<Request<()>, Response<B>, Infallible> for Again {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<()>,
        result: &mut Result<Response<B>, Infallible>,
    ) -> Option<Ready<()>> {
        let failed = result.as_ref().is_ok_and(|response| response.status().is_server_error());
        // The breaker's refusal is final: to try again at once is what it asks not to do.
        let refused =
            result.as_ref().is_ok_and(|response| response.extensions().get::<Refused>().is_some());
        (failed && !refused && self.0 > 0).then(|| {
            self.0 -= 1;
            ready(())
        })
    }

    fn clone_request(&mut self, _: &Request<()>) -> Option<Request<()>> {
        Some(Request::new(()))
    }
}

fn failing(
    calls: &Arc<AtomicUsize>,
) -> impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send> + Clone
{
    let calls = Arc::clone(calls);
    service_fn(move |_: Request<()>| {
        calls.fetch_add(1, SeqCst);
        let mut response = Response::new(Full::<Bytes>::default());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        ready(Ok::<_, Infallible>(response))
    })
}

#[tokio::test]
async fn outside_a_retry_the_breaker_judges_what_the_caller_gets() {
    let (breaker, calls) = (breaker(Settings::default().window(10, 10)), Arc::default());
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .layer(RetryLayer::new(Again(4)))
        .service(failing(&calls));
    for _ in 0..10 {
        let response = service.clone().oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.status(), 500);
    }
    assert_eq!(calls.load(SeqCst), 50, "five attempts each");
    assert_eq!(figure(&breaker, "failure"), 10.0, "of which each call is one failure");
    assert_eq!(breaker.state(), State::Open);
    service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(calls.load(SeqCst), 50, "an open circuit is not retried into");
}

#[tokio::test]
async fn inside_a_retry_the_breaker_judges_each_attempt_and_ends_them() {
    let (breaker, calls) = (breaker(Settings::default().window(10, 10)), Arc::default());
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(Again(4)))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(failing(&calls));
    for status in [500, 500, 503] {
        let response = service.clone().oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.status(), status);
    }
    assert_eq!(calls.load(SeqCst), 10, "two calls of five attempts opened it");
    assert_eq!(figure(&breaker, "refused"), 1.0, "and its refusal is not tried again");
}

/// A service that takes a minute.
fn slow()
-> impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = tower::BoxError, Future: Send>
+ Clone {
    service_fn(|_: Request<()>| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok::<_, tower::BoxError>(Response::new(Full::<Bytes>::default()))
    })
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_time_out_inside_is_a_failure() {
    let breaker = breaker(Settings::default().window(10, 10));
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .layer(TimeoutLayer::new(SECOND))
        .service(slow());
    for _ in 0..10 {
        assert!(service.clone().oneshot(Request::new(())).await.is_err());
    }
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(service.oneshot(Request::new(())).await.unwrap().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_time_out_outside_shows_only_calls_that_were_given_up() {
    let breaker = breaker(Settings::default().window(10, 10));
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(SECOND))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(slow());
    for _ in 0..50 {
        assert!(service.clone().oneshot(Request::new(())).await.is_err());
    }
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(figure(&breaker, "ignored"), 50.0);
}

#[tokio::test(start_paused = true)]
async fn a_time_out_that_must_be_outside_can_count_as_slow() {
    let settings = Settings::default()
        .window(10, 10)
        .slow_calls(Duration::from_millis(500), 0.5)
        .slow_when_abandoned(true);
    let clock = Clock::manual();
    let breaker = CircuitBreaker::new("test").settings(settings).unwrap().clock(clock.clone());
    let service =
        TimeoutLayer::new(SECOND).layer(CircuitBreakerLayer::new(breaker.clone()).layer(slow()));
    for _ in 0..10 {
        let call = service.clone().oneshot(Request::new(()));
        let (given_up, ()) = tokio::join!(call, async {
            // The breaker's own clock goes along.
            tokio::time::sleep(Duration::from_millis(900)).await;
            clock.advance(Duration::from_millis(900));
        });
        assert!(given_up.is_err());
    }
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(figure(&breaker, "given_up"), 10.0);
}
