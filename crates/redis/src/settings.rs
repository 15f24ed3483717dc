use std::time::Duration;

use bartizan_core::ConfigError;
use serde::{Deserialize, Serialize};

pub(crate) const DEADLINE: Duration = Duration::from_millis(20);
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// What a [`Redis`](crate::Redis) can be told while it runs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    deadline_ms: u64,
}

impl Settings {
    pub(crate) fn from_json(settings: serde_json::Value) -> Result<Self, ConfigError> {
        let settings: Self = serde_json::from_value(settings).map_err(|error| {
            ConfigError::new("redis", error.to_string(), "write `{\"deadline_ms\": 20}`")
        })?;
        if !(SHORTEST..=LONGEST).contains(&settings.deadline()) {
            return Err(ConfigError::new(
                "redis.deadline_ms",
                format!("is {}", settings.deadline_ms),
                "write 1 to 60000",
            ));
        }
        Ok(settings)
    }

    pub(crate) const fn of(deadline: Duration) -> Self {
        Self { deadline_ms: deadline.as_millis() as u64 }
    }

    pub(crate) const fn deadline(self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }
}

/// All durations of this crate are far below the 584 years that fit.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
