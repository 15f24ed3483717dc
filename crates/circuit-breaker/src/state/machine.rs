use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{Outcome, Timestamp};

use super::half_open::{HalfOpen, is_slow};
use super::tagged::Tag;
use super::tally::{Call, Tally};
use crate::Settings;
use crate::settings::Forced;
use crate::transition::{Reason, State, Transition};

/// Decides by outcomes which calls pass. Pure: it is told the time and the settings.
///
/// What a closed breaker judges by is in its window, beside this.
#[derive(Debug)]
pub(crate) struct Machine {
    phase: Phase,
    /// Counts the periods, so that late outcomes are known as such.
    generation: u64,
    /// The filling of the window and of the calls in flight.
    tag: Tag,
    /// How often in a row the breaker has failed to close: each time doubles the wait.
    attempts: u32,
    /// Until when the service itself asked to be left alone, if it did.
    asked: Timestamp,
    /// What it last took on.
    settings: Arc<Settings>,
}

#[derive(Debug)]
enum Phase {
    Closed,
    /// Boxed: most breakers never are, and of those by key there may be many.
    HalfOpen(Box<HalfOpen>),
    Open {
        until: Timestamp,
    },
}

/// The settings and the time of a change, and what came of it.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) settings: &'a Arc<Settings>,
    pub(crate) now: Timestamp,
    pub(crate) transition: Option<Transition>,
}

/// What other settings ask for beside the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adopted {
    /// The window is filled anew, and calls in flight are counted anew.
    pub(crate) refills: bool,
    /// Failures in a row matter, which did not before.
    pub(crate) counts_in_a_row: bool,
}

impl Machine {
    pub(crate) const fn new(settings: Arc<Settings>) -> Self {
        Self {
            phase: Phase::Closed,
            generation: 0,
            tag: Tag::from_bits(0),
            attempts: 0,
            asked: Timestamp::from_nanos(0),
            settings,
        }
    }

    pub(crate) const fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::HalfOpen(_) => State::HalfOpen,
            Phase::Open { .. } => State::Open,
        }
    }

    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) const fn tag(&self) -> Tag {
        self.tag
    }

    /// Until when every call is refused, unless something ends before; `None` if one may pass now.
    pub(crate) fn refuses_until(&self, settings: &Settings) -> Option<Timestamp> {
        match &self.phase {
            Phase::Closed => None,
            Phase::HalfOpen(half_open) => half_open.full_until(settings),
            Phase::Open { until } => Some(*until),
        }
    }

    /// Admits a call under a number for [`Machine::settle`]. `None` if it is refused.
    pub(crate) fn acquire(&mut self, change: &mut Change<'_>) -> Option<u64> {
        if let Phase::Open { until } = self.phase {
            if change.now < until {
                return None;
            }
            // ## Open => Half-open
            // The wait is over and a call is there to probe with.
            let probing = Phase::HalfOpen(Box::new(HalfOpen::probing()));
            self.enter(probing, Reason::WaitOver, Tally::default(), change);
        }
        let Phase::HalfOpen(half_open) = &mut self.phase else { return Some(0) };
        if half_open.is_stuck(change.settings, change.now) {
            let tally = half_open.tally;
            self.reopen(tally, change);
            return None;
        }
        half_open.acquire(change.settings, change.now)
    }

    /// Opens a closed breaker.
    pub(crate) fn trip(&mut self, reason: Reason, tally: Tally, change: &mut Change<'_>) {
        // ## Closed => Open
        // Too many calls failed or were slow.
        self.attempts = 0;
        self.open(reason, tally, change);
    }

    /// Takes note of how a call of this period ended that was not admitted by a closed breaker.
    /// `None` if it says nothing, or if another probe has its slot meanwhile.
    pub(crate) fn settle(
        &mut self,
        number: u64,
        outcome: Outcome,
        change: &mut Change<'_>,
    ) -> Option<Call> {
        let Phase::HalfOpen(half_open) = &mut self.phase else { return None };
        let started = half_open.release(number, change.now)?;
        let slow = is_slow(started, change.now, change.settings.slow_limit());
        let call = judge(outcome, slow, change.settings.path().slow_when_abandoned)?;
        half_open.record(call);
        self.judge_half_open(change);
        Some(call)
    }

    /// Decides, once enough calls have ended.
    fn judge_half_open(&mut self, change: &mut Change<'_>) {
        let Phase::HalfOpen(half_open) = &self.phase else { return };
        if !half_open.is_complete(change.settings) {
            return;
        }
        let tally = half_open.tally;
        if change.settings.rules().condemns(&tally) {
            self.reopen(tally, change);
        } else if let Some(next) = half_open.next(change.settings) {
            // ## Half-open => Half-open
            // The service bore this much; let it bear more.
            self.enter(Phase::HalfOpen(Box::new(next)), Reason::RampedUp, tally, change);
        } else {
            // ## Half-open => Closed
            // The service is well. What came before is no longer held against it.
            self.attempts = 0;
            self.enter(Phase::Closed, Reason::ProbesSucceeded, tally, change);
        }
    }

    /// The service asked not to be called for so long, in an answer to a call of this period. It
    /// is heeded if the breaker opens.
    pub(crate) fn heed(&mut self, wait: Duration, change: &Change<'_>) {
        let asked = change.now.saturating_add(wait.min(change.settings.max_wait()));
        self.asked = self.asked.max(asked);
    }

    /// Takes on new settings, and keeps the state. What it last took on is its own to know: of two
    /// changes at once, either may come first.
    pub(crate) fn adopt(&mut self, change: &mut Change<'_>) -> Adopted {
        let new = change.settings;
        let old = std::mem::replace(&mut self.settings, Arc::clone(new));
        let adopted = Adopted {
            // An unlike slow-call limit cuts time differently.
            refills: old.shape() != new.shape() || old.slow_limit() != new.slow_limit(),
            counts_in_a_row: new.counts_in_a_row() && !old.counts_in_a_row(),
        };
        if adopted.refills {
            self.tag = self.tag.next();
        }
        if old.held_to() != new.held_to() {
            self.hold(old.held_to(), change);
        }
        // With fewer probes wanted, those that ended may be enough.
        self.judge_half_open(change);
        adopted
    }

    fn hold(&mut self, before: Option<Forced>, change: &mut Change<'_>) {
        let none = Tally::default();
        match change.settings.held_to() {
            Some(Forced::Open) => {
                let until = Timestamp::from_nanos(u64::MAX);
                self.enter(Phase::Open { until }, Reason::Forced, none, change);
            }
            Some(Forced::Closed) if self.state() != State::Closed => {
                self.attempts = 0;
                self.enter(Phase::Closed, Reason::Forced, none, change);
            }
            None if before == Some(Forced::Open) => {
                // The next call is a probe: nobody knows how the service is.
                self.attempts = 0;
                self.enter(Phase::Open { until: change.now }, Reason::Released, none, change);
            }
            // Closed already, or closed and no longer held to it: the window goes on.
            _ => {}
        }
    }

    /// Closes and forgets. A breaker that an operator holds open stays so.
    pub(crate) fn reset(&mut self, change: &mut Change<'_>) {
        if change.settings.held_to() != Some(Forced::Open) {
            self.attempts = 0;
            self.enter(Phase::Closed, Reason::Reset, Tally::default(), change);
        }
    }

    fn reopen(&mut self, tally: Tally, change: &mut Change<'_>) {
        // ## Half-open => Open
        // The service is still ill: leave it alone for longer.
        self.attempts = self.attempts.saturating_add(1);
        self.open(Reason::ProbesFailed, tally, change);
    }

    fn open(&mut self, reason: Reason, tally: Tally, change: &mut Change<'_>) {
        let jitter = 1.0 - change.settings.jitter() * fastrand::f64();
        let doubled = 1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        let wait = change.settings.wait().saturating_mul(doubled).min(change.settings.max_wait());
        // Never nothing; and no more than a day, so that the product is in range.
        let wait = wait.mul_f64(jitter).max(Duration::from_millis(1));
        let until = change.now.saturating_add(wait).max(self.asked);
        self.enter(Phase::Open { until }, reason, tally, change);
        if let Some(transition) = &mut change.transition {
            transition.wait = Some(until.saturating_since(change.now));
        }
    }

    fn enter(&mut self, phase: Phase, reason: Reason, tally: Tally, change: &mut Change<'_>) {
        let from = self.state();
        self.phase = phase;
        self.generation = self.generation.wrapping_add(1);
        self.tag = self.tag.next();
        self.asked = Timestamp::default();
        change.transition = Some(Transition {
            from,
            to: self.state(),
            reason,
            calls: tally.calls,
            failures: tally.failures,
            slow: tally.slow,
            wait: None,
            key: None,
        });
    }
}

/// What counts of an outcome; `None` if it says nothing about the service.
#[inline]
pub(crate) fn judge(outcome: Outcome, slow: bool, slow_when_abandoned: bool) -> Option<Call> {
    match outcome {
        Outcome::Failure => Some(Call { failed: true, slow }),
        Outcome::Success => Some(Call { failed: false, slow }),
        Outcome::Abandoned if slow && slow_when_abandoned => Some(Call { failed: false, slow }),
        _ => None,
    }
}
