use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;

use crate::Quota;
use crate::state::Rate;

/// A quota with everything that follows from it, worked out once.
#[derive(Debug)]
pub(crate) struct Grade {
    pub(crate) quota: Quota,
    pub(crate) rate: Rate,
    /// Whether every request counts as one.
    flat: bool,
    /// The policy's name, as a String of RFC 9651.
    pub(crate) name: String,
    /// The policy as draft 11 says it.
    pub(crate) policy: HeaderValue,
    /// What draft 11 says of so many left, once it was said.
    left: Kept,
    /// What it says of so many seconds to wait, whatever the quota.
    waits: Kept,
}

/// Values by their number, each written when it is first asked for.
pub(crate) type Kept = Arc<[OnceLock<HeaderValue>]>;

/// What is left and what is to be waited are mostly small; the rest is written each time.
pub(crate) const KEPT: usize = 1024;

impl Grade {
    /// Of a policy whose longest quota has a capacity of `longest` nanoseconds.
    pub(crate) fn new(name: &str, flat: bool, quota: Quota, longest: u64, waits: &Kept) -> Self {
        let name = format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
        let rate = Rate::new(quota).beside(longest);
        let window = ceil_secs(quota.window());
        Self {
            quota,
            rate,
            flat,
            policy: item(&name, (";q=", rate.burst().into()), (";w=", window)),
            name,
            left: kept(rate.burst() as usize),
            waits: Arc::clone(waits),
        }
    }

    /// What a request of `cost` costs here.
    #[inline]
    pub(crate) const fn cost(&self, cost: u32) -> u32 {
        if self.flat { 1 } else { cost }
    }

    /// `RateLimit` of draft 11 for `left` units, or for a wait of so many seconds.
    pub(crate) fn limit(&self, left: u32, wait: Option<u64>) -> HeaderValue {
        let write = || {
            let window = wait.unwrap_or_else(|| self.window(left));
            item(&self.name, (";r=", left.into()), (";t=", window))
        };
        let (kept, place) = match wait {
            Some(wait) => (&self.waits, usize::try_from(wait).unwrap_or(usize::MAX)),
            None => (&self.left, left as usize),
        };
        kept.get(place).map_or_else(write, |kept| kept.get_or_init(write).clone())
    }

    /// The seconds for which `left` units must last.
    ///
    /// Long enough that spending them in that time stays within the rate, as the draft asks; the
    /// time until all is back would invite callers to far more.
    pub(crate) fn window(&self, left: u32) -> u64 {
        let units = match left {
            // The next unit comes back within an interval at the latest.
            0 => 1,
            left => self.rate.burst().saturating_sub(left).max(left),
        };
        ceil_secs(Duration::from_nanos(self.rate.interval() * u64::from(units)))
    }
}

/// Room for the values up to `most`, or as many as are kept.
pub(crate) fn kept(most: usize) -> Kept {
    (0..=most.min(KEPT)).map(|_| OnceLock::new()).collect()
}

/// Whole seconds, rounded up, at least one.
pub(crate) fn ceil_secs(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

/// `text`, and two numbers with what goes before each.
pub(crate) fn item(text: &str, first: (&str, u64), second: (&str, u64)) -> HeaderValue {
    let (mut one, mut two) = (itoa::Buffer::new(), itoa::Buffer::new());
    // Joined in one go, into a string of just that length: one with room to spare would cost a
    // second allocation to share.
    let text = [text, first.0, one.format(first.1), second.0, two.format(second.1)].concat();
    HeaderValue::try_from(text).expect("names were reduced to printable ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grade(quota: &str) -> Grade {
        Grade::new("x", false, quota.parse().unwrap(), 0, &kept(KEPT))
    }

    #[test]
    fn policies_name_burst_and_window() {
        assert_eq!(grade("100/min").policy, r#""x";q=100;w=60"#);
        assert_eq!(grade("100/min;burst=1").policy, r#""x";q=1;w=1"#);
        assert_eq!(grade("3/s").policy, r#""x";q=3;w=1"#);
        assert_eq!(grade("7/min").policy, r#""x";q=7;w=60"#);
        assert_eq!(grade("70/min").policy, r#""x";q=70;w=60"#);
        assert_eq!(
            Grade::new(r#"a"\"#, false, "1/day".parse().unwrap(), 0, &kept(0)).policy,
            r#""a\"\\";q=1;w=86400"#
        );
    }

    #[test]
    fn what_is_left_never_invites_beyond_the_rate() {
        let ample = grade("1000000/s");
        let grade = grade("100/min");
        for _ in 0..2 {
            assert_eq!(grade.limit(50, None), r#""x";r=50;t=30"#);
            assert_eq!(grade.limit(99, None), r#""x";r=99;t=60"#);
            assert_eq!(grade.limit(0, None), r#""x";r=0;t=1"#);
            assert_eq!(grade.limit(0, Some(2)), r#""x";r=0;t=2"#);
            assert_eq!(grade.limit(0, Some(86_400)), r#""x";r=0;t=86400"#);
        }
        assert_eq!(ample.limit(999_999, None), r#""x";r=999999;t=1"#);
    }
}
