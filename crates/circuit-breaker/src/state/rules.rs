use std::time::Duration;

use super::tally::Tally;
use crate::sync::atomic::AtomicBool;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use crate::transition::Reason;

/// When a breaker opens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rules {
    /// How many calls there must be before a share is judged.
    pub(crate) minimum_calls: u64,
    /// The share of failures that is too much; infinite if it does not matter.
    pub(crate) failure_rate: f64,
    /// The share of slow calls that is too much; infinite if it does not matter.
    pub(crate) slow_rate: f64,
    /// How many failures in a row are too many; the largest number if they do not matter.
    pub(crate) consecutive: u64,
}

impl Rules {
    /// Why the breaker must open, if it must.
    #[inline]
    pub(crate) fn judge(&self, tally: &Tally) -> Option<Reason> {
        // A healthy service must not pay for divisions with each call.
        if tally.failures == 0 && tally.slow == 0 && tally.streak == 0 {
            return None;
        }
        if tally.streak >= self.consecutive {
            return Some(Reason::ConsecutiveFailures);
        }
        if tally.calls < self.minimum_calls {
            None
        } else if is_too_much(tally.failures, tally.calls, self.failure_rate) {
            Some(Reason::FailureRate)
        } else if is_too_much(tally.slow, tally.calls, self.slow_rate) {
            Some(Reason::SlowRate)
        } else {
            None
        }
    }

    /// Whether probes, or a step of the ramp, went wrong.
    pub(crate) fn condemns(&self, tally: &Tally) -> bool {
        // Where no share of failures matters, there is none that a probe might have.
        let rate = if self.failure_rate.is_finite() { self.failure_rate } else { 0.0 };
        is_too_much(tally.failures, tally.calls, rate)
            || is_too_much(tally.slow, tally.calls, self.slow_rate)
    }
}

fn is_too_much(part: u64, calls: u64, rate: f64) -> bool {
    // A quotient is rounded as the setting was: 55 of 100 are 0.55, but 0.55 * 100 is above 55.
    part > 0 && part as f64 / calls as f64 >= rate
}

/// What the path of a call must know of the settings, to be read without a lock. Values that are
/// swapped one by one may be of two settings for a moment, so the breaker judges again, under its
/// lock, before it opens.
#[derive(Debug)]
pub(crate) struct Limits {
    minimum_calls: AtomicU64,
    failure_rate: AtomicU64,
    slow_rate: AtomicU64,
    consecutive: AtomicU64,
    counts_in_a_row: AtomicBool,
    slow_limit: AtomicU64,
    slow_when_abandoned: AtomicBool,
    wait: AtomicU64,
    max_wait: AtomicU64,
}

/// The other settings of that kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    /// Whether failures in a row matter, though they may not be judged now.
    pub(crate) counts_in_a_row: bool,
    /// After how many nanoseconds a call is slow; 0 if that does not matter.
    pub(crate) slow_limit: u64,
    pub(crate) slow_when_abandoned: bool,
    pub(crate) wait: Duration,
    pub(crate) max_wait: Duration,
}

impl Limits {
    pub(crate) fn new(rules: Rules, path: Path) -> Self {
        let limits = Self {
            minimum_calls: AtomicU64::new(0),
            failure_rate: AtomicU64::new(0),
            slow_rate: AtomicU64::new(0),
            consecutive: AtomicU64::new(0),
            counts_in_a_row: AtomicBool::new(false),
            slow_limit: AtomicU64::new(0),
            slow_when_abandoned: AtomicBool::new(false),
            wait: AtomicU64::new(0),
            max_wait: AtomicU64::new(0),
        };
        limits.set(rules, path);
        limits
    }

    pub(crate) fn set(&self, rules: Rules, path: Path) {
        self.minimum_calls.store(rules.minimum_calls, Relaxed);
        self.failure_rate.store(rules.failure_rate.to_bits(), Relaxed);
        self.slow_rate.store(rules.slow_rate.to_bits(), Relaxed);
        self.consecutive.store(rules.consecutive, Relaxed);
        self.counts_in_a_row.store(path.counts_in_a_row, Relaxed);
        self.slow_limit.store(path.slow_limit, Relaxed);
        self.slow_when_abandoned.store(path.slow_when_abandoned, Relaxed);
        self.wait.store(nanos(path.wait), Relaxed);
        self.max_wait.store(nanos(path.max_wait), Relaxed);
    }

    /// Whether the breaker may have to open.
    #[inline]
    pub(crate) fn suspects(&self, tally: &Tally) -> bool {
        let rules = Rules {
            minimum_calls: self.minimum_calls.load(Relaxed),
            failure_rate: f64::from_bits(self.failure_rate.load(Relaxed)),
            slow_rate: f64::from_bits(self.slow_rate.load(Relaxed)),
            consecutive: self.consecutive.load(Relaxed),
        };
        rules.judge(tally).is_some()
    }

    /// Whether failures in a row matter.
    #[inline]
    pub(crate) fn count_in_a_row(&self) -> bool {
        self.counts_in_a_row.load(Relaxed)
    }

    /// After how many nanoseconds a call is slow; 0 if that does not matter.
    #[inline]
    pub(crate) fn slow_limit(&self) -> u64 {
        self.slow_limit.load(Relaxed)
    }

    pub(crate) fn slow_when_abandoned(&self) -> bool {
        self.slow_when_abandoned.load(Relaxed)
    }

    /// How long the breaker is open at first.
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_nanos(self.wait.load(Relaxed))
    }

    /// How long the breaker is open at most.
    pub(crate) fn max_wait(&self) -> Duration {
        Duration::from_nanos(self.max_wait.load(Relaxed))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
