//! What fields a request has, in one look: most requests have few of those that matter here.

use http::HeaderMap;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, COOKIE, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_UNMODIFIED_SINCE, PRAGMA, RANGE, TRANSFER_ENCODING, UPGRADE,
};

use crate::KeyRules;
use crate::rules::Rules;

/// The fields of a request that decide how it is answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Seen {
    pub(crate) authorization: bool,
    pub(crate) cookie: bool,
    /// `Cache-Control` or `Pragma`.
    pub(crate) directives: bool,
    /// `If-None-Match` or `If-Modified-Since`.
    pub(crate) conditions: bool,
    pub(crate) range: bool,
    /// Whether the service may be steered past the key by a field.
    pub(crate) steering: bool,
    /// Why it is for the service alone, if it is: a precondition that caches must not judge
    /// (RFC 9111 §4.3.2), another protocol, a body that no key speaks of, or a field that steers.
    pub(crate) bypass: Option<&'static str>,
}

impl Seen {
    #[inline]
    pub(crate) fn of(headers: &HeaderMap, rules: &Rules, keys: &KeyRules) -> Self {
        let mut seen = Self::default();
        for name in headers.keys() {
            match *name {
                AUTHORIZATION => seen.authorization = true,
                COOKIE => seen.cookie = true,
                CACHE_CONTROL | PRAGMA => seen.directives = true,
                IF_NONE_MATCH | IF_MODIFIED_SINCE => seen.conditions = true,
                RANGE => seen.range = true,
                TRANSFER_ENCODING => seen.bypass = Some("body"),
                CONTENT_LENGTH if headers.get_all(name).iter().any(|length| length != "0") => {
                    seen.bypass = Some("body");
                }
                IF_MATCH | IF_UNMODIFIED_SINCE => seen.bypass = Some("precondition"),
                UPGRADE => seen.bypass = Some("upgrade"),
                _ if rules.is_steering(name) && !keys.has_header(name) => seen.steering = true,
                _ => {}
            }
        }
        if seen.steering {
            seen.bypass = Some("steering-field");
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::headers;

    #[test]
    fn every_steering_field_is_seen() {
        let (rules, keys) = (Rules::safe(), KeyRules::default());
        for name in &rules.steering {
            let headers = HeaderMap::from_iter([(name.clone(), "x".parse().unwrap())]);
            assert_eq!(Seen::of(&headers, &rules, &keys).bypass, Some("steering-field"), "{name}");
            let keyed = KeyRules::default().header(name.clone());
            assert_eq!(Seen::of(&headers, &rules, &keyed).bypass, None, "{name}");
        }
        assert_eq!(Seen::of(&HeaderMap::new(), &rules, &keys), Seen::default());
        let mut rules = rules;
        let own = headers(&[("cdn-host", "x")]);
        assert_eq!(Seen::of(&own, &rules, &keys).bypass, None);
        rules.distrust("cdn-host".parse().unwrap());
        assert_eq!(Seen::of(&own, &rules, &keys).bypass, Some("steering-field"));
    }

    #[test]
    fn what_is_for_the_service_is_told_why() {
        let bypass = |name, value| {
            Seen::of(&headers(&[(name, value)]), &Rules::safe(), &KeyRules::default()).bypass
        };
        for (name, value, why) in [
            ("transfer-encoding", "chunked", Some("body")),
            ("content-length", "5", Some("body")),
            ("content-length", "0", None),
            ("if-match", "*", Some("precondition")),
            ("if-unmodified-since", "x", Some("precondition")),
            ("upgrade", "websocket", Some("upgrade")),
            ("if-none-match", "\"1\"", None),
            ("x-request-id", "1", None),
        ] {
            assert_eq!(bypass(name, value), why, "{name}");
        }
    }
}
