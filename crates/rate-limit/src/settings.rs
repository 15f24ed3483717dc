use std::collections::BTreeMap;

use bartizan_core::{ConfigError, Mode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Quota;

/// What can be changed while the limiter runs: the settings of some or all of its policies.
///
/// As JSON, `{"policies": {"day": {"quota": "1000/day", "tiers": {"gold": "5000/day"}, "mode":
/// "shadow"}}}`. For a limiter of one policy, what is inside the policy is enough:
/// `{"quota": "100/min"}`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// By the policy's name. Policies that are not named stay as they are.
    pub policies: BTreeMap<String, PolicySettings>,
}

/// What can be changed of one policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PolicySettings {
    /// What each key may do.
    pub quota: Quota,
    /// What the callers of a tier may do instead; at most 255 tiers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tiers: BTreeMap<String, Quota>,
    /// Whether the policy acts; without one, it stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

const FIX: &str = "write {\"quota\": \"100/min\"}, or {\"policies\": {\"day\": {\"quota\": \
                   \"1000/day\", \"tiers\": {\"gold\": \"5000/day\"}, \"mode\": \"enforce\"}}}";

/// How many tiers a policy has at most.
const MAX_TIERS: usize = 255;

impl Settings {
    /// Reads settings as an operator sends them, for a limiter of the policies `known`.
    pub(crate) fn from_json<'a>(
        value: Value,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Self, ConfigError> {
        check_quotas(&value)?;
        let malformed =
            |error: serde_json::Error| ConfigError::new("settings", error.to_string(), FIX);
        let settings = if value.get("policies").is_some() {
            serde_json::from_value(value).map_err(malformed)?
        } else {
            let policy = serde_json::from_value(value).map_err(malformed)?;
            let mut known = known.clone();
            let (Some(name), None) = (known.next(), known.next()) else {
                return Err(ConfigError::new(
                    "policies",
                    "is missing, and this limiter has several",
                    FIX,
                ));
            };
            Self { policies: BTreeMap::from([(name.to_owned(), policy)]) }
        };
        for (name, policy) in &settings.policies {
            if !known.clone().any(|known| known == name) {
                let known = known.collect::<Vec<_>>().join(", ");
                let problem = format!("has no policy `{}`", name.escape_debug());
                return Err(ConfigError::new("policies", problem, format!("it has: {known}")));
            }
            policy.check()?;
        }
        Ok(settings)
    }
}

impl PolicySettings {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.tiers.len() > MAX_TIERS {
            return Err(ConfigError::new("tiers", "are more than 255", "put some together"));
        }
        Ok(())
    }
}

/// Reads every quota on its own first: the quota's error names the part that is wrong, serde's does
/// not.
fn check_quotas(value: &Value) -> Result<(), ConfigError> {
    let read = |quota: Option<&Value>| match quota.and_then(Value::as_str) {
        Some(quota) => quota.parse::<Quota>().map(drop),
        None => Ok(()),
    };
    read(value.get("quota"))?;
    let tiers = value.get("tiers").and_then(Value::as_object);
    tiers.into_iter().flatten().try_for_each(|(_, quota)| read(Some(quota)))?;
    let policies = value.get("policies").and_then(Value::as_object);
    policies.into_iter().flatten().try_for_each(|(_, policy)| check_quotas(policy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_name_the_field() {
        let field =
            |value| Settings::from_json(value, ["day"].into_iter()).unwrap_err().field().to_owned();
        assert_eq!(field(json!({"quota": "0/min"})), "quota.limit");
        assert_eq!(field(json!({"quota": "1/s", "tiers": {"a": "0/s"}})), "quota.limit");
        assert_eq!(field(json!({"policies": {"day": {"quota": "1/s;burst=0"}}})), "quota.burst");
        assert_eq!(field(json!({"quota": 5})), "settings");
        assert_eq!(field(json!({})), "settings");
        assert_eq!(field(json!({"quota": "1/s", "max_kyes": 5})), "settings");
        assert_eq!(field(json!({"policies": {"dya": {"quota": "1/s"}}})), "policies");
        let tiers: BTreeMap<_, _> = (0..256).map(|n| (n.to_string(), "1/s")).collect();
        assert_eq!(field(json!({"quota": "1/s", "tiers": tiers})), "tiers");
    }

    #[test]
    fn one_policy_needs_no_name_and_several_do() {
        let value = json!({"quota": "1/s", "mode": "shadow"});
        let settings = Settings::from_json(value.clone(), ["day"].into_iter()).unwrap();
        assert_eq!(settings.policies["day"].mode, Some(Mode::Shadow));
        let error = Settings::from_json(value, ["day", "hour"].into_iter()).unwrap_err();
        assert_eq!(error.field(), "policies");
    }

    #[test]
    fn settings_are_written_as_they_are_read() {
        let value = json!({"policies": {"day": {"quota": "9/day", "tiers": {"gold": "99/day"}}}});
        let settings = Settings::from_json(value.clone(), ["day"].into_iter()).unwrap();
        assert_eq!(serde_json::to_value(settings).unwrap(), value);
    }
}
