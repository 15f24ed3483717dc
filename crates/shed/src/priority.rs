use std::str::FromStr;
use std::time::Duration;

use bartizan_core::{ConfigError, Key};

/// How much a request matters: where there is room for some only, the more important ones go first.
///
/// As in Google's criticality and Uber's tiers.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Priority {
    /// A person waits for it and money is lost without it. A few slots beyond the limit are kept for
    /// these.
    Critical,
    /// What nobody said anything about.
    #[default]
    Default,
    /// The caller can do without: recommendations, previews.
    Sheddable,
    /// Nobody waits for it: batches, prefetching.
    Background,
}

impl Priority {
    /// The word for it, as in a request field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Default => "default",
            Self::Sheddable => "sheddable",
            Self::Background => "background",
        }
    }
}

impl FromStr for Priority {
    type Err = ConfigError;

    fn from_str(word: &str) -> Result<Self, ConfigError> {
        match word {
            "critical" => Ok(Self::Critical),
            "default" => Ok(Self::Default),
            "sheddable" => Ok(Self::Sheddable),
            "background" => Ok(Self::Background),
            _ => Err(ConfigError::new(
                "priority",
                "unknown priority",
                "write \"critical\", \"default\", \"sheddable\" or \"background\"",
            )),
        }
    }
}

/// What decides on a request where not all can be served.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Claim {
    /// How much it matters.
    pub priority: Priority,
    /// On whose account it goes: who has had much of late comes after who has had little.
    pub tenant: Option<Key>,
    /// How long its caller will wait for the answer.
    pub timeout: Option<Duration>,
}

/// So many levels per priority, by what the tenant has had.
pub(crate) const COHORTS: u16 = 128;
/// All levels; 0 goes first.
pub(crate) const LEVELS: u16 = 4 * COHORTS;

/// The level of a request whose tenant has had `share` of what was asked for of late.
pub(crate) fn level(priority: Priority, share: f64) -> u16 {
    // Each halving of the share is twelve levels less; a thousandth is as good as nothing.
    let cohort = (f64::from(COHORTS - 1) + 12.0 * share.log2()).clamp(0.0, f64::from(COHORTS - 1));
    priority as u16 * COHORTS + cohort as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for priority in
            [Priority::Critical, Priority::Default, Priority::Sheddable, Priority::Background]
        {
            assert_eq!(priority.as_str().parse::<Priority>().unwrap(), priority);
        }
        assert_eq!("urgent".parse::<Priority>().unwrap_err().field(), "priority");
    }

    #[test]
    fn a_priority_outweighs_any_share_and_a_share_counts_within_it() {
        assert_eq!(level(Priority::Critical, 0.0), 0);
        assert!(level(Priority::Critical, 1.0) < level(Priority::Default, 0.0));
        assert!(level(Priority::Default, 0.05) < level(Priority::Default, 0.95));
        assert_eq!(level(Priority::Background, 1.0), LEVELS - 1);
    }
}
