use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use bartizan_core::ConfigError;
use serde::{Deserialize, Serialize};

/// How many requests a key may make in which time, and how many of them at once.
///
/// In text, and so in settings, `100/min;burst=20`: a number, one of `s`, `min`, `hour` and `day`,
/// and the burst if it is not the number itself.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct Quota {
    limit: NonZeroU32,
    period: Period,
    burst: NonZeroU32,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Period {
    Second,
    Minute,
    Hour,
    Day,
}

impl Period {
    const fn secs(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// What an empty bucket may take to fill. Keeps all sums of times far from overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl Quota {
    /// `limit` requests a second, all of them at once if need be.
    ///
    /// # Errors
    ///
    /// If `limit` is 0, or more than one a nanosecond.
    pub fn per_second(limit: u32) -> Result<Self, ConfigError> {
        Self::new(limit, Period::Second)
    }

    /// `limit` requests a minute, all of them at once if need be.
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn per_minute(limit: u32) -> Result<Self, ConfigError> {
        Self::new(limit, Period::Minute)
    }

    /// `limit` requests an hour, all of them at once if need be.
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn per_hour(limit: u32) -> Result<Self, ConfigError> {
        Self::new(limit, Period::Hour)
    }

    /// `limit` requests a day, all of them at once if need be.
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn per_day(limit: u32) -> Result<Self, ConfigError> {
        Self::new(limit, Period::Day)
    }

    /// Lets a key that was idle make `burst` requests at once. The rate stays as it is.
    ///
    /// # Errors
    ///
    /// If `burst` is 0, or so large that it would take more than a year to come back.
    pub fn burst(mut self, burst: u32) -> Result<Self, ConfigError> {
        self.burst = non_zero("quota.burst", burst)?;
        if self.interval().saturating_mul(burst) > LONGEST {
            return Err(ConfigError::new(
                "quota.burst",
                "would take more than a year to come back",
                "write a smaller burst or a higher rate",
            ));
        }
        Ok(self)
    }

    fn new(limit: u32, period: Period) -> Result<Self, ConfigError> {
        let limit = non_zero("quota.limit", limit)?;
        let quota = Self { limit, period, burst: limit };
        if quota.interval().is_zero() {
            return Err(ConfigError::new(
                "quota.limit",
                "more than one request a nanosecond",
                "write at most 1000000000/s",
            ));
        }
        Ok(quota)
    }

    /// How many requests an idle key may make at once.
    #[must_use]
    pub const fn burst_size(&self) -> u32 {
        self.burst.get()
    }

    /// How long it takes until a key gets one request back.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.period.secs() * 1_000_000_000 / u64::from(self.limit.get()))
    }

    /// How long an exhausted key takes to get `count` requests back.
    pub(crate) fn refill(&self, count: u32) -> Duration {
        self.interval().saturating_mul(count)
    }

    pub(crate) fn to_governor(self) -> governor::Quota {
        governor::Quota::with_period(self.interval())
            .expect("the interval was checked when the quota was made")
            .allow_burst(self.burst)
    }
}

fn non_zero(field: &'static str, value: u32) -> Result<NonZeroU32, ConfigError> {
    NonZeroU32::new(value).ok_or_else(|| {
        ConfigError::new(
            field,
            "is 0, which would refuse everything",
            "write 1 or more, or refuse these requests in the router",
        )
    })
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.limit, self.period.word())?;
        if self.burst != self.limit {
            write!(f, ";burst={}", self.burst)?;
        }
        Ok(())
    }
}

impl FromStr for Quota {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let malformed = || {
            ConfigError::new(
                "quota",
                format!("`{text}` is not a quota"),
                "write it like \"100/min\" or \"100/min;burst=20\", per s, min, hour or day",
            )
        };
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| malformed());

        let (rate, burst) = match text.split_once(';') {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let (limit, period) = rate.split_once('/').ok_or_else(malformed)?;
        let period = match period.trim() {
            "s" | "sec" | "second" => Period::Second,
            "min" | "minute" => Period::Minute,
            "h" | "hour" => Period::Hour,
            "d" | "day" => Period::Day,
            _ => return Err(malformed()),
        };
        let quota = Self::new(number(limit)?, period)?;
        let Some(burst) = burst else { return Ok(quota) };
        match burst.split_once('=') {
            Some((name, burst)) if name.trim() == "burst" => quota.burst(number(burst)?),
            _ => Err(malformed()),
        }
    }
}

impl TryFrom<String> for Quota {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl From<Quota> for String {
    fn from(quota: Quota) -> Self {
        quota.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_read_as_it_is_written() {
        for text in ["1/s", "100/min", "100/min;burst=20", "5/hour", "1000/day;burst=1"] {
            assert_eq!(text.parse::<Quota>().unwrap().to_string(), text);
        }
        let spaced: Quota = " 100 / minute ; burst = 20 ".parse().unwrap();
        assert_eq!(spaced, Quota::per_minute(100).unwrap().burst(20).unwrap());
    }

    #[test]
    fn serde_uses_the_text() {
        let quota: Quota = serde_json::from_str("\"100/min;burst=20\"").unwrap();
        assert_eq!(serde_json::to_string(&quota).unwrap(), "\"100/min;burst=20\"");
        assert!(serde_json::from_str::<Quota>("\"0/min\"").is_err());
    }

    #[test]
    fn errors_name_the_field() {
        let field = |text: &str| text.parse::<Quota>().unwrap_err().field().to_owned();
        assert_eq!(field("0/min"), "quota.limit");
        assert_eq!(field("2000000000/s"), "quota.limit");
        assert_eq!(field("1/min;burst=0"), "quota.burst");
        assert_eq!(field("1/day;burst=4294967295"), "quota.burst");
        for text in ["", "1", "1/", "/s", "-1/s", "1/week", "1/s;", "1/s;burst", "1/s;x=1"] {
            assert_eq!(field(text), "quota", "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_valid_quota_survives_its_text(limit in 1_u32.., burst in 1_u32..) {
            let Ok(quota) = Quota::per_hour(limit).and_then(|quota| quota.burst(burst)) else {
                return Ok(());
            };
            prop_assert_eq!(quota.to_string().parse::<Quota>().unwrap(), quota);
            prop_assert!(quota.refill(burst) <= LONGEST);
        }
    }
}
