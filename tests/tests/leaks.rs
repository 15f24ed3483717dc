//! What a stack holds after thousands of exchanges that did not end as planned: nothing.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bartizan::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
use bartizan::core::{Engine, key};
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bartizan::shed::{LoadShedLayer, LoadShedder};
use bartizan_testing::{Inner, request};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceBuilder};

const ROUNDS: usize = 10_000;

#[test]
fn u33_ten_thousand_exchanges_cut_short_leave_nothing() {
    let shedder = LoadShedder::new("test");
    let breaker = CircuitBreaker::new("test");
    let limiter = RateLimiter::new(Quota::per_second(1_000_000_000).unwrap());
    let mut service = ServiceBuilder::new()
        .layer(LoadShedLayer::new(shedder.clone()))
        .layer(RateLimitLayer::new(limiter).key(key::global()))
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .into_inner()
        .layer(Inner::default());
    let mut cx = Context::from_waker(Waker::noop());
    let mut panics = 0;

    for round in 0..ROUNDS {
        assert!(service.poll_ready(&mut cx).is_ready());
        match round % 3 {
            // Cancelled before the head; one in a hundred of them by a panic.
            0 if round % 300 == 0 => {
                let call = service.call(request("/panic"));
                let caught = catch_unwind(AssertUnwindSafe(|| pin!(call).poll(&mut cx).is_ready()));
                panics += usize::from(caught.is_err());
            }
            0 => assert!(pin!(service.call(request("/pending"))).poll(&mut cx).is_pending()),
            // Dropped in mid-body.
            1 => {
                let Poll::Ready(Ok(response)) =
                    pin!(service.call(request("/stream"))).poll(&mut cx)
                else {
                    panic!("the head is there at once");
                };
                assert_eq!(response.status(), 200);
                assert!(pin!(response.into_body().frame()).poll(&mut cx).is_ready());
            }
            // Read to the end.
            _ => {
                let Poll::Ready(Ok(response)) = pin!(service.call(request("/"))).poll(&mut cx)
                else {
                    panic!("the head is there at once");
                };
                assert_eq!(response.status(), 200);
                assert!(pin!(response.into_body().collect()).poll(&mut cx).is_ready());
            }
        }
    }

    assert_eq!(panics, ROUNDS.div_ceil(300));
    assert_eq!(shedder.in_flight(), 0);
    assert_eq!(breaker.state(), State::Closed);
    let count = |outcome| breaker.snapshot().value("bartizan_circuit_breaker_calls_total", outcome);
    assert_eq!(count("success"), Some((ROUNDS / 3) as f64));
    assert_eq!(count("failure"), Some(panics as f64));
}
