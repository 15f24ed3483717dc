//! Whether a stored response may answer a request (RFC 9111 §4, §5.2.1; RFC 5861).

use std::time::Duration;

use bartizan_core::Timestamp;

use super::Policy;
use crate::directives::RequestDirectives;

/// How a stored response is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reuse {
    /// As it is: fresh, or as stale as the request takes it.
    AsItIs,
    /// Stale, while a fresh one is fetched.
    WhileRevalidating,
}

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

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    pub(crate) directives: RequestDirectives,
    pub(crate) credentials: bool,
    pub(crate) now: Timestamp,
}

/// Decides on the reuse of a response that matches the request. `softened` is one that an operator
/// declared stale.
pub(crate) fn reuse(policy: &Policy, demand: &Demand, softened: bool) -> Result<Reuse, Refusal> {
    let Demand { directives: request, credentials, now } = demand;
    // The standard forbids to store answers to credentials, not to answer them from the store; but
    // a page for nobody is the wrong answer to somebody, whatever its `Vary` forgot.
    if *credentials && !policy.for_everyone {
        return Err(Refusal::Credentials);
    }
    if policy.no_cache {
        return Err(Refusal::Stale);
    }
    let left = policy.freshness.left(*now).filter(|_| !softened);
    let refusal = if left.is_some() { Refusal::Request } else { Refusal::Stale };
    if request.no_cache {
        return Err(refusal);
    }
    // Who reloads by `max-age=0` asks for what cannot have changed (RFC 8246 §2).
    let unchanged = policy.immutable && left.is_some();
    let age = policy.freshness.age(*now);
    // No age is greater than 0 at first, but who says 0 wants it validated.
    if request.max_age.is_some_and(|max| max == 0 && !unchanged || max > 0 && age > seconds(max)) {
        return Err(refusal);
    }
    if request.min_fresh.is_some_and(|min| left.unwrap_or_default() < seconds(min)) {
        return Err(refusal);
    }
    if left.is_some() {
        return Ok(Reuse::AsItIs);
    }
    let stale_for = policy.freshness.stale_for(*now);
    if request.max_stale.is_some_and(|max| stale_for <= seconds(max)) && !policy.forbids_stale {
        return Ok(Reuse::AsItIs);
    }
    if !policy.revalidate_grace.is_zero() && stale_for <= policy.revalidate_grace {
        return Ok(Reuse::WhileRevalidating);
    }
    Err(Refusal::Stale)
}

/// Whether a response may answer others than the one that it was asked for.
pub(crate) fn is_for_others(policy: &Policy, now: Timestamp) -> bool {
    let demand = Demand { directives: RequestDirectives::default(), credentials: false, now };
    reuse(policy, &demand, false).is_ok()
}

/// Whether a stale response stands in for an error; `unreachable` if there was no answer at all.
pub(crate) fn stands_in(policy: &Policy, demand: &Demand, unreachable: bool) -> bool {
    if demand.credentials && !policy.for_everyone || demand.directives.no_cache || policy.no_cache {
        return false;
    }
    let stale_for = policy.freshness.stale_for(demand.now);
    let graceful = !policy.error_grace.is_zero() && stale_for <= policy.error_grace;
    graceful || policy.disconnected && unreachable
}

const fn seconds(span: u32) -> Duration {
    Duration::from_secs(span as u64)
}

#[cfg(test)]
mod tests {
    use http::header::CACHE_CONTROL;
    use http::{HeaderMap, HeaderValue, StatusCode};
    use proptest::prelude::*;

    use super::*;
    use crate::Settings;
    use crate::rules::Rules;
    use crate::state::{Answer, Received, assess};

    fn headers(line: &str) -> HeaderMap {
        let etag = (http::header::ETAG, HeaderValue::from_static("\"1\""));
        HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_str(line).unwrap()), etag])
    }

    fn policy(response: &str) -> (Policy, Timestamp) {
        let now = Timestamp::from_nanos(1 << 40);
        let received = Received { now, unix: Duration::ZERO, delay: Duration::ZERO };
        let headers = headers(response);
        let status = StatusCode::OK;
        let answer = Answer { credentials: false, status, headers: &headers, received };
        (assess(answer, &Rules::rfc(), &Settings::default()).unwrap().0, now)
    }

    fn demand(request: &str, now: Timestamp) -> Demand {
        let directives = RequestDirectives::read(&headers(request));
        Demand { directives, credentials: false, now }
    }

    /// Decides on a response that is `age` seconds old.
    fn decide(response: &str, request: &str, age: u64) -> Result<Reuse, Refusal> {
        let (policy, start) = policy(response);
        let now = start.saturating_add(Duration::from_secs(age));
        reuse(&policy, &demand(request, now), false)
    }

    #[test]
    fn fresh_is_served_and_stale_is_not() {
        assert_eq!(decide("max-age=60", "", 59), Ok(Reuse::AsItIs));
        assert_eq!(decide("max-age=60", "", 60), Err(Refusal::Stale));
        assert_eq!(decide("max-age=60, no-cache", "", 0), Err(Refusal::Stale));
    }

    #[test]
    fn requests_may_ask_for_fresher() {
        assert_eq!(decide("max-age=60", "no-cache", 1), Err(Refusal::Request));
        assert_eq!(decide("max-age=60", "max-age=10", 10), Ok(Reuse::AsItIs));
        assert_eq!(decide("max-age=60", "max-age=10", 11), Err(Refusal::Request));
        assert_eq!(decide("max-age=60", "max-age=0", 0), Err(Refusal::Request));
        assert_eq!(decide("max-age=60", "min-fresh=20", 40), Ok(Reuse::AsItIs));
        assert_eq!(decide("max-age=60", "min-fresh=20", 41), Err(Refusal::Request));
    }

    #[test]
    fn what_is_immutable_is_not_validated_by_a_reload_while_fresh() {
        assert_eq!(decide("max-age=60, immutable", "max-age=0", 59), Ok(Reuse::AsItIs));
        assert_eq!(decide("max-age=60, immutable", "max-age=0", 60), Err(Refusal::Stale));
        assert_eq!(decide("max-age=60, immutable", "no-cache", 0), Err(Refusal::Request));
    }

    #[test]
    fn requests_may_take_stale_unless_the_response_forbids_it() {
        assert_eq!(decide("max-age=60", "max-stale=10", 70), Ok(Reuse::AsItIs));
        assert_eq!(decide("max-age=60", "max-stale=10", 71), Err(Refusal::Stale));
        assert_eq!(decide("max-age=60", "max-stale", 1_000_000), Ok(Reuse::AsItIs));
        for no in ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"] {
            let response = format!("max-age=60, {no}");
            assert_eq!(decide(&response, "max-stale", 61), Err(Refusal::Stale), "{no}");
        }
        assert_eq!(decide("max-age=60", "max-age=65, max-stale", 66), Err(Refusal::Stale));
    }

    #[test]
    fn grace_ends_and_is_not_forced_on_who_asks_for_fresh() {
        let said = "max-age=60, stale-while-revalidate=10";
        assert_eq!(decide(said, "", 70), Ok(Reuse::WhileRevalidating));
        assert_eq!(decide(said, "", 71), Err(Refusal::Stale));
        assert_eq!(decide(said, "no-cache", 65), Err(Refusal::Stale));
        assert_eq!(decide(said, "max-age=60", 65), Err(Refusal::Stale));
        assert_eq!(decide("max-age=60", "", 60), Err(Refusal::Stale));
    }

    #[test]
    fn what_an_operator_softened_is_stale() {
        let (policy, now) = policy("max-age=60, stale-while-revalidate=10");
        assert_eq!(reuse(&policy, &demand("", now), true), Ok(Reuse::WhileRevalidating));
    }

    #[test]
    fn stale_stands_in_for_errors_where_it_may() {
        let stands = |response: &str, request: &str, age, unreachable| {
            let (policy, start) = policy(response);
            let now = start.saturating_add(Duration::from_secs(age));
            stands_in(&policy, &demand(request, now), unreachable)
        };
        assert!(stands("max-age=2, stale-if-error=60", "", 62, false));
        assert!(!stands("max-age=2, stale-if-error=60", "", 63, false));
        assert!(!stands("max-age=2, stale-if-error=60", "no-cache", 3, false));
        assert!(!stands("max-age=2", "", 3, false));
        assert!(stands("max-age=2", "", 3, true));
        for no in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=2"] {
            let response = format!("max-age=2, {no}, stale-if-error=60");
            assert!(!stands(&response, "", 3, true), "{no}");
        }
    }

    proptest! {
        #[test]
        fn without_leave_nothing_stale_is_served(
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
