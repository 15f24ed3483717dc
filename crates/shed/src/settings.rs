use std::time::Duration;

use bartizan_core::ConfigError;
use serde::{Deserialize, Serialize};

/// What a [`LoadShedder`](crate::LoadShedder) can be told, also while it runs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Settings {
    /// The limit's floor, in exchanges.
    min_limit: u32,
    /// Where the limit starts.
    initial_limit: u32,
    /// The limit's ceiling.
    max_limit: u32,
    /// The time to the response's head, in milliseconds, above which the service is overloaded.
    latency_target_ms: u32,
}

impl Default for Settings {
    /// From 4 to 1024 exchanges, 64 at first, and a latency target of 250 ms.
    fn default() -> Self {
        Self { min_limit: 4, initial_limit: 64, max_limit: 1024, latency_target_ms: 250 }
    }
}

impl Settings {
    /// Sets floor, start and ceiling of the limit, in exchanges in flight.
    pub const fn limits(mut self, min: u32, initial: u32, max: u32) -> Self {
        self.min_limit = min;
        self.initial_limit = initial;
        self.max_limit = max;
        self
    }

    /// Sets the time to the response's head above which the service counts as overloaded, in whole
    /// milliseconds.
    pub fn latency_target(mut self, target: Duration) -> Self {
        self.latency_target_ms = u32::try_from(target.as_millis()).unwrap_or(u32::MAX);
        self
    }

    pub(crate) const fn min(&self) -> u32 {
        self.min_limit
    }

    pub(crate) const fn initial(&self) -> u32 {
        self.initial_limit
    }

    pub(crate) const fn max(&self) -> u32 {
        self.max_limit
    }

    pub(crate) const fn target(&self) -> Duration {
        Duration::from_millis(self.latency_target_ms as u64)
    }

    pub(crate) const fn target_nanos(&self) -> u64 {
        self.latency_target_ms as u64 * 1_000_000
    }

    /// Checks that the settings can be lived by.
    pub(crate) fn validated(self) -> Result<Self, ConfigError> {
        let error = |field, problem, fix| Err(ConfigError::new(field, problem, fix));
        if self.min_limit == 0 {
            return error("min_limit", "a floor of 0 would refuse everything", "use 1 or more");
        }
        if self.max_limit < self.min_limit {
            return error("max_limit", "below `min_limit`", "raise it, or lower the floor");
        }
        if !(self.min_limit..=self.max_limit).contains(&self.initial_limit) {
            return error(
                "initial_limit",
                "outside the limits",
                "put it between floor and ceiling",
            );
        }
        if self.latency_target_ms == 0 {
            return error("latency_target_ms", "no answer comes in no time", "use 1 or more");
        }
        Ok(self)
    }
}
