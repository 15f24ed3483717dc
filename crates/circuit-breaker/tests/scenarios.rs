//! The breaker suite: calls and the states that must follow, in virtual time. The breaker judges
//! the last 10 calls once there are 10, opens at 50 %, waits 5 s and probes with 3 calls, unless a
//! row says otherwise.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bartizan_circuit_breaker::{
    CircuitBreaker, Forced, KeyedCircuitBreaker, Permit, Settings, State,
};
use bartizan_core::{Clock, Engine, Key, Outcome, Watch};

const SECOND: Duration = Duration::from_secs(1);

fn usual() -> Settings {
    Settings::default()
        .window(10, 10)
        .open_wait(5 * SECOND, 20 * SECOND)
        .open_jitter(0.0)
        .half_open_probes(3)
        .probe_deadline(30 * SECOND)
}

fn slow_matters() -> Settings {
    usual().slow_calls(Duration::from_millis(100), 0.5)
}

fn ten_seconds() -> Settings {
    usual().window_time(10 * SECOND, 10)
}

fn row_counts() -> Settings {
    usual().consecutive_failures(4)
}

fn ramped() -> Settings {
    usual().half_open_probes(1).ramp([0.25, 0.5], 2)
}

/// A row's name, its settings and its script, read from left to right:
///
/// - `ok*3`: three calls, one after the other, that must be let through, and end so. Also `fail`,
///   `slow` (200 ms), `slowfail`, `abandon`, `ignored` (refused by a layer further in), `panic`;
/// - `no*3`: three calls that must be refused;
/// - `begin*3`: three calls that must be let through, and go on;
/// - `at-once*100=3`: a hundred calls at once, of which three must be let through, and go on;
/// - `end-ok*2`, `end-fail*2`, `end-drop*2`: those that have gone on for longest end so;
/// - `asks=20s`: a call that fails, and whose answer asks to be left alone for so long;
/// - `fails-to-open=5`: the fifth failure from here opens it;
/// - `+5s`, `+100ms`, `+1h`: time passes;
/// - `=open`: the state must be this. `wait=5s`: so much of the wait must be left;
/// - `force=open`, `force=none`, `mode=off`, `reset`: what an operator does;
/// - `flap`: 20 good and 20 bad calls, thrice, four a second, whether let through or not;
/// - `transitions=3`: so many there must have been.
type Row = (&'static str, fn() -> Settings, &'static str);

const TABLE: &[Row] = &[
    ("s1 five failures after ten successes open", usual, "ok*10 fail*4 =closed fail =open"),
    ("s2 a long good past does not delay", usual, "ok*10000 fails-to-open=5"),
    ("s2 not in a window of time either", ten_seconds, "ok*10000 +11s ok*10 fails-to-open=10"),
    ("s3 nothing is judged below the minimum", usual, "fail*9 =closed fail =open"),
    ("s3 the minimum may be below the window", || usual().window(100, 10), "fails-to-open=10"),
    ("s3 a success may be the call that completes the minimum", usual, "fail*9 =closed ok =open"),
    ("s4 half of the calls slow", slow_matters, "ok*5 slow*4 =closed slow =open"),
    ("s4 a slow failure is both", slow_matters, "ok*6 slowfail*3 ok =closed slow*2 =open"),
    ("s4 slow calls do not matter unless told so", usual, "ok*5 slow*100 =closed"),
    (
        "s5 exactly the probes of a hundred callers",
        usual,
        "fail*10 +5s at-once*100=3 =half_open end-ok*3 =closed",
    ),
    (
        "s6 one failed probe of three closes",
        usual,
        "fail*10 +5s ok =half_open fail =half_open ok =closed",
    ),
    ("s6 two open", usual, "fail*10 +5s fail =half_open ok =half_open fail =open wait=10s"),
    (
        "s7 dropped probes free their slots",
        usual,
        "fail*10 +5s begin*3 no end-drop*3 =half_open begin*3 no =half_open end-ok*3 =closed",
    ),
    (
        "s8 late successes change nothing",
        usual,
        "begin*5 fail*10 =open +5s begin end-ok*5 =half_open begin*2 no end-ok*3 =closed",
    ),
    (
        "s9 late failures change nothing",
        usual,
        "begin*5 fail*10 =open +5s begin end-fail*5 =half_open begin*2 no end-ok*3 =closed",
    ),
    ("s10 flapping follows", usual, "flap transitions=7 =open"),
    ("s11 idle while open", usual, "fail*10 +1h =open ok =half_open"),
    (
        "s12 hung probes are reclaimed",
        usual,
        "fail*10 +5s begin*3 +29s no +1s begin*3 no =half_open",
    ),
    (
        "s12 and what they come to late is void",
        usual,
        "fail*10 +5s begin*3 +30s begin*3 end-fail*3 =half_open end-ok*3 =closed",
    ),
    ("s13 failures leave a window of time", ten_seconds, "fail*9 +11s fail*9 =closed fail =open"),
    ("s13 slice by slice", ten_seconds, "fail*5 +5s fail*4 +6s fail*5 =closed fail =open"),
    (
        "s13 a jump of the clock empties it",
        ten_seconds,
        "fail*9 +1h ok =closed fail*8 =closed fail =open",
    ),
    (
        "s14 the wait doubles to its cap and starts over",
        usual,
        "fail*10 wait=5s +5s fail*3 wait=10s +10s fail*3 wait=20s +20s fail*3 wait=20s +20s ok*3 \
         =closed fail*10 wait=5s",
    ),
    (
        "s15 an ignored probe gives its slot back",
        usual,
        "fail*10 +5s ignored*3 =half_open ignored*3 =half_open ok*3 =closed",
    ),
    ("s15 ignored calls do not count", usual, "ignored*100 abandon*100 fail*9 =closed fail =open"),
    ("s16 forced open", usual, "force=open =open no*3 +1h no force=none =open ok*3 =closed"),
    ("s16 forced closed", usual, "force=closed fail*100 =closed force=none fail =open"),
    ("s16 forced closed while open", usual, "fail*10 force=closed =closed fail*20 =closed"),
    ("s16 disabled", usual, "mode=off fail*100 =closed mode=enforce fail*9 =closed fail =open"),
    ("s16 metrics only", usual, "mode=shadow fail*10 =open fail*50 mode=enforce no =open"),
    ("s16 reset", usual, "fail*10 no reset =closed fail*9 =closed fail =open wait=5s"),
    ("s17 panics are failures", usual, "ok*5 panic*4 =closed panic =open"),
    ("s17 a panicking probe is one", usual, "fail*10 +5s panic*2 ok =open wait=10s"),
    (
        "s19 calls in flight open it before they end",
        slow_matters,
        "begin*10 =closed +125ms no =open",
    ),
    ("s19 not before the limit", slow_matters, "begin*10 +99ms begin =closed"),
    ("s19 nor those that have ended", slow_matters, "begin*10 end-ok*10 +125ms ok =closed"),
    (
        "s19 nor those of an earlier period",
        slow_matters,
        "begin*10 +125ms no +5s ok*3 =closed +1s ok*10 =closed end-ok*10 =closed",
    ),
    ("s20 the service says when to come back", usual, "fail*9 asks=12s =open wait=12s"),
    ("s20 up to the cap", usual, "fail*9 asks=1h =open wait=20s"),
    ("s20 never sooner than the wait", usual, "fail*9 asks=1s =open wait=5s"),
    ("consecutive failures", row_counts, "fail*3 ok fail*3 =closed fail =open"),
    ("consecutive failures in a good window", row_counts, "ok*1000 fail*4 =open"),
    (
        "several rules at once",
        || slow_matters().consecutive_failures(3),
        "ok fail*2 =closed fail =open",
    ),
    (
        "a call given up when slow counts as slow by choice",
        || slow_matters().slow_when_abandoned(true),
        "abandon*10 ok*5 begin*5 +200ms end-drop*5 =open",
    ),
    ("and by default as nothing", slow_matters, "ok*10 begin*5 +200ms end-drop*5 =closed"),
    ("slow probes open", slow_matters, "fail*10 +5s slow*3 =open wait=10s"),
    (
        "the ramp lets growing shares through",
        ramped,
        "fail*10 +5s ok =half_open ok no*3 ok =half_open ok no ok =closed",
    ),
    ("a step of the ramp that fails opens", ramped, "fail*10 +5s ok ok no*3 fail =open wait=10s"),
    (
        "what is late for its step changes nothing",
        ramped,
        "fail*10 +5s ok begin no*3 ok no*3 ok =half_open end-fail =half_open ok no ok =closed",
    ),
    ("the ramp in a settings change", ramped, "fail*10 +5s ok ok =half_open settings =closed"),
];

#[test]
fn s1_to_s20_table() {
    for (name, settings, script) in TABLE {
        let mut run = Run::new(name, settings());
        script.split_whitespace().for_each(|step| run.step(step));
    }
    let named =
        |number: usize| TABLE.iter().any(|(name, ..)| name.starts_with(&format!("s{number} ")));
    // Many keys and many threads have tests of their own.
    assert!((1..=20).filter(|number| *number != 18).all(named));
}

/// One row as it goes.
struct Run {
    name: &'static str,
    clock: Clock,
    breaker: CircuitBreaker,
    transitions: Arc<AtomicUsize>,
    held: VecDeque<Permit>,
}

impl Run {
    fn new(name: &'static str, settings: Settings) -> Self {
        let (clock, transitions) = (Clock::manual(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&transitions);
        let breaker = CircuitBreaker::new(name)
            .settings(settings)
            .unwrap()
            .clock(clock.clone())
            .on_transition(move |_| {
                count.fetch_add(1, SeqCst);
            });
        Self { name, clock, breaker, transitions, held: VecDeque::new() }
    }

    fn step(&mut self, step: &str) {
        let (what, count) = step.split_once('*').unwrap_or((step, "1"));
        if let Some(count) = count.strip_prefix("100=") {
            assert_eq!(what, "at-once");
            let admitted = (0..100).filter_map(|_| self.breaker.try_acquire().ok());
            self.held.extend(admitted.collect::<Vec<_>>());
            assert_eq!(self.held.len(), count.parse::<usize>().unwrap(), "{}: {step}", self.name);
            return;
        }
        for _ in 0..count.parse().unwrap() {
            self.once(what);
        }
    }

    fn once(&mut self, what: &str) {
        let name = self.name;
        if let Some(time) = what.strip_prefix('+') {
            self.clock.advance(duration(time));
            return;
        }
        match what.split_once('=') {
            Some(("", state)) => {
                assert_eq!(self.breaker.state().as_str(), state, "{name}: {what}");
            }
            Some(("wait", wait)) => {
                let open = self.breaker.try_acquire().unwrap_err();
                assert_eq!(open.retry_after(), duration(wait), "{name}: {what}");
            }
            Some(("asks", wait)) => {
                let permit = self.admitted(what);
                permit.retry_after(duration(wait));
                permit.settle(Outcome::Failure);
            }
            Some(("fails-to-open", count)) => {
                let until = (1..).find(|_| {
                    self.once("fail");
                    self.breaker.state() == State::Open
                });
                assert_eq!(until, Some(count.parse::<u32>().unwrap()), "{name}: {what}");
            }
            Some(("force", state)) => self.breaker.force(match state {
                "open" => Some(Forced::Open),
                "closed" => Some(Forced::Closed),
                _ => None,
            }),
            Some(("mode", mode)) => self.breaker.switch().set(mode.parse().unwrap()),
            Some(("transitions", count)) => {
                let seen = self.transitions.load(SeqCst);
                assert_eq!(seen, count.parse::<usize>().unwrap(), "{name}: {what}");
            }
            _ => self.call(what),
        }
    }

    fn call(&mut self, what: &str) {
        match what {
            "no" => assert!(self.breaker.try_acquire().is_err(), "{}: {what}", self.name),
            "begin" => {
                let permit = self.admitted(what);
                self.held.push_back(permit);
            }
            "end-ok" => self.held.pop_front().unwrap().settle(Outcome::Success),
            "end-fail" => self.held.pop_front().unwrap().settle(Outcome::Failure),
            "end-drop" => drop(self.held.pop_front().unwrap()),
            "reset" => self.breaker.reset(),
            "settings" => {
                let plain = serde_json::json!({ "half_open_probes": 1 });
                self.breaker.apply(plain).unwrap();
            }
            "flap" => self.flap(),
            _ => {
                let permit = self.admitted(what);
                if what.starts_with("slow") {
                    self.clock.advance(Duration::from_millis(200));
                }
                match what {
                    "ok" | "slow" => permit.settle(Outcome::Success),
                    "fail" | "slowfail" => permit.settle(Outcome::Failure),
                    "ignored" => permit.settle(Outcome::Refused),
                    "abandon" => drop(permit),
                    "panic" => panic_with(permit),
                    _ => panic!("{}: no such step: {what}", self.name),
                }
            }
        }
    }

    fn admitted(&self, what: &str) -> Permit {
        let permit = self.breaker.try_acquire();
        permit.unwrap_or_else(|open| panic!("{}: {what}: {open}", self.name))
    }

    fn flap(&self) {
        for call in 0..120 {
            self.clock.advance(Duration::from_millis(250));
            let outcome = if call / 20 % 2 == 0 { Outcome::Success } else { Outcome::Failure };
            if let Ok(permit) = self.breaker.try_acquire() {
                permit.settle(outcome);
            }
        }
    }
}

fn panic_with(permit: Permit) {
    let caught = catch_unwind(AssertUnwindSafe(move || {
        let _permit = permit;
        std::panic::resume_unwind(Box::new("the service panics"));
    }));
    assert!(caught.is_err());
}

fn duration(text: &str) -> Duration {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let count: u64 = digits.parse().unwrap();
    match &text[digits.len()..] {
        "ms" => Duration::from_millis(count),
        "s" => Duration::from_secs(count),
        "h" => Duration::from_secs(count * 3600),
        unit => panic!("no such unit: {unit}"),
    }
}

#[test]
fn s18_of_a_thousand_hosts_only_the_bad_one_opens() {
    let breakers = KeyedCircuitBreaker::new("hosts").settings(usual()).unwrap();
    let host = |number: u32| Key::of(&number);
    for _ in 0..20 {
        for number in 0..1000 {
            if let Ok(permit) = breakers.try_acquire(host(number)) {
                let bad = number == 7;
                permit.settle(if bad { Outcome::Failure } else { Outcome::Success });
            }
        }
    }
    let open: Vec<u32> =
        (0..1000).filter(|&number| breakers.state(host(number)) != State::Closed).collect();
    assert_eq!(open, [7]);
    assert!(breakers.try_acquire(host(7)).is_err());
    let figure = |name, outcome| breakers.snapshot().value(name, outcome);
    assert_eq!(figure("bartizan_circuit_breaker_keys", ""), Some(1000.0));
    assert_eq!(figure("bartizan_circuit_breaker_open_keys", ""), Some(1.0));
    assert_eq!(figure("bartizan_circuit_breaker_calls_total", "success"), Some(19_980.0));
    assert_eq!(figure("bartizan_circuit_breaker_calls_total", "failure"), Some(10.0));
    assert_eq!(figure("bartizan_circuit_breaker_calls_total", "refused"), Some(11.0));
}

#[test]
fn s18_no_more_than_a_share_of_the_hosts_is_cut_off() {
    let breakers = KeyedCircuitBreaker::new("hosts").max_open_share(0.1).settings(usual()).unwrap();
    let hosts: Vec<Key> = (0..100_u32).map(|number| Key::of(&number)).collect();
    for _ in 0..20 {
        for &host in &hosts {
            if let Ok(permit) = breakers.try_acquire(host) {
                permit.settle(Outcome::Failure);
            }
        }
    }
    let open = |host: &&Key| breakers.state(**host) == State::Open;
    assert_eq!(hosts.iter().filter(open).count(), 10);
}

#[test]
fn s21_the_probes_are_as_many_as_they_should_be_on_any_number_of_threads() {
    let clock = Clock::manual();
    let settings = usual().open_wait(5 * SECOND, 5 * SECOND);
    let breaker = CircuitBreaker::new("threads").settings(settings).unwrap().clock(clock.clone());
    (0..10).for_each(|_| breaker.try_acquire().unwrap().settle(Outcome::Failure));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for round in 0..500 {
        clock.advance(5 * SECOND);
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let breaker = breaker.clone();
                runtime.spawn(async move {
                    let calls = if task < 4 { 13 } else { 12 };
                    (0..calls).filter_map(|_| breaker.try_acquire().ok()).collect::<Vec<_>>()
                })
            })
            .collect();
        let admitted: Vec<Permit> =
            tasks.into_iter().flat_map(|task| runtime.block_on(task).unwrap()).collect();
        assert_eq!(admitted.len(), 3, "round {round}");
        // Ended on threads of their own, each frees or uses up its slot once.
        let (dropped, ended) = (round % 2 == 0, round % 3 == 0);
        for permit in admitted {
            runtime.spawn(async move {
                if dropped {
                    drop(permit);
                } else {
                    permit.settle(if ended { Outcome::Failure } else { Outcome::Refused });
                }
            });
        }
        while runtime.metrics().num_alive_tasks() > 0 {
            std::thread::yield_now();
        }
    }
}
