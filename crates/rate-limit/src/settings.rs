use bartizan_core::ConfigError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Quota;

/// What can be changed while the limiter runs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// What each key may do.
    pub quota: Quota,
    /// How many keys are kept apart at most, 100 000 by default; with 0, all share one bucket.
    #[serde(default = "max_keys")]
    pub max_keys: usize,
}

const fn max_keys() -> usize {
    100_000
}

impl Settings {
    /// The given quota, and the defaults.
    #[must_use]
    pub const fn new(quota: Quota) -> Self {
        Self { quota, max_keys: max_keys() }
    }

    /// Reads settings as an operator sends them.
    pub(crate) fn from_json(value: Value) -> Result<Self, ConfigError> {
        // On its own first: the quota's error names the part that is wrong, serde's does not.
        if let Some(quota) = value.get("quota").and_then(Value::as_str) {
            quota.parse::<Quota>()?;
        }
        let fix =
            "write {\"quota\": \"100/min\", \"max_keys\": 100000}; `max_keys` may be left out";
        serde_json::from_value(value)
            .map_err(|error| ConfigError::new("settings", error.to_string(), fix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_name_the_field() {
        let field = |value| Settings::from_json(value).unwrap_err().field().to_owned();
        assert_eq!(field(json!({"quota": "0/min"})), "quota.limit");
        assert_eq!(field(json!({"quota": 5})), "settings");
        assert_eq!(field(json!({})), "settings");
        assert_eq!(field(json!({"quota": "1/s", "max_kyes": 5})), "settings");
    }

    #[test]
    fn the_cap_may_be_left_out() {
        let settings = Settings::from_json(json!({"quota": "1/s"})).unwrap();
        assert_eq!(settings, Settings::new(Quota::per_second(1).unwrap()));
    }
}
