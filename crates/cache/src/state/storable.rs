//! Which responses are stored (RFC 9111 §3), and what is remembered of their directives.

use http::header::{ETAG, EXPIRES, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, StatusCode};

use super::{Freshness, Received};
use crate::directives::ResponseDirectives;

/// What a response says about its reuse, read once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) freshness: Freshness,
    pub(crate) directives: ResponseDirectives,
}

impl Policy {
    pub(crate) fn of(headers: &HeaderMap, received: Received) -> Self {
        let directives = ResponseDirectives::read(headers);
        Self { freshness: Freshness::of(headers, &directives, received), directives }
    }

    /// Whether it may answer requests that carry credentials (RFC 9111 §3.5).
    pub(crate) const fn is_for_everyone(&self) -> bool {
        let said = &self.directives;
        said.public || said.must_revalidate || said.s_maxage.is_some()
    }

    /// Whether it may never be served stale (RFC 9111 §4.2.4).
    pub(crate) const fn forbids_stale(&self) -> bool {
        let said = &self.directives;
        said.no_cache || said.must_revalidate || said.proxy_revalidate || said.s_maxage.is_some()
    }
}

/// Whether the response to a GET may be stored, and is of use when stored.
pub(crate) fn is_storable(
    credentials: bool,
    status: StatusCode,
    headers: &HeaderMap,
    policy: &Policy,
    received: Received,
) -> bool {
    let said = &policy.directives;
    // Answers about a range or a precondition are not the resource. The keys of the store do not
    // tell them apart.
    let about_the_resource = !status.is_informational()
        && !matches!(
            status,
            StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
                | StatusCode::PRECONDITION_FAILED
                | StatusCode::RANGE_NOT_SATISFIABLE
        );
    // Explicit freshness only: a cache that guesses surprises its users.
    let stated = said.s_maxage.is_some()
        || said.max_age.is_some()
        || said.no_cache
        || headers.contains_key(EXPIRES);
    let servable = policy.freshness.left(received.now).is_some() && !said.no_cache;

    about_the_resource
        && !said.no_store
        && !said.private
        && !headers.contains_key(SET_COOKIE)
        && (!said.must_understand || is_understood(status))
        && (!credentials || policy.is_for_everyone())
        && stated
        && (servable || has_validator(headers))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bartizan_core::Timestamp;
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn stored(credentials: bool, status: u16, fields: &[(&'static str, &'static str)]) -> bool {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let received = Received {
            now: Timestamp::from_nanos(0),
            unix: Duration::from_secs(784_111_777),
            delay: Duration::ZERO,
        };
        let policy = Policy::of(&headers, received);
        let status = StatusCode::from_u16(status).unwrap();
        is_storable(credentials, status, &headers, &policy, received)
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
        assert!(!stored(false, 200, &[("last-modified", "Sun, 06 Nov 1994 07:49:37 GMT")]));
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
        for no in ["no-store", "private", "PRIVATE", "private=\"x\""] {
            let fields = [("cache-control", no), ("cache-control", "max-age=60, public")];
            assert!(!stored(false, 200, &fields), "{no}");
        }
        let cookie = [("cache-control", "public, max-age=60"), ("set-cookie", "s=A")];
        assert!(!stored(false, 200, &cookie));
    }

    #[test]
    fn answers_to_credentials_need_leave() {
        let yes = |said| stored(true, 200, &[("cache-control", said)]);
        assert!(!yes("max-age=60") && !yes("max-age=60, proxy-revalidate"));
        assert!(yes("max-age=60, public"));
        assert!(yes("max-age=60, must-revalidate"));
        assert!(yes("s-maxage=60"));
        assert!(!yes("s-maxage=60, private"));
    }

    #[test]
    fn statuses_are_kept_apart() {
        let fresh = |status| stored(false, status, &[("cache-control", "max-age=60")]);
        for yes in [200, 204, 299, 301, 404, 410, 499, 503, 599] {
            assert!(fresh(yes), "{yes}");
        }
        for no in [101, 206, 304, 412, 416] {
            assert!(!fresh(no), "{no}");
        }
        let understood =
            |status| stored(false, status, &[("cache-control", "max-age=60, must-understand")]);
        assert!(understood(200) && !understood(299));
    }
}
