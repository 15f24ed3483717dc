use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use bartizan_core::ConfigError;
use serde::{Deserialize, Serialize};

/// How many requests a key may make in which time, and how many of them at once.
///
/// In text, and so in settings: a number, a period, and the burst if it is not the number itself,
/// as in `100/min;burst=20`. The period is one of `ms`, `s`, `min`, `hour` and `day`, with a count
/// before it if it is not one, as in `5/15min`; `us` and `ns` serve finer ones. With `;strict`, the
/// number is never exceeded in any window: see [`Quota::strict`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct Quota {
    limit: NonZeroU32,
    /// In nanoseconds, at most [`LONGEST`].
    period: u64,
    burst: NonZeroU32,
    strict: bool,
}

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The units of periods as they are written, and how else they may be read; the largest first.
const UNITS: [(u64, &[&str]); 7] = [
    (DAY, &["day", "d"]),
    (HOUR, &["hour", "h"]),
    (MINUTE, &["min", "minute"]),
    (SECOND, &["s", "sec", "second"]),
    (1_000_000, &["ms"]),
    (1_000, &["us"]),
    (1, &["ns"]),
];

/// What a period, or an empty bucket, may take. Keeps all sums of times far from overflow.
pub(crate) const LONGEST: Duration = Duration::from_nanos(366 * DAY);

impl Quota {
    /// `limit` requests a second, all of them at once if need be.
    ///
    /// # Errors
    ///
    /// If `limit` is 0, or more than one a nanosecond.
    pub fn per_second(limit: u32) -> Result<Self, ConfigError> {
        Self::new(limit, SECOND)
    }

    /// `limit` requests a minute, all of them at once if need be.
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn per_minute(limit: u32) -> Result<Self, ConfigError> {
        Self::new(limit, MINUTE)
    }

    /// `limit` requests an hour, all of them at once if need be.
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn per_hour(limit: u32) -> Result<Self, ConfigError> {
        Self::new(limit, HOUR)
    }

    /// `limit` requests a day, all of them at once if need be.
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn per_day(limit: u32) -> Result<Self, ConfigError> {
        Self::new(limit, DAY)
    }

    /// One request every `interval`.
    ///
    /// # Errors
    ///
    /// If `interval` is 0, or longer than a year.
    pub fn every(interval: Duration) -> Result<Self, ConfigError> {
        Self::new(1, nanos("quota.period", interval)?)
    }

    /// Never more than `limit` requests in any `window`, wherever it begins.
    ///
    /// The other quotas promise a rate and allow a burst beside it, so that an idle key can make
    /// nearly twice their number within its first period. This one takes the burst out of the rate:
    /// a tenth of `limit` at once, at least one, and the rest spread evenly over the window.
    /// [`burst`](Self::burst) divides it otherwise. A limit of 1 holds for windows without their
    /// last nanosecond.
    ///
    /// # Errors
    ///
    /// If `limit` or `window` is 0, or `window` is longer than a year.
    pub fn strict(limit: u32, window: Duration) -> Result<Self, ConfigError> {
        let mut quota = Self::new(limit, nanos("quota.period", window)?)?;
        quota.strict = true;
        quota.burst(limit.div_ceil(10))
    }

    /// Lets a key that was idle make `burst` requests at once. The rate stays as it is, but for a
    /// [strict](Self::strict) quota, where it makes room.
    ///
    /// # Errors
    ///
    /// If `burst` is 0, or so large that it would take more than a year to come back, or leaves
    /// nothing of a strict limit.
    pub fn burst(mut self, burst: u32) -> Result<Self, ConfigError> {
        self.burst = non_zero("quota.burst", burst)?;
        if self.strict && burst > (self.limit.get() - 1).max(1) {
            return Err(ConfigError::new(
                "quota.burst",
                "is the whole of a strict limit, so that it could never come back",
                "write a burst below the limit",
            ));
        }
        if self.interval().saturating_mul(burst) > LONGEST {
            return Err(ConfigError::new(
                "quota.burst",
                "would take more than a year to come back",
                "write a smaller burst or a higher rate",
            ));
        }
        Ok(self)
    }

    fn new(limit: u32, period: u64) -> Result<Self, ConfigError> {
        let limit = non_zero("quota.limit", limit)?;
        let quota = Self { limit, period, burst: limit, strict: false };
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

    /// How long it takes until a key gets one request back: GCRA's emission interval, in whole
    /// nanoseconds; rounded down, but for a strict quota up.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        let (limit, burst) = (self.limit.get() as u64, self.burst.get() as u64);
        Duration::from_nanos(if !self.strict {
            self.period / limit
        } else if limit == 1 {
            self.period
        } else {
            self.period.div_ceil(limit - burst)
        })
    }

    /// How long an exhausted key takes to have its burst back, without the rounding of
    /// [`interval`](Self::interval).
    pub(crate) const fn window(&self) -> Duration {
        let burst = self.burst.get() as u64;
        if self.strict {
            return Duration::from_nanos(self.interval().as_nanos() as u64 * burst);
        }
        let nanos = (self.period as u128 * burst as u128).div_ceil(self.limit.get() as u128);
        Duration::from_nanos(nanos as u64)
    }
}

fn nanos(field: &'static str, period: Duration) -> Result<u64, ConfigError> {
    if period.is_zero() || period > LONGEST {
        return Err(ConfigError::new(
            field,
            "is not between a nanosecond and a year",
            "write a period that ends while you watch",
        ));
    }
    Ok(period.as_nanos() as u64)
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
        write!(f, "{}/", self.limit)?;
        let whole = UNITS.iter().find(|(unit, _)| self.period.is_multiple_of(*unit));
        let (unit, words) = whole.unwrap_or(&(1, &["ns"]));
        match self.period / unit {
            1 => f.write_str(words[0])?,
            count => write!(f, "{count}{}", words[0])?,
        }
        let usual = if self.strict {
            f.write_str(";strict")?;
            self.limit.get().div_ceil(10)
        } else {
            self.limit.get()
        };
        if self.burst.get() != usual {
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
                format!("`{}` is not a quota", text.escape_debug()),
                "write it like \"100/min\", \"100/min;burst=20\" or \"5/15min;strict\", with a \
                 period in ms, s, min, hour or day",
            )
        };
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| malformed());

        let mut parts = text.split(';');
        let (limit, period) =
            parts.next().and_then(|rate| rate.split_once('/')).ok_or_else(malformed)?;
        let period = read_period(period.trim()).ok_or_else(malformed)?;
        let limit = number(limit)?;
        let (mut strict, mut burst) = (false, None);
        for part in parts {
            match part.split_once('=') {
                None if part.trim() == "strict" && !strict => strict = true,
                Some((name, size)) if name.trim() == "burst" && burst.is_none() => {
                    burst = Some(number(size)?);
                }
                _ => return Err(malformed()),
            }
        }
        let period = Duration::from_nanos(period);
        let quota = if strict {
            Self::strict(limit, period)?
        } else {
            Self::new(limit, nanos("quota.period", period)?)?
        };
        burst.map_or(Ok(quota), |burst| quota.burst(burst))
    }
}

/// A period in nanoseconds: a unit, with a count before it or without.
fn read_period(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, word) = text.split_at(digits);
    let count = if count.is_empty() { 1 } else { count.parse().ok()? };
    let (unit, _) = UNITS.iter().find(|(_, words)| words.contains(&word.trim()))?;
    unit.checked_mul(count)
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
        let texts = "1/s 100/min 100/min;burst=20 5/hour 1000/day;burst=1 1/250ms 5/15min 1/90s 1/3us \
                     100/min;strict 100/min;strict;burst=50 1/day;strict 3/7ns";
        for text in texts.split(' ') {
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
    fn names_say_what_they_mean() {
        let interval = |quota: Result<Quota, ConfigError>| quota.unwrap().interval();
        assert_eq!(interval(Quota::per_second(4)), Duration::from_millis(250));
        assert_eq!(interval(Quota::per_minute(4)), Duration::from_secs(15));
        assert_eq!(interval(Quota::per_hour(4)), Duration::from_secs(15 * 60));
        assert_eq!(interval(Quota::per_day(4)), Duration::from_secs(6 * 60 * 60));
        assert_eq!(interval(Quota::every(Duration::from_millis(30))), Duration::from_millis(30));
        // A burst of 10 at once, and 90 over the minute.
        let strict = Quota::strict(100, Duration::from_secs(60)).unwrap();
        assert_eq!((strict.burst_size(), strict.interval().as_nanos()), (10, 666_666_667));
        let one = Quota::strict(1, Duration::from_secs(60)).unwrap();
        assert_eq!((one.burst_size(), one.interval()), (1, Duration::from_secs(60)));
    }

    #[test]
    fn errors_name_the_field() {
        let field = |text: &str| text.parse::<Quota>().unwrap_err().field().to_owned();
        assert_eq!(field("0/min"), "quota.limit");
        assert_eq!(field("2000000000/s"), "quota.limit");
        assert_eq!(field("1/min;burst=0"), "quota.burst");
        assert_eq!(field("1/day;burst=4294967295"), "quota.burst");
        assert_eq!(field("5/s;strict;burst=5"), "quota.burst");
        assert_eq!(field("1/0s"), "quota.period");
        assert_eq!(field("1/999day"), "quota.period");
        let malformed = [
            "",
            "1",
            "1/",
            "/s",
            "-1/s",
            "1/week",
            "1/s;",
            "1/s;burst",
            "1/s;x=1",
            "1/9999999999day",
            "1/s;strict;strict",
            "1/s;burst=1;burst=1",
            "1/-1s",
            "1/s s",
            "1/5",
        ];
        for text in malformed {
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
            prop_assert!(quota.window() <= LONGEST + Duration::from_secs(5));
        }

        #[test]
        fn whatever_is_read_is_written_the_same(text in "[0-9]{1,9}/[0-9]{0,3}(ns|us|ms|s|min|hour|day)(;strict)?(;burst=[0-9]{1,4})?") {
            if let Ok(quota) = text.parse::<Quota>() {
                prop_assert_eq!(quota.to_string().parse::<Quota>().unwrap(), quota);
                prop_assert!(!quota.interval().is_zero());
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<Quota>();
        }
    }
}
