//! Which responses are stored (RFC 9111 §3), and what is remembered of their directives.

use std::time::Duration;

use bartizan_core::Timestamp;
use http::header::{ETAG, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, HeaderName, StatusCode};

use super::{Freshness, Received, date};
use crate::directives::{self, ResponseDirectives};
use crate::rules::{Rules, SetCookie};
use crate::{Settings, targeted};

/// A guess is a tenth of the time since the last change (RFC 9111 §4.2.2), a day at most.
const GUESS: u32 = 10;
const MAX_GUESS: Duration = Duration::from_secs(24 * 60 * 60);

/// What a response says about its reuse, decided once when it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) freshness: Freshness,
    /// For how long it may be served stale while a fresh one is fetched.
    pub(crate) revalidate_grace: Duration,
    /// For how long it may stand in for an error.
    pub(crate) error_grace: Duration,
    /// Whether it may stand in, for however long, if the service cannot be reached.
    pub(crate) disconnected: bool,
    /// Whether it is validated each time.
    pub(crate) no_cache: bool,
    /// Whether it may never be served stale (RFC 9111 §4.2.4).
    pub(crate) forbids_stale: bool,
    /// Whether it does not change while it is fresh (RFC 8246).
    pub(crate) immutable: bool,
    /// Whether it may answer requests that carry credentials (RFC 9111 §3.5).
    pub(crate) for_everyone: bool,
}

impl Policy {
    /// Whether it may be served without being validated.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        !self.no_cache && self.freshness.left(now).is_some()
    }

    /// Whether such a response answers others at least for a moment: if not, nobody waits for the
    /// next one.
    pub(crate) const fn is_ever_for_others(&self) -> bool {
        let span = self.freshness.lifetime().saturating_add(self.revalidate_grace);
        !self.no_cache && !span.is_zero()
    }
}

/// The response to be judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    /// Whether the request carried credentials.
    pub(crate) credentials: bool,
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) received: Received,
}

/// The policy of a response that may be stored and is of use when stored, and the fields that it
/// is stored without.
pub(crate) fn assess(
    answer: Answer<'_>,
    rules: &Rules,
    settings: &Settings,
) -> Option<(Policy, Vec<HeaderName>)> {
    let Answer { credentials, status, headers, received } = answer;
    let targeted = targeted::read(headers, &rules.targeted);
    // A field that speaks to this cache takes the place of those that speak to all (RFC 9213 §2.1).
    let expires = targeted.is_none();
    let (said, mut withheld) = targeted.unwrap_or_else(|| {
        let said = ResponseDirectives::read(headers);
        let withheld = if said.withholds { directives::withheld(headers) } else { Vec::new() };
        (said, withheld)
    });
    if headers.contains_key(SET_COOKIE) {
        match rules.set_cookie {
            SetCookie::Refuse => return None,
            SetCookie::Store => {}
            SetCookie::Strip => withheld.push(SET_COOKIE),
        }
    }
    let for_everyone =
        said.public || rules.letter && (said.must_revalidate || said.s_maxage.is_some());
    // Whoever understands the status may pass over `no-store` (RFC 9111 §5.2.2.3).
    let no_store = if said.must_understand { !is_understood(status) } else { said.no_store };
    if !is_about_the_resource(status) || no_store || said.private || credentials && !for_everyone {
        return None;
    }
    let (freshness, has_lifetime) = Freshness::of(headers, &said, expires, received, |date| {
        settings.ttl(status.as_u16()).or_else(|| guess(rules, status, &said, headers, date))
    });
    // Explicit freshness only, unless told: a cache that guesses surprises its users.
    let may_guess = rules.heuristics && (said.public || is_cacheable_by_default(status));
    if !has_lifetime && !said.no_cache && !may_guess {
        return None;
    }
    let forbidden = said.no_cache || said.must_revalidate || said.proxy_revalidate;
    let shared_span = said.s_maxage.is_some();
    // `s-maxage` implies `proxy-revalidate`; a grace that stands beside it speaks for itself.
    let forbids_stale = forbidden || shared_span;
    let grace = |said: Option<u32>, configured: Duration| match said {
        _ if forbidden || shared_span && rules.letter => Duration::ZERO,
        Some(seconds) => Duration::from_secs(seconds.into()),
        None if shared_span => Duration::ZERO,
        None => configured,
    };
    let policy = Policy {
        freshness,
        revalidate_grace: grace(said.stale_while_revalidate, settings.grace_to_revalidate()),
        error_grace: grace(said.stale_if_error, settings.grace_on_error()),
        disconnected: rules.disconnected && !forbids_stale,
        no_cache: said.no_cache,
        forbids_stale,
        immutable: said.immutable,
        for_everyone,
    };
    let fresh = freshness.left(received.now).is_some() && !said.no_cache;
    let graceful = !policy.revalidate_grace.is_zero() || !policy.error_grace.is_zero();
    (fresh || graceful || has_validator(headers)).then_some((policy, withheld))
}

fn guess(
    rules: &Rules,
    status: StatusCode,
    said: &ResponseDirectives,
    headers: &HeaderMap,
    generated: Duration,
) -> Option<Duration> {
    if !rules.heuristics || said.no_cache || !(said.public || is_cacheable_by_default(status)) {
        return None;
    }
    let modified = date(headers, LAST_MODIFIED)?;
    Some((generated.saturating_sub(modified) / GUESS).min(MAX_GUESS))
}

/// Answers about a precondition or a range that is not there are not the resource.
fn is_about_the_resource(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(
            status,
            StatusCode::NOT_MODIFIED
                | StatusCode::PRECONDITION_FAILED
                | StatusCode::RANGE_NOT_SATISFIABLE
        )
}

/// Whether a stored response can be validated.
pub(crate) fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED)
}

/// The final statuses of RFC 9110 whose requirements on caches are kept here.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 302 | 303 | 307 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// RFC 9110 §15.1.
fn is_cacheable_by_default(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

#[cfg(test)]
mod tests {
    use bartizan_core::Timestamp;
    use http::{HeaderName, HeaderValue};

    use super::*;

    const MODIFIED: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 07:49:37 GMT");

    fn policy(
        rules: &Rules,
        settings: &Settings,
        credentials: bool,
        status: u16,
        fields: &[(&'static str, &'static str)],
    ) -> Option<Policy> {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let received = Received {
            now: Timestamp::from_nanos(0),
            unix: Duration::from_secs(784_111_777),
            delay: Duration::ZERO,
        };
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { credentials, status, headers: &headers, received };
        assess(answer, rules, settings).map(|(policy, _)| policy)
    }

    fn stored(credentials: bool, status: u16, fields: &[(&'static str, &'static str)]) -> bool {
        policy(&Rules::safe(), &Settings::default(), credentials, status, fields).is_some()
    }

    fn by_letter(credentials: bool, status: u16, fields: &[(&'static str, &'static str)]) -> bool {
        policy(&Rules::rfc(), &Settings::default(), credentials, status, fields).is_some()
    }

    fn with(cache_control: &'static str) -> bool {
        stored(false, 200, &[("cache-control", cache_control)])
    }

    #[test]
    fn only_what_states_its_freshness_is_stored() {
        assert!(with("max-age=60") && with("s-maxage=60"));
        assert!(stored(false, 200, &[("expires", "Sun, 06 Nov 1994 09:49:37 GMT")]));
        assert!(!stored(false, 200, &[]));
        assert!(!with("public"));
        assert!(!stored(false, 200, &[MODIFIED]));
    }

    #[test]
    fn a_guess_is_a_tenth_of_the_time_since_the_last_change() {
        let ttl = |fields: &[_], status| {
            policy(&Rules::rfc(), &Settings::default(), false, status, fields)
                .map(|policy| policy.freshness.lifetime().as_secs())
        };
        assert_eq!(ttl(&[MODIFIED], 200), Some(360));
        assert_eq!(ttl(&[MODIFIED], 599), None);
        assert_eq!(ttl(&[MODIFIED, ("cache-control", "public")], 599), Some(360));
        assert_eq!(ttl(&[("last-modified", "Sun, 06 Nov 1904 07:49:37 GMT")], 200), Some(0));
        assert_eq!(ttl(&[("last-modified", "Sat, 06 Nov 1971 07:49:37 GMT")], 200), Some(86_400));
        assert_eq!(ttl(&[], 200), None);
    }

    #[test]
    fn a_default_and_a_ttl_by_status_stand_in_for_what_is_not_said() {
        let settings = Settings::default()
            .default_ttl(Duration::from_secs(5))
            .status_ttl(404, Duration::from_secs(7));
        let ttl = |status, fields: &[_]| {
            policy(&Rules::safe(), &settings, false, status, fields)
                .map(|policy| policy.freshness.lifetime().as_secs())
        };
        assert_eq!(ttl(200, &[]), Some(5));
        assert_eq!(ttl(404, &[]), Some(7));
        assert_eq!(ttl(500, &[]), None);
        assert_eq!(ttl(404, &[("cache-control", "max-age=1")]), Some(1));
        assert_eq!(ttl(404, &[("cache-control", "no-store")]), None);
        assert_eq!(ttl(200, &[("set-cookie", "s=A")]), None);
    }

    #[test]
    fn what_can_only_be_validated_needs_a_validator() {
        for only_validated in ["no-cache", "max-age=0", "no-cache, max-age=60"] {
            assert!(!with(only_validated), "{only_validated}");
            let fields = [("cache-control", only_validated), ("etag", "\"1\"")];
            assert!(stored(false, 200, &fields), "{only_validated}");
        }
        assert!(!stored(false, 200, &[("cache-control", "max-age=60"), ("age", "60")]));
    }

    #[test]
    fn what_is_not_for_others_is_never_stored() {
        for no in ["no-store", "private", "PRIVATE", "private=\"a b\""] {
            let fields = [("cache-control", no), ("cache-control", "max-age=60, public")];
            assert!(!stored(false, 200, &fields), "{no}");
        }
        let cookie = [("cache-control", "public, max-age=60"), ("set-cookie", "s=A")];
        assert!(!stored(false, 200, &cookie));
        assert!(by_letter(false, 200, &cookie));
    }

    #[test]
    fn answers_to_credentials_need_leave() {
        for (said, safe, letter) in [
            ("max-age=60", false, false),
            ("max-age=60, proxy-revalidate", false, false),
            ("max-age=60, public", true, true),
            ("max-age=60, must-revalidate", false, true),
            ("s-maxage=60", false, true),
            ("s-maxage=60, private", false, false),
        ] {
            assert_eq!(stored(true, 200, &[("cache-control", said)]), safe, "{said}");
            assert_eq!(by_letter(true, 200, &[("cache-control", said)]), letter, "{said}");
        }
    }

    #[test]
    fn statuses_are_kept_apart() {
        let fresh = |status| stored(false, status, &[("cache-control", "max-age=60")]);
        for yes in [200, 204, 206, 299, 301, 404, 410, 499, 503, 599] {
            assert!(fresh(yes), "{yes}");
        }
        for no in [101, 304, 412, 416] {
            assert!(!fresh(no), "{no}");
        }
        let understood = |status| {
            stored(false, status, &[("cache-control", "max-age=60, no-store, must-understand")])
        };
        assert!(understood(200) && !understood(299));
    }

    #[test]
    fn grace_is_what_the_response_says_or_else_what_is_configured() {
        let settings = Settings::default().stale_while_revalidate(Duration::from_secs(9));
        let grace = |rules: &Rules, said| {
            policy(rules, &settings, false, 200, &[("cache-control", said)])
                .unwrap()
                .revalidate_grace
                .as_secs()
        };
        let (safe, rfc) = (Rules::safe(), Rules::rfc());
        assert_eq!(grace(&safe, "max-age=1"), 9);
        assert_eq!(grace(&safe, "max-age=1, stale-while-revalidate=3"), 3);
        assert_eq!(grace(&safe, "max-age=1, stale-while-revalidate=3, must-revalidate"), 0);
        assert_eq!(grace(&safe, "s-maxage=1"), 0);
        assert_eq!(grace(&safe, "s-maxage=1, stale-while-revalidate=3"), 3);
        assert_eq!(grace(&rfc, "s-maxage=1, stale-while-revalidate=3"), 0);
    }

    #[test]
    fn a_targeted_field_takes_the_place_of_the_others() {
        let expires = ("expires", "Sun, 06 Nov 1994 09:49:37 GMT");
        let lifetime = |fields: &[_]| {
            policy(&Rules::rfc(), &Settings::default(), false, 200, fields)
                .map(|policy| policy.freshness.lifetime().as_secs())
        };
        let cdn = |said| ("cdn-cache-control", said);
        assert_eq!(lifetime(&[cdn("max-age=5"), ("cache-control", "no-store"), expires]), Some(5));
        assert_eq!(lifetime(&[cdn("no-store"), ("cache-control", "max-age=5")]), None);
        assert_eq!(lifetime(&[cdn("private"), expires]), None);
        assert_eq!(lifetime(&[cdn("&&&"), ("cache-control", "max-age=5")]), Some(5));
        assert_eq!(lifetime(&[cdn("max-age=\"5\""), ("cache-control", "no-store")]), None);
        assert!(!stored(false, 200, &[cdn("max-age=5")]), "nobody told the safe preset to listen");
    }
}
