use std::time::Duration;

use bartizan_core::{Clock, ConfigError, Timestamp};
use serde::{Deserialize, Serialize};

/// When a [`Rollout`](crate::Rollout) takes a variant back by itself, and how it grows one. Can be
/// replaced while it runs.
///
/// Fields of the same names make up its JSON, with times in milliseconds. What a document leaves out
/// has its default:
///
/// ```
/// use bartizan_core::Engine;
/// use bartizan_flags::{Flag, Flags, SplitLayer};
///
/// # let new_release = ();
/// let split = SplitLayer::new(Flags::empty(), Flag::new("search", "stable"), [("canary", new_release)]);
/// split.rollout().apply(serde_json::json!({
///     "window_ms": 30_000,
///     "minimum_exchanges": 100,
///     "failure_margin": 0.02,
///     "latency_factor": 1.5,
///     "ramp": [[0, 0.01], [3_600_000, 0.25], [86_400_000, 1.0]],
/// }))?;
/// # Ok::<(), bartizan_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct RolloutSettings {
    /// How far back a judgement looks, in milliseconds.
    window_ms: u32,
    /// How many exchanges of a variant it takes to judge it.
    minimum_exchanges: u32,
    /// How much larger than stable's a variant's share of failures may be.
    failure_margin: f64,
    /// How many times stable's mean latency a variant's may be; `null` if latency does not matter.
    latency_factor: Option<f64>,
    /// Milliseconds since the start, and the share of the variant's keys from then on.
    ramp: Vec<(u64, f64)>,
    /// When the ramp starts, in seconds since 1970; `null` if with the process.
    ramp_from: Option<u64>,
}

impl Default for RolloutSettings {
    /// A minute, 50 exchanges, 5 percentage points, latency without a bound, no ramp.
    fn default() -> Self {
        Self {
            window_ms: 60_000,
            minimum_exchanges: 50,
            failure_margin: 0.05,
            latency_factor: None,
            ramp: Vec::new(),
            ramp_from: None,
        }
    }
}

impl RolloutSettings {
    /// Sets how far back a judgement looks, in whole milliseconds.
    pub fn window(mut self, window: Duration) -> Self {
        self.window_ms = u32::try_from(window.as_millis()).unwrap_or(u32::MAX);
        self
    }

    /// Sets how many exchanges of a variant within the window it takes to judge it.
    pub const fn minimum_exchanges(mut self, exchanges: u32) -> Self {
        self.minimum_exchanges = exchanges;
        self
    }

    /// Sets how much larger than stable's a variant's share of failures may be: 0.05 takes a variant
    /// back that fails 8 % of its exchanges while stable fails 2 %.
    pub const fn failure_margin(mut self, margin: f64) -> Self {
        self.failure_margin = margin;
        self
    }

    /// Sets how many times stable's mean latency a variant's may be.
    pub const fn latency_factor(mut self, factor: f64) -> Self {
        self.latency_factor = Some(factor);
        self
    }

    /// Sets a schedule: from each time after the start, the share of the keys that the flag gives to
    /// a variant and that really get it. Before the first step nobody does.
    ///
    /// The start is that of the process, or of [`Rollout::resume`](crate::Rollout::resume): processes
    /// of different age are at different steps, and a deploy goes back to the first. Where that must not
    /// be, set [`ramp_from`](Self::ramp_from).
    pub fn ramp(mut self, steps: impl IntoIterator<Item = (Duration, f64)>) -> Self {
        let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.ramp = steps.into_iter().map(|(wait, share)| (millis(wait), share)).collect();
        self
    }

    /// Sets the moment that the ramp starts from, as time since 1970 in whole seconds: the same share in
    /// every process, whenever that has started. It holds after [`Rollout::resume`](crate::Rollout::resume)
    /// as well; to begin anew, set another.
    pub const fn ramp_from(mut self, moment: Duration) -> Self {
        self.ramp_from = Some(moment.as_secs());
        self
    }

    pub(super) fn validated(self) -> Result<Self, ConfigError> {
        let wrong = |field: &str, problem: &str, fix: &str| {
            Err(ConfigError::new(field.to_owned(), problem.to_owned(), fix.to_owned()))
        };
        if self.window_ms < 100 {
            return wrong("window_ms", "is less than 100", "give it a second or more");
        }
        if self.minimum_exchanges == 0 {
            return wrong("minimum_exchanges", "is zero", "nothing can be judged by no exchange");
        }
        if !(0.0..=1.0).contains(&self.failure_margin) {
            return wrong("failure_margin", "is no share", "give a number from 0 to 1");
        }
        if self.latency_factor.is_some_and(|factor| !(factor >= 1.0 && factor.is_finite())) {
            return wrong("latency_factor", "is less than 1", "give 1.5 for half as slow again");
        }
        if self.ramp.iter().any(|(_, share)| !(0.0..=1.0).contains(share)) {
            return wrong("ramp", "has a step that is no share", "give numbers from 0 to 1");
        }
        if !self.ramp.is_sorted_by(|a, b| a.0 < b.0) {
            return wrong("ramp", "does not go forward in time", "order the steps by time");
        }
        Ok(self)
    }

    pub(super) const fn window_nanos(&self) -> u64 {
        self.window_ms as u64 * 1_000_000
    }

    pub(super) const fn minimum(&self) -> u64 {
        self.minimum_exchanges as u64
    }

    pub(super) const fn margin(&self) -> f64 {
        self.failure_margin
    }

    pub(super) const fn factor(&self) -> Option<f64> {
        self.latency_factor
    }

    /// The share that the ramp has come to; `started` is for one that starts from no moment of its own.
    pub(super) fn share(&self, clock: &Clock, started: Timestamp, now: Timestamp) -> f64 {
        if self.ramp.is_empty() {
            return 1.0;
        }
        let since = match self.ramp_from {
            None => Some(now.saturating_since(started)),
            // Asked for each time, since the machine's clock may have been set meanwhile.
            Some(moment) => clock.unix().checked_sub(Duration::from_secs(moment)),
        };
        let Some(since) = since else { return 0.0 };
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let reached = self.ramp.iter().take_while(|(from, _)| *from <= since).last();
        reached.map_or(0.0, |(_, share)| *share)
    }
}
