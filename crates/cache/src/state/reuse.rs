//! Whether a stored response may answer a request (RFC 9111 §4, §5.2.1).

use std::time::Duration;

use bartizan_core::Timestamp;

use super::Policy;
use crate::directives::RequestDirectives;

/// Why a stored response is not served as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// It may be served, but not to this request: what the service answers is compared with
    /// nothing, and replaces nothing.
    Credentials,
    /// It is fresh, but the request wants it validated.
    Request,
    /// It is stale, or has to be validated each time.
    Stale,
}

/// Decides on the reuse of a response that matches the request.
pub(crate) fn reuse(
    policy: &Policy,
    request: &RequestDirectives,
    credentials: bool,
    now: Timestamp,
) -> Result<(), Refusal> {
    // The standard forbids to store answers to credentials, not to answer them from the store; but
    // a page for nobody is the wrong answer to somebody, whatever its `Vary` forgot.
    if credentials && !policy.is_for_everyone() {
        return Err(Refusal::Credentials);
    }
    let left = policy.freshness.left(now);
    if policy.directives.no_cache {
        return Err(Refusal::Stale);
    }
    let refusal = if left.is_some() { Refusal::Request } else { Refusal::Stale };
    if request.no_cache {
        return Err(refusal);
    }
    // No age is greater than 0 at first, but who says 0 wants it validated.
    if request.max_age.is_some_and(|max| max == 0 || policy.freshness.age(now) > seconds(max)) {
        return Err(refusal);
    }
    if request.min_fresh.is_some_and(|min| left.unwrap_or_default() < seconds(min)) {
        return Err(refusal);
    }
    match (left, request.max_stale) {
        (Some(_), _) => Ok(()),
        (None, Some(max))
            if !policy.forbids_stale() && policy.freshness.stale_for(now) <= seconds(max) =>
        {
            Ok(())
        }
        (None, _) => Err(Refusal::Stale),
    }
}

const fn seconds(span: u32) -> Duration {
    Duration::from_secs(span as u64)
}

#[cfg(test)]
mod tests {
    use http::header::CACHE_CONTROL;
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::state::Received;

    fn headers(line: &str) -> HeaderMap {
        HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_str(line).unwrap())])
    }

    /// Decides on a response that is `age` seconds old.
    fn decide(response: &str, request: &str, age: u64) -> Result<(), Refusal> {
        let start = Timestamp::from_nanos(1 << 40);
        let received = Received { now: start, unix: Duration::ZERO, delay: Duration::ZERO };
        let policy = Policy::of(&headers(response), received);
        let request = RequestDirectives::read(&headers(request));
        reuse(&policy, &request, false, start.saturating_add(Duration::from_secs(age)))
    }

    #[test]
    fn fresh_is_served_and_stale_is_not() {
        assert_eq!(decide("max-age=60", "", 59), Ok(()));
        assert_eq!(decide("max-age=60", "", 60), Err(Refusal::Stale));
        assert_eq!(decide("max-age=60, no-cache", "", 0), Err(Refusal::Stale));
    }

    #[test]
    fn requests_may_ask_for_fresher() {
        assert_eq!(decide("max-age=60", "no-cache", 1), Err(Refusal::Request));
        assert_eq!(decide("max-age=60", "max-age=10", 10), Ok(()));
        assert_eq!(decide("max-age=60", "max-age=10", 11), Err(Refusal::Request));
        assert_eq!(decide("max-age=60", "max-age=0", 0), Err(Refusal::Request));
        assert_eq!(decide("max-age=60", "min-fresh=20", 40), Ok(()));
        assert_eq!(decide("max-age=60", "min-fresh=20", 41), Err(Refusal::Request));
    }

    #[test]
    fn requests_may_take_stale_unless_the_response_forbids_it() {
        assert_eq!(decide("max-age=60", "max-stale=10", 70), Ok(()));
        assert_eq!(decide("max-age=60", "max-stale=10", 71), Err(Refusal::Stale));
        assert_eq!(decide("max-age=60", "max-stale", 1_000_000), Ok(()));
        for no in ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"] {
            let response = format!("max-age=60, {no}");
            assert_eq!(decide(&response, "max-stale", 61), Err(Refusal::Stale), "{no}");
        }
        assert_eq!(decide("max-age=60", "max-age=65, max-stale", 66), Err(Refusal::Stale));
    }

    proptest! {
        #[test]
        fn without_max_stale_nothing_stale_is_served(
            lifetime in 0_u32..200, age in 0_u64..200, asked in 0_u32..200, fresh in 0_u32..200,
        ) {
            let request = format!("max-age={asked}, min-fresh={fresh}");
            if decide(&format!("max-age={lifetime}"), &request, age).is_ok() {
                prop_assert!(age < lifetime.into());
                prop_assert!(age <= asked.into());
                prop_assert!(u64::from(lifetime) - age >= fresh.into());
            }
        }
    }
}
