use std::time::Duration;

use bartizan_core::ConfigError;
use serde::{Deserialize, Serialize};

/// What a [`CircuitBreaker`](crate::CircuitBreaker) can be told, also while it runs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Settings {
    /// How many of the last calls are judged.
    window: u32,
    /// How many calls there must be before any judgement.
    minimum_calls: u32,
    /// The share of failures, above 0 and up to 1, that opens the breaker.
    failure_rate: f64,
    /// How long it stays open at first, in milliseconds.
    open_wait_ms: u64,
    /// The longest it stays open, in milliseconds.
    max_open_wait_ms: u64,
    /// How many calls decide whether it closes.
    half_open_probes: u32,
    /// When a probe without an end gives its slot to another, in milliseconds.
    probe_deadline_ms: u64,
}

/// One byte per outcome: what a window may take.
const MAX_WINDOW: u32 = 65_536;
/// Probes are searched one by one.
const MAX_PROBES: u32 = 1024;

impl Default for Settings {
    /// Half of the last 100 calls, 20 at least; open for 5 s, up to 60 s; one probe, of 30 s.
    fn default() -> Self {
        Self {
            window: 100,
            minimum_calls: 20,
            failure_rate: 0.5,
            open_wait_ms: 5_000,
            max_open_wait_ms: 60_000,
            half_open_probes: 1,
            probe_deadline_ms: 30_000,
        }
    }
}

impl Settings {
    /// Sets how many of the last calls are judged, and how many there must be at least.
    pub const fn window(mut self, calls: u32, minimum_calls: u32) -> Self {
        self.window = calls;
        self.minimum_calls = minimum_calls;
        self
    }

    /// Sets the share of failures, above 0 and up to 1, that opens the breaker.
    pub const fn failure_rate(mut self, share: f64) -> Self {
        self.failure_rate = share;
        self
    }

    /// Sets how long the breaker stays open at first, and at most after failed probes, in whole
    /// milliseconds.
    pub fn open_wait(mut self, first: Duration, max: Duration) -> Self {
        self.open_wait_ms = millis(first);
        self.max_open_wait_ms = millis(max);
        self
    }

    /// Sets how many calls decide whether the breaker closes.
    pub const fn half_open_probes(mut self, probes: u32) -> Self {
        self.half_open_probes = probes;
        self
    }

    /// Sets when a probe without an end gives its slot to another, in whole milliseconds.
    pub fn probe_deadline(mut self, deadline: Duration) -> Self {
        self.probe_deadline_ms = millis(deadline);
        self
    }

    pub(crate) const fn window_len(&self) -> usize {
        self.window as usize
    }

    pub(crate) const fn minimum(&self) -> usize {
        self.minimum_calls as usize
    }

    pub(crate) const fn rate(&self) -> f64 {
        self.failure_rate
    }

    pub(crate) const fn wait(&self) -> Duration {
        Duration::from_millis(self.open_wait_ms)
    }

    pub(crate) const fn max_wait(&self) -> Duration {
        Duration::from_millis(self.max_open_wait_ms)
    }

    pub(crate) const fn probes(&self) -> u32 {
        self.half_open_probes
    }

    pub(crate) const fn deadline(&self) -> Duration {
        Duration::from_millis(self.probe_deadline_ms)
    }

    /// Checks that the settings can be lived by.
    pub(crate) fn validated(self) -> Result<Self, ConfigError> {
        let error = |field, problem, fix| Err(ConfigError::new(field, problem, fix));
        if !(1..=MAX_WINDOW).contains(&self.window) {
            return error("window", "not from 1 to 65536", "use 100 if in doubt");
        }
        if !(1..=self.window).contains(&self.minimum_calls) {
            return error(
                "minimum_calls",
                "not from 1 to `window`: the breaker could never open",
                "lower it, or widen the window",
            );
        }
        // Written so that NaN fails too.
        if !(self.failure_rate > 0.0 && self.failure_rate <= 1.0) {
            return error("failure_rate", "not above 0 and up to 1", "use 0.5 for one half");
        }
        if self.open_wait_ms == 0 {
            return error("open_wait_ms", "a breaker that never waits", "use 1 or more");
        }
        if self.max_open_wait_ms < self.open_wait_ms {
            return error("max_open_wait_ms", "below `open_wait_ms`", "raise it");
        }
        if !(1..=MAX_PROBES).contains(&self.half_open_probes) {
            return error("half_open_probes", "not from 1 to 1024", "use 1 if in doubt");
        }
        if self.probe_deadline_ms == 0 {
            return error("probe_deadline_ms", "no probe ends in no time", "use 1 or more");
        }
        Ok(self)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field() {
        let named = |settings: Settings, field: &str| {
            let error = settings.validated().unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        };
        let fine = Settings::default();
        named(fine.window(0, 1), "window");
        named(fine.window(10, 11), "minimum_calls");
        named(fine.failure_rate(f64::NAN), "failure_rate");
        named(fine.failure_rate(0.0), "failure_rate");
        named(fine.open_wait(Duration::ZERO, Duration::ZERO), "open_wait_ms");
        named(fine.open_wait(Duration::from_secs(2), Duration::from_secs(1)), "max_open_wait_ms");
        named(fine.half_open_probes(0), "half_open_probes");
        named(fine.probe_deadline(Duration::ZERO), "probe_deadline_ms");
    }
}
