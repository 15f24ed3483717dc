//! The breaker beside one that looks at all its calls, over a million of them: the same decisions,
//! always.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::VecDeque;
use std::time::Duration;

use bartizan_circuit_breaker::{CircuitBreaker, Permit, Settings, State};
use bartizan_core::{Clock, Outcome, Watch};
use fastrand::Rng;

const MS: u64 = 1_000_000;

/// What a breaker is told, in milliseconds.
#[derive(Clone, Debug)]
struct Told {
    window: Window,
    minimum: usize,
    failure_rate: Option<f64>,
    slow: Option<(u64, f64)>,
    slow_when_abandoned: bool,
    consecutive: Option<u32>,
    wait: u64,
    max_wait: u64,
    probes: usize,
    deadline: u64,
    ramp: Vec<f64>,
    ramp_calls: usize,
}

#[derive(Clone, Copy, Debug)]
enum Window {
    Calls(u32),
    Time(u64),
}

impl Told {
    fn at_random(rng: &mut Rng, window: Window) -> Self {
        let most = if let Window::Calls(calls) = window { calls } else { 60 };
        let rate = |rng: &mut Rng| [0.1, 0.25, 0.5, 0.55, 1.0][rng.usize(..5)];
        let wait = rng.u64(50..2_000);
        Self {
            window,
            minimum: rng.u32(1..=most) as usize,
            failure_rate: (rng.u8(..5) > 0).then(|| rate(rng)),
            slow: rng.bool().then(|| (rng.u64(1..200), rate(rng))),
            slow_when_abandoned: rng.bool(),
            consecutive: (rng.u8(..4) == 0).then(|| rng.u32(3..20)),
            wait,
            max_wait: wait * rng.u64(1..8),
            probes: rng.usize(1..6),
            deadline: rng.u64(20..3_000),
            ramp: [vec![], vec![], vec![0.01, 0.05, 0.25, 0.5], vec![0.3]][rng.usize(..4)].clone(),
            ramp_calls: rng.usize(1..8),
        }
    }

    fn settings(&self) -> Settings {
        let ms = Duration::from_millis;
        let minimum = self.minimum as u32;
        let settings = match self.window {
            Window::Calls(calls) => Settings::default().window(calls, minimum),
            Window::Time(time) => Settings::default().window_time(ms(time), minimum),
        };
        let settings = settings
            .failure_rate(self.failure_rate)
            .consecutive_failures(self.consecutive)
            .open_wait(ms(self.wait), ms(self.max_wait))
            .open_jitter(0.0)
            .half_open_probes(self.probes as u32)
            .probe_deadline(ms(self.deadline))
            .ramp(self.ramp.clone(), self.ramp_calls as u32);
        match self.slow {
            Some((limit, rate)) => {
                settings.slow_calls(ms(limit), rate).slow_when_abandoned(self.slow_when_abandoned)
            }
            None => settings,
        }
    }
}

#[derive(Clone, Copy)]
struct Ended {
    at: u64,
    failed: bool,
    slow: bool,
}

#[derive(Clone, Copy)]
struct Ticket {
    period: u64,
    began: u64,
    number: u64,
}

/// A breaker by the book: lists, and nothing remembered that could be counted again.
struct Naive {
    told: Told,
    phase: Phase,
    period: u64,
    wait: u64,
    ended: VecDeque<Ended>,
    /// Failures since the last success, however long ago.
    in_a_row: u32,
    in_flight: Vec<Ticket>,
    looked: u64,
    numbers: u64,
}

enum Phase {
    Closed,
    Open {
        until: u64,
    },
    Probes {
        slots: Vec<(u64, u64)>,
        ended: Vec<Ended>,
    },
    /// So many are under way, and since then none has ended, nor was it but one.
    Ramp {
        step: usize,
        credit: f64,
        ended: Vec<Ended>,
        under_way: u32,
        since: u64,
    },
}

impl Naive {
    fn new(told: Told) -> Self {
        let wait = told.wait;
        Self {
            told,
            phase: Phase::Closed,
            period: 0,
            wait,
            ended: VecDeque::new(),
            in_a_row: 0,
            in_flight: Vec::new(),
            looked: 0,
            numbers: 0,
        }
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            _ => State::HalfOpen,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.period += 1;
        self.ended.clear();
        self.in_a_row = 0;
        self.in_flight.clear();
    }

    fn acquire(&mut self, now: u64) -> Option<Ticket> {
        if let (Phase::Closed, Some((limit, _))) = (&self.phase, self.told.slow) {
            // The first arrival of each eighth of the limit looks for calls that take too long.
            let slice = now / (limit * MS).div_ceil(8);
            if slice != self.looked {
                self.looked = slice;
                let overdue = self.overdue(now);
                if overdue > 0 {
                    self.judge(now, 0);
                }
                if overdue > 0 && self.state() == State::Closed {
                    self.judge(now, overdue);
                }
            }
        }
        if let Phase::Open { until } = self.phase {
            if now < until {
                return None;
            }
            self.enter(Phase::Probes { slots: Vec::new(), ended: Vec::new() });
        }
        if let Phase::Ramp { under_way: 2.., since, .. } = self.phase
            && now - since > self.told.deadline * MS
        {
            self.reopen(now);
            return None;
        }
        self.numbers += 1;
        let ticket = Ticket { period: self.period, began: now, number: self.numbers };
        let (probes, deadline) = (self.told.probes, self.told.deadline * MS);
        match &mut self.phase {
            Phase::Probes { slots, ended } => {
                slots.retain(|(_, deadline)| now < *deadline);
                if slots.len() + ended.len() >= probes {
                    return None;
                }
                slots.push((ticket.number, now + deadline));
            }
            Phase::Ramp { step, credit, under_way, since, .. } => {
                *credit += self.told.ramp[*step];
                if *credit < 1.0 {
                    return None;
                }
                *credit -= 1.0;
                if *under_way < 2 {
                    *since = now;
                }
                *under_way += 1;
            }
            _ => self.in_flight.push(ticket),
        }
        Some(ticket)
    }

    /// Calls in flight for more than eight whole eighths of the limit.
    fn overdue(&self, now: u64) -> usize {
        let Some((limit, _)) = self.told.slow else { return 0 };
        let width = (limit * MS).div_ceil(8);
        self.in_flight.iter().filter(|call| call.began / width + 9 <= now / width).count()
    }

    fn settle(&mut self, ticket: Ticket, outcome: Outcome, now: u64) {
        if ticket.period != self.period {
            return;
        }
        self.in_flight.retain(|call| call.number != ticket.number);
        let slow = self.told.slow.is_some_and(|(limit, _)| now - ticket.began > limit * MS);
        let counts = match outcome {
            Outcome::Failure | Outcome::Success => true,
            Outcome::Abandoned => slow && self.told.slow_when_abandoned,
            _ => false,
        };
        if let Phase::Ramp { under_way, since, .. } = &mut self.phase {
            *under_way -= 1;
            *since = now;
        }
        let end = Ended { at: now, failed: outcome == Outcome::Failure, slow };
        match &mut self.phase {
            Phase::Closed if counts => {
                self.ended.push_back(end);
                self.in_a_row = if end.failed { self.in_a_row + 1 } else { 0 };
                self.forget(now);
                self.judge(now, 0);
            }
            Phase::Probes { slots, ended } => {
                let Some(slot) = slots.iter().position(|slot| slot.0 == ticket.number) else {
                    return;
                };
                slots.remove(slot);
                if counts {
                    ended.push(end);
                    if ended.len() >= self.told.probes {
                        let all = std::mem::take(ended);
                        self.judge_stage(&all, 0, now);
                    }
                }
            }
            Phase::Ramp { step, ended, .. } if counts => {
                ended.push(end);
                if ended.len() >= self.told.ramp_calls {
                    let (next, all) = (*step + 1, std::mem::take(ended));
                    self.judge_stage(&all, next, now);
                }
            }
            _ => {}
        }
    }

    fn forget(&mut self, now: u64) {
        match self.told.window {
            Window::Calls(calls) => {
                while self.ended.len() > calls as usize {
                    self.ended.pop_front();
                }
            }
            Window::Time(time) => {
                let width = time * MS / 10;
                self.ended.retain(|call| call.at / width + 10 > now / width);
            }
        }
    }

    fn judge(&mut self, now: u64, overdue: usize) {
        self.forget(now);
        let calls = self.ended.len() + overdue;
        let failures = self.ended.iter().filter(|call| call.failed).count();
        let slow = self.ended.iter().filter(|call| call.slow).count() + overdue;
        let is = |part: usize, rate: f64| part > 0 && part as f64 / calls as f64 >= rate;
        let in_a_row = self.told.consecutive.is_some_and(|most| self.in_a_row >= most);
        let rates = self.told.failure_rate.is_some_and(|rate| is(failures, rate))
            || self.told.slow.is_some_and(|(_, rate)| is(slow, rate));
        if in_a_row || calls >= self.told.minimum && rates {
            self.wait = self.told.wait;
            self.enter(Phase::Open { until: now + self.wait * MS });
        }
    }

    fn reopen(&mut self, now: u64) {
        self.wait = (self.wait * 2).min(self.told.max_wait);
        self.enter(Phase::Open { until: now + self.wait * MS });
    }

    fn judge_stage(&mut self, ended: &[Ended], next: usize, now: u64) {
        let count = |what: fn(&Ended) -> bool| ended.iter().filter(|call| what(call)).count();
        let is = |part: usize, rate: f64| part > 0 && part as f64 / ended.len() as f64 >= rate;
        if is(count(|call| call.failed), self.told.failure_rate.unwrap_or(0.0))
            || self.told.slow.is_some_and(|(_, rate)| is(count(|call| call.slow), rate))
        {
            self.reopen(now);
        } else if let Some(share) = self.told.ramp.get(next) {
            let (credit, ended) = (1.0 - share, Vec::new());
            self.enter(Phase::Ramp { step: next, credit, ended, under_way: 0, since: 0 });
        } else {
            self.wait = self.told.wait;
            self.enter(Phase::Closed);
        }
    }
}

/// Both breakers under the same calls.
struct Pair {
    clock: Clock,
    breaker: CircuitBreaker,
    naive: Naive,
    in_flight: Vec<(Permit, Ticket)>,
}

impl Pair {
    fn new(told: Told) -> Option<Self> {
        let clock = Clock::manual();
        let breaker = CircuitBreaker::new("model").settings(told.settings()).ok()?;
        let breaker = breaker.clock(clock.clone());
        Some(Self { clock, breaker, naive: Naive::new(told), in_flight: Vec::new() })
    }

    fn now(&self) -> u64 {
        self.clock.now().as_nanos()
    }

    fn begin(&mut self) {
        let now = self.now();
        match (self.breaker.try_acquire(), self.naive.acquire(now)) {
            (Ok(permit), Some(ticket)) => self.in_flight.push((permit, ticket)),
            (Err(open), None) => assert!(open.retry_after() > Duration::ZERO),
            (ours, theirs) => {
                panic!("ours: {ours:?}, theirs: {:?} with {:?}", theirs.is_some(), self.naive.told)
            }
        }
    }

    fn end(&mut self, index: usize, outcome: Outcome) {
        let (permit, ticket) = self.in_flight.swap_remove(index);
        permit.settle(outcome);
        let now = self.now();
        self.naive.settle(ticket, outcome, now);
    }

    fn agree(&self) {
        assert_eq!(self.breaker.state(), self.naive.state(), "{:?}", self.naive.told);
    }
}

/// Serves so many calls, with time passing and the service doing better and worse; returns how
/// often the state changed.
fn serve(pair: &mut Pair, rng: &mut Rng, calls: usize) -> usize {
    let (mut illness, mut hurry, mut changes) = (0.0, 20, 0);
    for call in 0..calls {
        if call % 500 == 0 {
            illness = [0.0, 0.02, 0.3, 0.5, 1.0][rng.usize(..5)];
            hurry = [2, 20, 200][rng.usize(..3)];
        }
        let before = pair.breaker.state();
        let pause = if rng.u16(..1000) == 0 { rng.u64(..60_000) } else { rng.u64(..hurry) };
        pair.clock.advance(Duration::from_nanos(pause * MS + rng.u64(..MS)));
        pair.begin();
        pair.agree();
        // Most calls end before the next begins; some overlap, in any order.
        while pair.in_flight.len() > 30 || !pair.in_flight.is_empty() && rng.u8(..3) > 0 {
            let outcome = match rng.u8(..20) {
                0 => Outcome::Abandoned,
                1 => Outcome::Refused,
                _ if rng.f64() < illness => Outcome::Failure,
                _ => Outcome::Success,
            };
            pair.end(rng.usize(..pair.in_flight.len()), outcome);
            pair.agree();
        }
        changes += usize::from(pair.breaker.state() != before);
    }
    changes
}

const CALLS: usize = 1_000_000;

fn agrees(seed: u64, window: fn(&mut Rng) -> Window) -> usize {
    let mut rng = Rng::with_seed(seed);
    let (mut served, mut changes) = (0, 0);
    while served < CALLS {
        let window = window(&mut rng);
        let told = Told::at_random(&mut rng, window);
        // A breaker without any rule is refused.
        let Some(mut pair) = Pair::new(told) else { continue };
        changes += serve(&mut pair, &mut rng, 5_000);
        served += 5_000;
    }
    assert!(changes > 5_000, "{changes} changes of state are too few to tell anything");
    served
}

#[test]
fn a_million_calls_agree_in_windows_of_calls() {
    let calls = agrees(1, |rng| Window::Calls(rng.u32(1..150)));
    println!("bar: model-window-of-calls {calls} {CALLS} ok");
}

#[test]
fn a_million_calls_agree_in_windows_of_time() {
    let calls = agrees(2, |rng| Window::Time(rng.u64(10..3_000)));
    println!("bar: model-window-of-time {calls} {CALLS} ok");
}

#[test]
fn fifty_failures_open_a_window_of_a_hundred_after_ten_thousand_good_calls() {
    let breaker = CircuitBreaker::new("test");
    let call = |outcome| breaker.try_acquire().unwrap().settle(outcome);
    (0..10_000).for_each(|_| call(Outcome::Success));
    (0..49).for_each(|_| call(Outcome::Failure));
    assert_eq!(breaker.state(), State::Closed);
    call(Outcome::Failure);
    assert_eq!(breaker.state(), State::Open);
}
