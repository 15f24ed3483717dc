//! What an operator sees and changes while the breaker runs.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan_circuit_breaker::{
    CircuitBreaker, Forced, Permit, Reason, Settings, State, Transition,
};
use bartizan_core::{Clock, Engine, Outcome, Watch};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings::default().window(10, 10).open_wait(5 * SECOND, 20 * SECOND).open_jitter(0.0)
}

fn call(breaker: &CircuitBreaker, outcome: Outcome, count: usize) {
    (0..count).for_each(|_| breaker.try_acquire().unwrap().settle(outcome));
}

fn settle<const N: usize>(permits: [Permit; N], outcome: Outcome) {
    permits.into_iter().for_each(|permit| permit.settle(outcome));
}

fn gauge(breaker: &CircuitBreaker) -> f64 {
    breaker.snapshot().value("bartizan_circuit_breaker_state", "").unwrap()
}

type Seen = Arc<Mutex<Vec<Transition>>>;

fn watched(settings: Settings) -> (CircuitBreaker, Clock, Seen) {
    let (clock, seen) = (Clock::manual(), Seen::default());
    let note = Arc::clone(&seen);
    let breaker = CircuitBreaker::new("test")
        .settings(settings)
        .unwrap()
        .clock(clock.clone())
        .on_transition(move |transition| note.lock().unwrap().push(*transition));
    (breaker, clock, seen)
}

#[test]
fn transitions_come_with_their_reason_and_figures() {
    let settings = settings().slow_calls(SECOND, 0.5).half_open_probes(2).ramp([0.5], 1);
    let (breaker, clock, seen) = watched(settings);
    call(&breaker, Outcome::Success, 4);
    call(&breaker, Outcome::Failure, 6);
    clock.advance(5 * SECOND);
    call(&breaker, Outcome::Failure, 2);
    clock.advance(10 * SECOND);
    call(&breaker, Outcome::Success, 3);
    let slow = [(); 10].map(|()| breaker.try_acquire().unwrap());
    clock.advance(2 * SECOND);
    settle(slow, Outcome::Success);
    breaker.force(Forced::Closed);
    breaker.force(None);
    breaker.reset();

    let told: Vec<_> = seen
        .lock()
        .unwrap()
        .iter()
        .map(|change| {
            let figures = (change.calls(), change.failures(), change.slow());
            (change.from(), change.to(), change.reason(), figures, change.wait())
        })
        .collect();
    use State::{Closed, HalfOpen, Open};
    let wait = |seconds: u32| Some(seconds * SECOND);
    assert_eq!(
        told,
        [
            (Closed, Open, Reason::FailureRate, (10, 6, 0), wait(5)),
            (Open, HalfOpen, Reason::WaitOver, (0, 0, 0), None),
            (HalfOpen, Open, Reason::ProbesFailed, (2, 2, 0), wait(10)),
            (Open, HalfOpen, Reason::WaitOver, (0, 0, 0), None),
            (HalfOpen, HalfOpen, Reason::RampedUp, (2, 0, 0), None),
            (HalfOpen, Closed, Reason::ProbesSucceeded, (1, 0, 0), None),
            (Closed, Open, Reason::SlowRate, (10, 0, 10), wait(5)),
            (Open, Closed, Reason::Forced, (0, 0, 0), None),
            (Closed, Closed, Reason::Reset, (0, 0, 0), None),
        ]
    );
}

#[test]
fn one_gauge_tells_the_state() {
    let (breaker, clock, _) = watched(settings());
    assert_eq!(gauge(&breaker), 0.0);
    call(&breaker, Outcome::Failure, 10);
    assert_eq!(gauge(&breaker), 2.0);
    clock.advance(5 * SECOND);
    let probe = breaker.try_acquire().unwrap();
    assert_eq!(gauge(&breaker), 1.0);
    probe.settle(Outcome::Success);
    assert_eq!(gauge(&breaker), 0.0);
    let states = breaker.snapshot();
    let states = states.samples().iter().filter(|sample| sample.metric.name().ends_with("_state"));
    assert_eq!(states.count(), 1);
}

#[test]
fn a_window_survives_every_change_of_its_shape() {
    let (breaker, _clock, _) = watched(settings());
    call(&breaker, Outcome::Success, 4);
    call(&breaker, Outcome::Failure, 4);
    breaker.apply(json!({ "window": 5000, "minimum_calls": 100 })).unwrap();
    breaker.apply(json!({ "window_ms": 10_000, "minimum_calls": 100 })).unwrap();
    breaker.apply(json!({ "window": 9, "minimum_calls": 9 })).unwrap();
    assert_eq!(breaker.state(), State::Closed);
    call(&breaker, Outcome::Failure, 1);
    assert_eq!(breaker.state(), State::Open, "five of nine failed, of which eight came before");
}

#[test]
fn calls_under_way_count_across_a_change_of_settings() {
    let (breaker, _clock, _) = watched(settings());
    let under_way = [(); 9].map(|()| breaker.try_acquire().unwrap());
    breaker.apply(json!({ "window": 200, "minimum_calls": 10 })).unwrap();
    settle(under_way, Outcome::Failure);
    call(&breaker, Outcome::Failure, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn every_rule_can_be_changed_while_it_runs() {
    let (breaker, clock, seen) = watched(settings());
    call(&breaker, Outcome::Failure, 3);
    breaker.apply(json!({ "consecutive_failures": 2 })).unwrap();
    call(&breaker, Outcome::Failure, 2);
    assert_eq!(breaker.state(), State::Open);
    // In half-open: with one probe wanted, the one that has ended is enough.
    breaker.apply(json!({ "half_open_probes": 2 })).unwrap();
    clock.advance(5 * SECOND);
    call(&breaker, Outcome::Success, 1);
    assert_eq!(breaker.state(), State::HalfOpen);
    breaker.apply(json!({ "slow_call_ms": 100, "slow_rate": 0.5, "failure_rate": null })).unwrap();
    assert_eq!(breaker.state(), State::Closed);
    let slow = [(); 20].map(|()| breaker.try_acquire().unwrap());
    clock.advance(SECOND);
    settle(slow, Outcome::Success);
    assert_eq!(seen.lock().unwrap().last().unwrap().reason(), Reason::SlowRate);
    // Forced by settings alone, as an operator's document does it.
    breaker.apply(json!({ "forced": "open" })).unwrap();
    clock.advance(3600 * SECOND);
    let refusal = breaker.try_acquire().unwrap_err();
    assert!(
        refusal.retry_after() <= Duration::from_secs(60),
        "nobody knows how long, but not years"
    );
    breaker.apply(json!({})).unwrap();
    assert!(breaker.try_acquire().is_ok(), "its first call is a probe");
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[test]
fn failures_in_a_row_are_those_since_the_last_success_whatever_was_in_force_meanwhile() {
    let settings = settings().window(100, 100).consecutive_failures(5);
    let (breaker, _clock, _) = watched(settings.clone());
    call(&breaker, Outcome::Failure, 4);
    breaker.force(Forced::Closed);
    call(&breaker, Outcome::Success, 1);
    breaker.force(None);
    call(&breaker, Outcome::Failure, 4);
    assert_eq!(breaker.state(), State::Closed);
    let (with, mut without) = (serde_json::to_value(&settings).unwrap(), json!({}));
    without.clone_from(&with);
    without["consecutive_failures"] = json!(null);
    breaker.apply(without).unwrap();
    call(&breaker, Outcome::Success, 1);
    breaker.apply(with).unwrap();
    call(&breaker, Outcome::Failure, 4);
    assert_eq!(breaker.state(), State::Closed);
    call(&breaker, Outcome::Failure, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_service_that_hangs_in_the_ramp_is_left_alone_again() {
    let settings = settings().half_open_probes(1).probe_deadline(SECOND).ramp([0.5], 10);
    let (breaker, clock, seen) = watched(settings);
    call(&breaker, Outcome::Failure, 10);
    clock.advance(5 * SECOND);
    // The probe, and a call of the ramp that goes well.
    call(&breaker, Outcome::Success, 2);
    assert!(breaker.try_acquire().is_err(), "every other");
    let hanging = breaker.try_acquire().unwrap();
    clock.advance(SECOND);
    assert!(breaker.try_acquire().is_err(), "every other");
    let other = breaker.try_acquire().unwrap();
    // One that ends shows that the service does not hang.
    other.settle(Outcome::Success);
    clock.advance(2 * SECOND);
    assert!(breaker.try_acquire().is_err(), "every other");
    let hangs_too = breaker.try_acquire().unwrap();
    clock.advance(2 * SECOND);
    assert!(breaker.try_acquire().is_err());
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(seen.lock().unwrap().last().unwrap().reason(), Reason::ProbesFailed);
    // They come too late to say anything.
    settle([hanging, hangs_too], Outcome::Success);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn one_long_call_holds_no_ramp_up() {
    let settings = settings().half_open_probes(1).probe_deadline(SECOND).ramp([0.5], 2);
    let (breaker, clock, _) = watched(settings);
    call(&breaker, Outcome::Failure, 10);
    clock.advance(5 * SECOND);
    call(&breaker, Outcome::Success, 1);
    let long = breaker.try_acquire().unwrap();
    clock.advance(10 * SECOND);
    assert!(breaker.try_acquire().is_err(), "every other");
    let other = breaker.try_acquire().unwrap();
    assert!(breaker.try_acquire().is_err(), "every other");
    assert_eq!(breaker.state(), State::HalfOpen);
    settle([other, long], Outcome::Success);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn the_open_time_is_left_to_chance_within_its_bounds() {
    let wait = || {
        let (breaker, _clock, _) = watched(settings().open_jitter(0.2));
        call(&breaker, Outcome::Failure, 10);
        breaker.try_acquire().unwrap_err().retry_after()
    };
    let waits: Vec<_> = (0..200).map(|_| wait()).collect();
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*least >= 4 * SECOND && *most <= 5 * SECOND, "{least:?} to {most:?}");
    assert!(*most - *least > SECOND / 2, "{least:?} to {most:?}");
}
