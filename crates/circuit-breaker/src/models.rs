//! Models that loom runs through every order of steps that its bound allows:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p bartizan-circuit-breaker --lib models`.

#![allow(clippy::unwrap_used, reason = "a model says what went wrong by failing")]

use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{Clock, Key, Mode, Outcome, Timestamp};
use loom::model::Builder;
use loom::thread;

use crate::circuit::Circuit;
use crate::common::Common;
use crate::state::{Call, Flight, Shape, Slice, Tag, Window};
use crate::{Forced, Settings, State};

const FAILED: Call = Call { failed: true, slow: false };
const NOW: Timestamp = Timestamp::from_nanos(1);

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn what_a_window_counts_is_what_it_holds() {
    check(|| {
        let (tag, window) = (Tag::default(), Arc::new(Window::new(Shape::Calls(2), NOW)));
        let record = |call: Call| {
            let window = Arc::clone(&window);
            thread::spawn(move || window.record(tag, call, false).is_ok())
        };
        let others = [record(FAILED), record(Call { failed: true, slow: true })];
        // Laps one of them, in whichever order they come.
        window.record_good(tag).unwrap();
        assert!(others.into_iter().all(|other| other.join().unwrap()));
        assert_eq!(window.tally(), window.recount());
        assert_eq!(window.recorded(), 3);
    });
}

#[test]
fn nothing_late_gets_into_an_emptied_window() {
    check(|| {
        let (old, shape) = (Tag::default(), Shape::Calls(2));
        let window = Arc::new(Window::new(shape, NOW));
        let late = {
            let window = Arc::clone(&window);
            thread::spawn(move || window.record(old, FAILED, true).is_ok())
        };
        window.reset(old.next(), shape, NOW);
        window.record_good(old.next()).unwrap();
        late.join().unwrap();
        let tally = window.tally();
        assert_eq!((tally.calls, tally.failures, tally.streak), (1, 0, 0));
        assert_eq!(window.recount(), tally);
    });
}

#[test]
fn a_window_of_time_loses_no_call_when_it_moves_on() {
    check(|| {
        let (tag, shape) = (Tag::default(), Shape::Time(10));
        let window = Arc::new(Window::new(shape, NOW));
        let other = {
            let window = Arc::clone(&window);
            thread::spawn(move || window.record(tag, FAILED, false).is_ok())
        };
        // To the next slice, and then beyond all that there are.
        window.roll(Timestamp::from_nanos(11));
        assert!(other.join().unwrap());
        assert_eq!((window.tally().calls, window.tally().failures), (1, 1));
        window.roll(Timestamp::from_nanos(1_000));
        assert_eq!((window.tally().calls, window.tally().failures), (0, 0));
    });
}

#[test]
fn calls_in_flight_are_counted_once_while_their_slot_is_taken() {
    check(|| {
        let (tag, flight) = (Tag::default(), Arc::new(Flight::default()));
        flight.reset(tag);
        // The second takes the slot of the first: nine slices lie between them.
        let (old, young) = (Slice::of(0, 8), Slice::of(9, 8));
        flight.enter(tag, old);
        flight.enter(tag, old);
        let leaves = {
            let flight = Arc::clone(&flight);
            thread::spawn(move || flight.leave(tag, old))
        };
        flight.enter(tag, young);
        leaves.join().unwrap();
        assert_eq!(flight.overdue(tag, young), 1);
        flight.leave(tag, old);
        flight.leave(tag, young);
        assert_eq!(flight.overdue(tag, Slice::of(100, 8)), 0);
    });
}

const WAIT: Duration = Duration::from_secs(5);

/// A breaker that opens at its first failure, with that many probes.
fn breaker(probes: u32) -> (Arc<Circuit>, Clock) {
    let clock = Clock::manual();
    let settings = Settings::default()
        .window(1, 1)
        .open_wait(WAIT, WAIT)
        .open_jitter(0.0)
        .half_open_probes(probes);
    let common = Common::new("model".into()).with_settings(settings).unwrap();
    let common = Common { clock: clock.clone(), ..common };
    (Arc::new(Circuit::new(Arc::new(common), Key::of(""))), clock)
}

fn fail(circuit: &Circuit) {
    let token = circuit.admit(Mode::Enforce).unwrap().unwrap();
    circuit.settle(token, Outcome::Failure);
}

#[test]
fn as_many_calls_probe_as_there_are_probes() {
    for probes in [1, 2] {
        check(move || {
            let (circuit, clock) = breaker(probes);
            fail(&circuit);
            clock.advance(WAIT);
            let call = || {
                let circuit = Arc::clone(&circuit);
                thread::spawn(move || circuit.admit(Mode::Enforce).is_ok())
            };
            let others = [call(), call()];
            let mine = circuit.admit(Mode::Enforce).is_ok();
            let others = others.map(|other| u32::from(other.join().unwrap()));
            assert_eq!(others.into_iter().sum::<u32>() + u32::from(mine), probes);
            assert_eq!(circuit.state(), State::HalfOpen);
        });
    }
}

#[test]
fn a_probe_s_slot_is_freed_once() {
    check(|| {
        let (circuit, clock) = breaker(1);
        fail(&circuit);
        clock.advance(WAIT);
        let probe = circuit.admit(Mode::Enforce).unwrap().unwrap();
        let dropped = {
            let circuit = Arc::clone(&circuit);
            thread::spawn(move || circuit.settle(probe, Outcome::Abandoned))
        };
        // Refused before the drop, admitted after it; but never are there two probes.
        let first = circuit.admit(Mode::Enforce).is_ok();
        dropped.join().unwrap();
        let second = circuit.admit(Mode::Enforce).is_ok();
        assert!(first != second);
    });
}

#[test]
fn a_late_failure_does_not_open_what_has_closed_again() {
    check(|| {
        let (circuit, clock) = breaker(1);
        let late = circuit.admit(Mode::Enforce).unwrap().unwrap();
        fail(&circuit);
        clock.advance(WAIT);
        let late = {
            let circuit = Arc::clone(&circuit);
            thread::spawn(move || circuit.settle(late, Outcome::Failure))
        };
        let probe = circuit.admit(Mode::Enforce).unwrap().unwrap();
        circuit.settle(probe, Outcome::Success);
        late.join().unwrap();
        assert_eq!(circuit.state(), State::Closed);
        assert!(circuit.admit(Mode::Enforce).is_ok());
    });
}

#[test]
fn failures_at_once_open_it_once() {
    check(|| {
        let (circuit, _clock) = breaker(1);
        let tokens = [(); 2].map(|()| circuit.admit(Mode::Enforce).unwrap().unwrap());
        let ends = tokens.map(|token| {
            let circuit = Arc::clone(&circuit);
            thread::spawn(move || circuit.settle(token, Outcome::Failure))
        });
        ends.into_iter().for_each(|end| end.join().unwrap());
        assert_eq!(circuit.state(), State::Open);
        assert!(circuit.admit(Mode::Enforce).is_err());
    });
}

#[test]
fn whoever_waits_for_the_lock_acts_by_the_settings_in_force_then() {
    check(|| {
        let (circuit, clock) = breaker(1);
        fail(&circuit);
        clock.advance(WAIT);
        let probe = circuit.admit(Mode::Enforce).unwrap().unwrap();
        let closing = {
            let circuit = Arc::clone(&circuit);
            thread::spawn(move || circuit.settle(probe, Outcome::Success))
        };
        circuit.common().put(|settings| settings.clone().window(2, 2));
        circuit.adopt(clock.now());
        closing.join().unwrap();
        // A window of one call would never hold as many as are judged.
        (0..2).for_each(|_| fail(&circuit));
        assert_eq!(circuit.state(), State::Open);
    });
}

#[test]
fn of_two_changes_at_once_one_holds() {
    check(|| {
        let (circuit, clock) = breaker(1);
        let forced = {
            let (circuit, now) = (Arc::clone(&circuit), clock.now());
            thread::spawn(move || {
                circuit.common().put(|settings| settings.clone().forced(Forced::Open));
                circuit.adopt(now);
            })
        };
        circuit.common().put(|_| Settings::default());
        circuit.adopt(clock.now());
        forced.join().unwrap();
        let is_held = circuit.common().settings.load().held_to().is_some();
        assert_eq!(circuit.admit(Mode::Enforce).is_err(), is_held);
    });
}
