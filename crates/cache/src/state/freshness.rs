//! Freshness lifetime and age (RFC 9111 §4.2).

use std::time::Duration;

use bartizan_core::Timestamp;
use http::HeaderMap;
use http::header::{AGE, DATE, EXPIRES};

use crate::directives::{ResponseDirectives, delta_seconds};
use crate::list;
use crate::state::date;

/// When a response came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// On the monotonic clock, by which the response ages.
    pub(crate) now: Timestamp,
    /// On the wall clock, by which dates are judged.
    pub(crate) unix: Duration,
    /// The time since the request was sent.
    pub(crate) delay: Duration,
}

/// How long a response is fresh, and how old it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness {
    lifetime: Duration,
    initial_age: Duration,
    received: Timestamp,
}

impl Freshness {
    /// The freshness that a response states: `s-maxage`, `max-age`, or `Expires` if that counts
    /// (RFC 9111 §4.2.1); else `fallback` of the dates that it was generated and last modified.
    pub(crate) fn of(
        headers: &HeaderMap,
        directives: &ResponseDirectives,
        expires: bool,
        received: Received,
        fallback: impl FnOnce(Duration) -> Option<Duration>,
    ) -> (Self, bool) {
        let date = date(headers, DATE).unwrap_or(received.unix);
        let stated = stated(headers, directives, expires, date);
        let lifetime = stated.or_else(|| fallback(date));
        let freshness = Self {
            lifetime: lifetime.unwrap_or_default(),
            initial_age: initial_age(headers, date, received),
            received: received.now,
        };
        (freshness, lifetime.is_some())
    }

    /// As old as a response's fields say, and stale.
    pub(crate) fn aged(headers: &HeaderMap, received: Received) -> Self {
        Self::of(headers, &ResponseDirectives::default(), false, received, |_| None).0
    }

    /// One that has reached this age and will live so much longer, as another process kept it.
    pub(crate) const fn resumed(lifetime: Duration, age: Duration, received: Timestamp) -> Self {
        Self { lifetime, initial_age: age, received }
    }

    pub(crate) const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    pub(crate) const fn received(&self) -> Timestamp {
        self.received
    }

    /// How old the response is.
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        self.initial_age.saturating_add(now.saturating_since(self.received))
    }

    /// For how long the response is still fresh; `None` if it is stale.
    pub(crate) fn left(&self, now: Timestamp) -> Option<Duration> {
        self.lifetime.checked_sub(self.age(now)).filter(|left| !left.is_zero())
    }

    /// For how long the response has been stale.
    pub(crate) fn stale_for(&self, now: Timestamp) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// The remaining lifetime in whole seconds; negative if it is over.
    pub(crate) fn ttl(&self, now: Timestamp) -> i64 {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        match self.left(now) {
            Some(left) => seconds(left),
            None => -seconds(self.stale_for(now)),
        }
    }
}

fn stated(
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    expires: bool,
    date_value: Duration,
) -> Option<Duration> {
    if let Some(seconds) = directives.s_maxage.or(directives.max_age) {
        return Some(Duration::from_secs(seconds.into()));
    }
    // One that is invalid or given twice lies in the past.
    (expires && headers.contains_key(EXPIRES)).then(|| {
        date(headers, EXPIRES).map_or(Duration::ZERO, |expires| expires.saturating_sub(date_value))
    })
}

fn initial_age(headers: &HeaderMap, date_value: Duration, received: Received) -> Duration {
    let apparent = received.unix.saturating_sub(date_value);
    let stated = list::members(headers, AGE).next().and_then(delta_seconds).unwrap_or(0);
    let corrected = Duration::from_secs(stated.into()).saturating_add(received.delay);
    apparent.max(corrected)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn received(delay: u64) -> Received {
        Received {
            now: Timestamp::from_nanos(1 << 40),
            unix: Duration::from_secs(NOW),
            delay: Duration::from_secs(delay),
        }
    }

    fn read(headers: &HeaderMap, received: Received) -> Freshness {
        let directives = ResponseDirectives::read(headers);
        Freshness::of(headers, &directives, true, received, |_| None).0
    }

    fn freshness(fields: &[(&'static str, &str)]) -> Freshness {
        read(&headers(fields), received(0))
    }

    fn lifetime_of(fields: &[(&'static str, &str)]) -> u64 {
        freshness(fields).lifetime.as_secs()
    }

    fn age_of(fields: &[(&'static str, &str)]) -> u64 {
        freshness(fields).initial_age.as_secs()
    }

    #[test]
    fn s_maxage_goes_before_max_age_goes_before_expires() {
        let expires = ("expires", "Sun, 06 Nov 1994 08:59:37 GMT");
        assert_eq!(lifetime_of(&[expires]), 600);
        assert_eq!(lifetime_of(&[expires, ("cache-control", "max-age=5")]), 5);
        assert_eq!(lifetime_of(&[expires, ("cache-control", "max-age=5, s-maxage=7")]), 7);
        assert_eq!(lifetime_of(&[expires, ("date", "Sun, 06 Nov 1994 08:58:37 GMT")]), 60);
        assert_eq!(lifetime_of(&[]), 0);
    }

    #[test]
    fn expires_is_read_strictly() {
        assert_eq!(lifetime_of(&[("expires", "Sunday, 06-Nov-94 08:59:37 GMT")]), 600);
        assert_eq!(lifetime_of(&[("expires", "Sun Nov  6 08:59:37 1994")]), 600);
        for wrong in [
            "0",
            "-1",
            "Sun, 06 Nov 1994 08:59:37 UTC",
            "Sun, 06 Nov 1994 08:59:37 AEST",
            "Sun, 06 Nov 1994 08:59:37 +0000",
            "Sun, 06 Nov 94 08:59:37 GMT",
            "Sun 06 Nov 1994 08:59:37 GMT",
            "Sun, 06-Nov-1994 08:59:37 GMT",
            "Sun, 06 Nov 1994 8:59:37 GMT",
            "Sun,  06 Nov 1994 08:59:37 GMT",
        ] {
            assert_eq!(lifetime_of(&[("expires", wrong)]), 0, "{wrong}");
        }
        let expires = ("expires", "Sun, 06 Nov 1994 08:59:37 GMT");
        assert_eq!(lifetime_of(&[expires, expires]), 0, "two lines");
    }

    #[test]
    fn age_is_the_first_valid_member_and_saturates() {
        assert_eq!(age_of(&[("age", "7200, 0")]), 7200);
        assert_eq!(age_of(&[("age", "30"), ("age", "0")]), 30);
        for ignored in ["abc", "-7200", "7200.0", "7200;a=b", ""] {
            assert_eq!(age_of(&[("age", ignored)]), 0, "{ignored}");
        }
        assert_eq!(age_of(&[("age", "18446744073709551615")]), 1 << 31);
        assert_eq!(age_of(&[("date", "Sun, 06 Nov 1994 08:49:07 GMT"), ("age", "10")]), 30);
        assert_eq!(age_of(&[("date", "Sun, 06 Nov 1994 09:49:37 GMT")]), 0, "a fast clock");
    }

    #[test]
    fn a_response_ages_on_the_way_and_in_the_store() {
        let headers = headers(&[("age", "10"), ("cache-control", "max-age=20")]);
        let received = received(3);
        let fresh = read(&headers, received);
        let after = |seconds| received.now.saturating_add(Duration::from_secs(seconds));
        assert_eq!((fresh.age(after(6)).as_secs(), fresh.ttl(after(6))), (19, 1));
        assert_eq!(fresh.left(after(7)), None);
        assert_eq!(fresh.stale_for(after(9)).as_secs(), 2);
        assert_eq!(fresh.ttl(after(9)), -2);
        assert!(fresh.ttl(Timestamp::from_nanos(u64::MAX)) < 0);
    }

    proptest! {
        #[test]
        fn never_fresh_again_and_never_longer_than_stated(
            stated in any::<u32>(),
            age in any::<u64>(),
            delay in any::<u64>(),
            steps in prop::collection::vec(any::<u64>(), 0..50),
        ) {
            let headers = headers(&[
                ("age", &age.to_string()),
                ("cache-control", &format!("max-age={stated}")),
            ]);
            let received = Received { delay: Duration::from_secs(delay), ..received(0) };
            let fresh = read(&headers, received);
            let (mut now, mut stale) = (received.now, false);
            for step in steps {
                now = now.saturating_add(Duration::from_nanos(step));
                match fresh.left(now) {
                    Some(left) => {
                        prop_assert!(!stale, "stale, and fresh again");
                        prop_assert!(left <= Duration::from_secs(stated.into()));
                        prop_assert!(fresh.ttl(now) >= 0);
                    }
                    None => stale = true,
                }
            }
        }
    }
}
