//! What a breaker can be told.

mod check;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::state::{Path, Rules, SLICES, Shape};

/// What a breaker can be told, also while it runs.
///
/// Fields of the same names make up its JSON, with times in milliseconds and `null` for what is
/// off:
///
/// ```
/// use bartizan_circuit_breaker::{CircuitBreaker, Settings};
/// use bartizan_core::Engine;
///
/// let breaker = CircuitBreaker::new("billing");
/// breaker.apply(serde_json::json!({
///     "window_ms": 10_000,
///     "minimum_calls": 50,
///     "failure_rate": 0.3,
///     "slow_call_ms": 800,
///     "slow_rate": 0.5,
///     "consecutive_failures": 10,
///     "ramp": [0.01, 0.05, 0.25, 0.5],
/// }))?;
/// # Ok::<(), bartizan_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Settings {
    /// How many of the last calls are judged.
    window: u32,
    /// If set, the calls of that time are judged instead.
    window_ms: Option<u64>,
    /// How many calls there must be before any share is judged.
    minimum_calls: u32,
    /// The share of failures, above 0 and up to 1, that opens the breaker.
    failure_rate: Option<f64>,
    /// How long a call may take before it is slow.
    slow_call_ms: Option<u64>,
    /// The share of slow calls, above 0 and up to 1, that opens the breaker.
    slow_rate: f64,
    /// Whether a call that is given up after it has become slow counts as slow.
    slow_when_abandoned: bool,
    /// How many failures in a row open the breaker.
    consecutive_failures: Option<u32>,
    /// How long it stays open at first.
    open_wait_ms: u64,
    /// The longest it stays open.
    max_open_wait_ms: u64,
    /// The share of that time by which it may be shortened at random.
    open_jitter: f64,
    /// How many calls decide whether it closes.
    half_open_probes: u32,
    /// When a probe without an end gives its slot to another.
    probe_deadline_ms: u64,
    /// The growing shares of calls that are let through after the probes.
    ramp: Vec<f64>,
    /// How many calls judge a step of the ramp.
    ramp_calls: u32,
    /// What an operator holds it to.
    forced: Option<Forced>,
}

/// What an operator holds a breaker to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Forced {
    /// Every call passes, and is counted, but none opens the breaker.
    Closed,
    /// Every call is refused.
    Open,
}

impl Default for Settings {
    /// Half of the last 100 calls failed, of 20 at least; open for 5 s, up to 60 s, a tenth of it
    /// left to chance; one probe, of 30 s.
    fn default() -> Self {
        Self {
            window: 100,
            window_ms: None,
            minimum_calls: 20,
            failure_rate: Some(0.5),
            slow_call_ms: None,
            slow_rate: 0.5,
            slow_when_abandoned: false,
            consecutive_failures: None,
            open_wait_ms: 5_000,
            max_open_wait_ms: 60_000,
            open_jitter: 0.1,
            half_open_probes: 1,
            probe_deadline_ms: 30_000,
            ramp: Vec::new(),
            ramp_calls: 20,
            forced: None,
        }
    }
}

impl Settings {
    /// Judges the last `calls`, from 1 to 262 144, once there are `minimum_calls`.
    pub const fn window(mut self, calls: u32, minimum_calls: u32) -> Self {
        self.window = calls;
        self.window_ms = None;
        self.minimum_calls = minimum_calls;
        self
    }

    /// Judges the calls that ended within the last `time`, from 10 ms to a day, once there are
    /// `minimum_calls`. The window slides in steps of a tenth.
    pub fn window_time(mut self, time: Duration, minimum_calls: u32) -> Self {
        self.window_ms = Some(millis(time));
        self.minimum_calls = minimum_calls;
        self
    }

    /// Opens at this share of failures, above 0 and up to 1; `None` for never.
    pub fn failure_rate(mut self, share: impl Into<Option<f64>>) -> Self {
        self.failure_rate = share.into();
        self
    }

    /// Opens when this share of calls, above 0 and up to 1, takes longer than `limit`, which is
    /// rounded to whole milliseconds.
    ///
    /// Calls in flight count as slow once they have exceeded the limit, and open the breaker
    /// before they end: the first arrival in each eighth of the limit looks for them.
    pub fn slow_calls(mut self, limit: Duration, share: f64) -> Self {
        self.slow_call_ms = Some(millis(limit));
        self.slow_rate = share;
        self
    }

    /// Whether a call that its caller gives up after the slow-call limit counts as slow. Off by
    /// default: then it counts as nothing.
    ///
    /// For where a time-out outside the breaker cannot be moved inside.
    pub const fn slow_when_abandoned(mut self, yes: bool) -> Self {
        self.slow_when_abandoned = yes;
        self
    }

    /// Opens after so many failures without a success between them, however few calls there are;
    /// `None` for never, the default.
    pub fn consecutive_failures(mut self, failures: impl Into<Option<u32>>) -> Self {
        self.consecutive_failures = failures.into();
        self
    }

    /// Sets how long the breaker stays open at first, and at most, in whole milliseconds. The time
    /// doubles with each failed attempt to close, and starts over when the breaker closes.
    pub fn open_wait(mut self, first: Duration, max: Duration) -> Self {
        self.open_wait_ms = millis(first);
        self.max_open_wait_ms = millis(max);
        self
    }

    /// Sets the share of the open time, from 0 to 1, by which it may be shortened at random, so
    /// that many processes do not probe at the same moment.
    pub const fn open_jitter(mut self, share: f64) -> Self {
        self.open_jitter = share;
        self
    }

    /// Sets how many calls decide whether the breaker closes, from 1 to 1024. No more than these
    /// are let through meanwhile.
    pub const fn half_open_probes(mut self, probes: u32) -> Self {
        self.half_open_probes = probes;
        self
    }

    /// Sets when a probe without an end gives its slot to another, in whole milliseconds.
    pub fn probe_deadline(mut self, deadline: Duration) -> Self {
        self.probe_deadline_ms = millis(deadline);
        self
    }

    /// After the probes, lets growing shares of the calls through, as `[0.01, 0.05, 0.25, 0.5]`,
    /// before the breaker closes. Each step is judged by `calls` calls, and a bad one opens the
    /// breaker again. None by default; eight at most.
    pub fn ramp(mut self, shares: impl Into<Vec<f64>>, calls: u32) -> Self {
        self.ramp = shares.into();
        self.ramp_calls = calls;
        self
    }

    /// Holds the breaker open or closed; `None` lets it judge for itself.
    pub fn forced(mut self, state: impl Into<Option<Forced>>) -> Self {
        self.forced = state.into();
        self
    }

    pub(crate) fn shape(&self) -> Shape {
        match self.window_ms {
            Some(millis) => Shape::Time(millis.saturating_mul(1_000_000) / SLICES),
            None => Shape::Calls(u64::from(self.window)),
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        let slow_rate = if self.slow_call_ms.is_some() { self.slow_rate } else { f64::INFINITY };
        let rules = Rules {
            minimum_calls: u64::from(self.minimum_calls),
            failure_rate: self.failure_rate.unwrap_or(f64::INFINITY),
            slow_rate,
            consecutive: self.consecutive_failures.map_or(u64::MAX, u64::from),
        };
        match self.forced {
            // Counted, never judged.
            Some(Forced::Closed) => {
                Rules { minimum_calls: u64::MAX, consecutive: u64::MAX, ..rules }
            }
            _ => rules,
        }
    }

    pub(crate) fn path(&self) -> Path {
        Path {
            counts_in_a_row: self.counts_in_a_row(),
            slow_limit: self.slow_limit(),
            slow_when_abandoned: self.slow_when_abandoned,
            wait: self.wait(),
            max_wait: self.max_wait(),
        }
    }

    /// Whether failures in a row are counted, also while nothing is judged.
    pub(crate) const fn counts_in_a_row(&self) -> bool {
        self.consecutive_failures.is_some()
    }

    /// Whether a good call needs neither the time nor a count of failures in a row.
    pub(crate) const fn is_plain(&self) -> bool {
        self.window_ms.is_none() && self.slow_call_ms.is_none() && !self.counts_in_a_row()
    }

    /// In nanoseconds; 0 if no call is slow.
    pub(crate) fn slow_limit(&self) -> u64 {
        self.slow_call_ms.map_or(0, |millis| millis.saturating_mul(1_000_000))
    }

    pub(crate) const fn wait(&self) -> Duration {
        Duration::from_millis(self.open_wait_ms)
    }

    pub(crate) const fn max_wait(&self) -> Duration {
        Duration::from_millis(self.max_open_wait_ms)
    }

    pub(crate) const fn jitter(&self) -> f64 {
        self.open_jitter
    }

    pub(crate) const fn probes(&self) -> u32 {
        self.half_open_probes
    }

    pub(crate) const fn deadline(&self) -> Duration {
        Duration::from_millis(self.probe_deadline_ms)
    }

    pub(crate) fn ramp_share(&self, step: usize) -> Option<f64> {
        self.ramp.get(step).copied()
    }

    pub(crate) const fn ramp_step_calls(&self) -> u32 {
        self.ramp_calls
    }

    pub(crate) const fn held_to(&self) -> Option<Forced> {
        self.forced
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
