//! What operators turn while it runs, and what they see.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::future::pending;
use std::time::Duration;

use bartizan_core::{Clock, Engine, Mode, Outcome, Watch};
use bartizan_shed::{LoadShedLayer, LoadShedder, Settings};
use http::{Request, StatusCode};
use tokio::time::Instant;
use tokio_test::task::spawn;
use tower::{Layer, ServiceExt, service_fn};

use self::common::{Answer, MILLI, hello, one_slot, refusals, to};

/// Lets it know by so many calls that they take so many milliseconds in turn.
fn learn(shedder: &LoadShedder, clock: &Clock, calls: usize, millis: &[u32]) {
    for &takes in millis.iter().cycle().take(calls) {
        let slot = shedder.admit().unwrap();
        clock.advance(takes * MILLI);
        slot.settle(Outcome::Success);
    }
}

#[tokio::test(start_paused = true)]
async fn forced_refusals_spare_the_critical() {
    let settings = Settings::default().force(1.0);
    let shedder = LoadShedder::new("test").clock(Clock::manual()).settings(settings).unwrap();
    let service = LoadShedLayer::new(shedder.clone())
        .priority(|request: &Request<()>| request.uri().path()[1..].parse().unwrap())
        .layer(service_fn(hello));
    let status = |path: &'static str| {
        let call = service.clone().oneshot(to(path));
        async { call.await.unwrap().status() }
    };
    assert_eq!(status("/default").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status("/critical").await, StatusCode::OK);
    assert_eq!(refusals(&shedder, "forced"), 1.0);
    shedder.switch().set(Mode::Shadow);
    assert_eq!(status("/default").await, StatusCode::OK);
    shedder.switch().set(Mode::Off);
    assert_eq!(status("/default").await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_has_refused_shortens_no_wait() {
    let (shedder, clock) = one_slot();
    let service = LoadShedLayer::new(shedder.clone()).layer(service_fn(hello));
    let waited = || async {
        let (held, begun) = (shedder.admit().unwrap(), Instant::now());
        let answer = service.clone().oneshot(to("/")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(held);
        begun.elapsed()
    };
    // Where calls differ much, bursts are given time.
    let unequal = [1, 1, 1, 1, 1, 1, 1, 1, 1, 40];
    learn(&shedder, &clock, 2000, &unequal);
    let before = waited().await;
    let settings = |share: f64| {
        serde_json::json!({"algorithm": "fixed", "initial_limit": 1,
        "max_limit": 1, "critical_share": 0.0, "forced_share": share})
    };
    for _ in 0..4 {
        shedder.apply(settings(1.0)).unwrap();
        for _ in 0..10_000 {
            assert!(shedder.admit().is_none());
        }
        shedder.apply(settings(0.0)).unwrap();
        learn(&shedder, &clock, 120, &unequal);
    }
    assert_eq!(refusals(&shedder, "forced"), 40_000.0);
    // The one who waited in vain counts, as one of hundreds.
    let after = waited().await;
    assert!(after >= before - 3 * MILLI, "{before:?}, {after:?}");
}

#[tokio::test(start_paused = true)]
async fn shadow_mode_neither_waits_nor_refuses_and_counts_whom_no_queue_would_have_served() {
    let (shedder, clock) = one_slot();
    learn(&shedder, &clock, 2000, &[10]);
    shedder.switch().set(Mode::Shadow);
    let service =
        LoadShedLayer::new(shedder.clone()).layer(service_fn(|_: Request<()>| pending::<Answer>()));
    let refused =
        || shedder.snapshot().value("bartizan_shed_requests_total", "shadow_refused").unwrap();
    let mut calls: Vec<_> = (0..3).map(|_| spawn(service.clone().oneshot(to("/")))).collect();
    let mut count = |next: usize| {
        assert!(calls[next].poll().is_pending());
        refused()
    };
    // One has the slot, one would have had it in 10 ms. Calls of equal length wait for 18 ms at the most.
    assert_eq!([count(0), count(1), count(2)], [0.0, 0.0, 1.0]);
    assert_eq!((shedder.waiting(), shedder.in_flight()), (0, 3));
    shedder.apply(serde_json::json!({"algorithm": "fixed", "queue_capacity": 0})).unwrap();
    let mut calls: Vec<_> = (0..6).map(|_| spawn(service.clone().oneshot(to("/")))).collect();
    calls.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
    // Five more had a slot.
    assert_eq!(refused(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn the_share_that_is_refused_is_that_of_late() {
    let clock = Clock::manual();
    let settings = Settings::fixed(1).critical_slots(0.0).queue(0);
    let shedder = LoadShedder::new("test").clock(clock.clone()).settings(settings).unwrap();
    let share = || shedder.snapshot().value("bartizan_shed_refused_share", "").unwrap();
    let service = LoadShedLayer::new(shedder.clone()).layer(service_fn(hello));
    clock.advance(Duration::from_secs(1));
    assert_eq!(share(), 0.0);
    let _held = shedder.admit().unwrap();
    for _ in 0..3 {
        let answer = service.clone().oneshot(to("/")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(share(), 0.75);
    clock.advance(MILLI);
    assert_eq!(share(), 0.75);
    clock.advance(Duration::from_secs(1));
    assert_eq!(share(), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_lets_in_who_waits() {
    let (shedder, _clock) = one_slot();
    let service = LoadShedLayer::new(shedder.clone()).layer(service_fn(hello));
    let _held = shedder.admit().unwrap();
    let mut call = spawn(service.oneshot(to("/")));
    assert!(call.poll().is_pending());
    let settings = serde_json::json!({"algorithm": "fixed", "initial_limit": 2, "max_limit": 2});
    shedder.apply(settings).unwrap();
    assert!(call.is_woken());
    assert!(call.poll().is_ready());
}
