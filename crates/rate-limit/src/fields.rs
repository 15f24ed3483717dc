//! `RateLimit` and `RateLimit-Policy`, as in draft-ietf-httpapi-ratelimit-headers-11.

use std::fmt::Write;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{Quota, RateLimiter};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The fields of one response, rendered when it is there: a future is smaller without their text.
#[derive(Debug)]
pub(crate) struct Fields {
    limiter: RateLimiter,
    left: Left,
}

/// What there is to say of a decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) remaining: u32,
    pub(crate) retry_after: Option<Duration>,
}

impl From<Result<u32, Duration>> for Left {
    fn from(decision: Result<u32, Duration>) -> Self {
        Self { remaining: decision.unwrap_or(0), retry_after: decision.err() }
    }
}

impl Fields {
    pub(crate) fn new(limiter: &RateLimiter, decision: Result<u32, Duration>) -> Self {
        Self { limiter: limiter.clone(), left: decision.into() }
    }

    pub(crate) fn write(self, status: StatusCode, headers: &mut HeaderMap) {
        // A client that reads `r=0` on a redirect would not follow it.
        if status.is_redirection() {
            return;
        }
        // Appended: limits further in or out have their own entries in the same lists.
        let (policy, limit) = self.limiter.describe(self.left);
        headers.append(RATE_LIMIT_POLICY, policy);
        headers.append(RATE_LIMIT, limit);
    }
}

/// The policy: the burst as the quota, and the time in which it comes back as the window.
pub(crate) fn policy(quoted_name: &str, quota: Quota) -> HeaderValue {
    let burst = quota.burst_size();
    let mut text = quoted_name.to_owned();
    // Writing to a string cannot fail.
    let _ = write!(text, ";q={burst};w={}", ceil_secs(quota.refill(burst)).max(1));
    value(text)
}

/// What is left, and for how long it must last.
///
/// With some left, the window is long enough that spending `r` in `t` stays within the rate, as the
/// draft asks; the time until all is back would invite callers to far more.
pub(crate) fn limit(quoted_name: &str, quota: Quota, left: Left) -> HeaderValue {
    let Left { remaining: left, retry_after } = left;
    let window = match retry_after {
        Some(wait) => wait,
        // The next request comes back within an interval at the latest.
        None if left == 0 => quota.interval(),
        None => quota.refill(quota.burst_size().saturating_sub(left).max(left)),
    };
    // Room for the longest figures: this is done for each response.
    let mut text = String::with_capacity(quoted_name.len() + 40);
    text.push_str(quoted_name);
    let _ = write!(text, ";r={left};t={}", ceil_secs(window).max(1));
    value(text)
}

fn ceil_secs(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// A String of RFC 9651.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("names were reduced to printable ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(text: &str) -> Quota {
        text.parse().unwrap()
    }

    fn left(remaining: u32, wait_ms: Option<u64>) -> Left {
        Left { remaining, retry_after: wait_ms.map(Duration::from_millis) }
    }

    #[test]
    fn policies_name_burst_and_window() {
        assert_eq!(policy(&quoted("default"), quota("100/min")), r#""default";q=100;w=60"#);
        assert_eq!(policy(&quoted("default"), quota("100/min;burst=1")), r#""default";q=1;w=1"#);
        assert_eq!(policy(&quoted("default"), quota("3/s")), r#""default";q=3;w=1"#);
        assert_eq!(policy(&quoted(r#"a"\"#), quota("1/day")), r#""a\"\\";q=1;w=86400"#);
    }

    #[test]
    fn what_is_left_never_invites_beyond_the_rate() {
        let field = |left| limit("\"x\"", quota("100/min"), left);
        assert_eq!(field(left(50, None)), r#""x";r=50;t=30"#);
        assert_eq!(field(left(99, None)), r#""x";r=99;t=60"#);
        assert_eq!(field(left(0, None)), r#""x";r=0;t=1"#);
        assert_eq!(field(left(0, Some(1001))), r#""x";r=0;t=2"#);
        assert_eq!(field(left(0, Some(0))), r#""x";r=0;t=1"#);
    }
}
