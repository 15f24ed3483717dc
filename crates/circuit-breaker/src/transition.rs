use std::time::Duration;

use bartizan_core::Key;

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum State {
    /// Calls pass, and are judged.
    Closed,
    /// A few calls pass, as probes; all others are refused.
    HalfOpen,
    /// Every call is refused until the wait is over.
    Open,
}

impl State {
    /// The word for it, as in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// Why a breaker changed its state.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Too many failures followed one another without a success.
    ConsecutiveFailures,
    /// The share of failures reached its limit.
    FailureRate,
    /// An operator forced it.
    Forced,
    /// Too many of the probes failed or were slow.
    ProbesFailed,
    /// The probes, and the ramp if there is one, went well.
    ProbesSucceeded,
    /// A step of the ramp went well, and the next, larger share of calls is let through.
    RampedUp,
    /// An operator no longer forces it.
    Released,
    /// An operator had it start over.
    Reset,
    /// The share of slow calls reached its limit.
    SlowRate,
    /// The wait was over, and a call came to probe with.
    WaitOver,
}

impl Reason {
    /// The word for it, as in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::FailureRate => "failure_rate",
            Self::Forced => "forced",
            Self::ProbesFailed => "probes_failed",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::RampedUp => "ramped_up",
            Self::Released => "released",
            Self::Reset => "reset",
            Self::SlowRate => "slow_rate",
            Self::WaitOver => "wait_over",
        }
    }
}

/// A change of state, with its reason and the figures that led to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transition {
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) reason: Reason,
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) slow: u64,
    pub(crate) wait: Option<Duration>,
    pub(crate) key: Option<Key>,
}

impl Transition {
    /// The state before.
    #[must_use]
    pub const fn from(&self) -> State {
        self.from
    }

    /// The state after; the same as before between two steps of a ramp.
    #[must_use]
    pub const fn to(&self) -> State {
        self.to
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// How many calls were judged, calls in flight beyond the slow-call limit included.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.calls
    }

    /// How many of them failed.
    #[must_use]
    pub const fn failures(&self) -> u64 {
        self.failures
    }

    /// How many of them were slow.
    #[must_use]
    pub const fn slow(&self) -> u64 {
        self.slow
    }

    /// How long the breaker is open, if it opens by itself.
    #[must_use]
    pub const fn wait(&self) -> Option<Duration> {
        self.wait
    }

    /// The key of the breaker, if it is one of many.
    #[must_use]
    pub const fn key(&self) -> Option<Key> {
        self.key
    }
}
