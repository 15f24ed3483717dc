//! The breaker suite: window 10, minimum 10, 50 %, wait 5 s, 3 probes.

use std::time::Duration;

use bartizan_core::{Outcome, Timestamp};

use super::{Machine, State, Token};
use crate::Settings;

const SEC: u64 = 1_000_000_000;

fn at(secs: u64) -> Timestamp {
    Timestamp::from_nanos(secs * SEC)
}

fn machine() -> Machine {
    let secs = Duration::from_secs;
    let settings = Settings::default()
        .window(10, 10)
        .open_wait(secs(5), secs(20))
        .half_open_probes(3)
        .probe_deadline(secs(30));
    Machine::new(settings.validated().unwrap())
}

fn call(machine: &mut Machine, outcome: Outcome, now: u64) {
    let token = machine.acquire(at(now)).unwrap();
    machine.settle(token, outcome, at(now));
}

fn calls_until_open(machine: &mut Machine) -> u32 {
    (1..)
        .find(|_| {
            call(machine, Outcome::Failure, 0);
            machine.state() == State::Open
        })
        .unwrap()
}

fn opened() -> Machine {
    let mut machine = machine();
    calls_until_open(&mut machine);
    machine
}

fn probes(machine: &mut Machine, now: u64) -> Vec<Token> {
    (0..100).filter_map(|_| machine.acquire(at(now)).ok()).collect()
}

#[test]
fn s1_five_failures_after_ten_successes_open() {
    let mut machine = machine();
    (0..10).for_each(|_| call(&mut machine, Outcome::Success, 0));
    assert_eq!(calls_until_open(&mut machine), 5);
}

#[test]
fn s2_a_long_good_past_does_not_delay() {
    let mut machine = machine();
    (0..10_000).for_each(|_| call(&mut machine, Outcome::Success, 0));
    assert_eq!(calls_until_open(&mut machine), 5);
}

#[test]
fn s3_nothing_is_judged_before_the_minimum() {
    assert_eq!(calls_until_open(&mut machine()), 10);
}

#[test]
fn s5_half_open_admits_exactly_the_probes_then_closes() {
    let mut machine = opened();
    assert_eq!(machine.acquire(at(3)).unwrap_err(), Duration::from_secs(2));
    let probes = probes(&mut machine, 5);
    assert_eq!(probes.len(), 3);
    assert!(machine.acquire(at(5)).unwrap_err() > Duration::ZERO);
    probes.into_iter().for_each(|probe| machine.settle(probe, Outcome::Success, at(5)));
    assert_eq!(machine.state(), State::Closed);
}

#[test]
fn s6_one_failed_probe_of_three_closes() {
    let mut machine = opened();
    let expected = [
        (Outcome::Success, State::HalfOpen),
        (Outcome::Failure, State::HalfOpen),
        (Outcome::Success, State::Closed),
    ];
    for (outcome, state) in expected {
        call(&mut machine, outcome, 5);
        assert_eq!(machine.state(), state);
    }
}

#[test]
fn s7_dropped_and_refused_probes_free_their_slots() {
    let mut machine = opened();
    for outcome in [Outcome::Abandoned, Outcome::Refused, Outcome::Abandoned] {
        let probes = probes(&mut machine, 5);
        assert_eq!(probes.len(), 3);
        probes.into_iter().for_each(|probe| machine.settle(probe, outcome, at(5)));
        assert_eq!(machine.state(), State::HalfOpen);
    }
}

#[test]
fn s8_s9_late_outcomes_from_closed_change_nothing_in_half_open() {
    for outcome in [Outcome::Success, Outcome::Failure] {
        let mut machine = machine();
        let late: Vec<_> = (0..5).map(|_| machine.acquire(at(0)).unwrap()).collect();
        calls_until_open(&mut machine);
        let probe = machine.acquire(at(5)).unwrap();
        late.into_iter().for_each(|token| machine.settle(token, outcome, at(5)));
        assert_eq!(machine.state(), State::HalfOpen);
        assert_eq!(probes(&mut machine, 5).len(), 2);
        machine.settle(probe, Outcome::Success, at(5));
        assert_eq!(machine.state(), State::HalfOpen);
    }
}

#[test]
fn s12_hung_probes_are_reclaimed_and_their_late_outcomes_ignored() {
    let mut machine = opened();
    let hung = probes(&mut machine, 5);
    assert!(machine.acquire(at(34)).is_err());
    assert_eq!(probes(&mut machine, 35).len(), 3);
    hung.into_iter().for_each(|probe| machine.settle(probe, Outcome::Failure, at(36)));
    assert_eq!(machine.state(), State::HalfOpen);
    assert!(machine.acquire(at(36)).is_err());
}

#[test]
fn s14_wait_doubles_to_the_cap_and_resets_on_close() {
    let mut machine = opened();
    let mut now = 0;
    for wait in [5, 10, 20, 20] {
        assert_eq!(machine.acquire(at(now)).unwrap_err(), Duration::from_secs(wait));
        now += wait;
        (0..3).for_each(|_| call(&mut machine, Outcome::Failure, now));
        assert_eq!(machine.state(), State::Open);
    }
    now += 20;
    (0..3).for_each(|_| call(&mut machine, Outcome::Success, now));
    (0..10).for_each(|_| call(&mut machine, Outcome::Failure, now));
    assert_eq!(machine.acquire(at(now)).unwrap_err(), Duration::from_secs(5));
}

#[test]
fn fewer_probes_by_new_settings_do_not_strand_half_open() {
    let mut machine = opened();
    call(&mut machine, Outcome::Success, 5);
    call(&mut machine, Outcome::Success, 5);
    machine.apply(machine.settings().half_open_probes(1), at(5));
    // Two ended already: without a judgement nobody would be admitted ever again.
    assert_eq!(machine.state(), State::Closed);
}

#[test]
fn new_settings_keep_the_window() {
    let mut machine = machine();
    (0..9).for_each(|_| call(&mut machine, Outcome::Failure, 0));
    machine.apply(machine.settings().window(20, 10), at(0));
    assert_eq!(calls_until_open(&mut machine), 1);
}
