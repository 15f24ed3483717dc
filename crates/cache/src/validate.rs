//! Conditional requests (RFC 9110 §13, RFC 9111 §4.3): the client's, answered from the store, and
//! our own.

use http::header::{
    CONTENT_LENGTH, DATE, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, StatusCode};

use crate::entry::Entry;
use crate::state;

/// Whether the request is for the service alone: a range, a precondition that caches must not
/// judge, another protocol, or a body that no key speaks of.
pub(crate) fn is_for_the_service(request: &HeaderMap) -> bool {
    [RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, UPGRADE, TRANSFER_ENCODING]
        .iter()
        .any(|name| request.contains_key(name))
        || request.get_all(CONTENT_LENGTH).iter().any(|length| length != "0")
}

/// Whether the client has the stored response already.
pub(crate) fn is_not_modified(request: &HeaderMap, entry: &Entry) -> bool {
    if entry.status != StatusCode::OK {
        return false;
    }
    if request.contains_key(IF_NONE_MATCH) {
        let stored = entry.headers.get(ETAG).map(|etag| opaque(etag.as_bytes()));
        return request.get_all(IF_NONE_MATCH).iter().any(|line| {
            line == "*"
                || tags(line.as_bytes()).any(|tag| stored.is_some_and(|stored| tag == stored))
        });
    }
    let Some(since) = state::date(request, IF_MODIFIED_SINCE) else { return false };
    // Without a date of modification the response's own is the latest that it can be.
    let modified = if entry.headers.contains_key(LAST_MODIFIED) { LAST_MODIFIED } else { DATE };
    state::date(&entry.headers, modified).is_some_and(|modified| modified <= since)
}

/// Whether the stored response can be validated.
pub(crate) fn can_validate(entry: &Entry) -> bool {
    state::has_validator(&entry.headers)
}

/// Asks the service whether the stored response still holds, in place of what the client asked.
pub(crate) fn ask(request: &mut HeaderMap, entry: &Entry) {
    for (condition, validator) in [(IF_NONE_MATCH, ETAG), (IF_MODIFIED_SINCE, LAST_MODIFIED)] {
        match entry.headers.get(validator) {
            Some(value) => request.insert(condition, value.clone()),
            None => request.remove(condition),
        };
    }
}

/// Whether a `304 Not Modified` speaks of the stored response: a strong validator that differs
/// says that it does not (RFC 9111 §4.3.4).
pub(crate) fn confirms(not_modified: &HeaderMap, entry: &Entry) -> bool {
    match (not_modified.get(ETAG), entry.headers.get(ETAG)) {
        (Some(new), Some(old)) => opaque(new.as_bytes()) == opaque(old.as_bytes()),
        (Some(new), None) => new.as_bytes().starts_with(b"W/"),
        (None, _) => true,
    }
}

/// The tag without its mark of weakness: the weak comparison is by this.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The opaque parts of a list of tags. A tag has no escapes, but may hold commas.
fn tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|byte| *byte == b'"')?;
        let len = rest[start + 1..].iter().position(|byte| *byte == b'"')? + 2;
        let tag = &rest[start..start + len];
        rest = &rest[start + len..];
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bartizan_core::Timestamp;
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::entry::Draft;
    use crate::state::Received;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn entry(fields: &[(&'static str, &'static str)]) -> Entry {
        let received = Received {
            now: Timestamp::from_nanos(0),
            unix: Duration::from_secs(784_111_777),
            delay: Duration::ZERO,
        };
        let mut headers = headers(fields);
        headers.insert("cache-control", HeaderValue::from_static("max-age=60"));
        Draft::of(&HeaderMap::new(), false, StatusCode::OK, &headers, received)
            .unwrap()
            .complete(Bytes::new())
    }

    #[test]
    fn tags_are_compared_weakly_and_before_dates() {
        let old = ("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT");
        let stored = entry(&[("etag", "W/\"a,b\""), old]);
        let matches = |value| is_not_modified(&headers(&[("if-none-match", value)]), &stored);
        for yes in ["\"a,b\"", "W/\"a,b\"", "\"x\", W/\"a,b\"", "*", "\"x\",\"a,b\""] {
            assert!(matches(yes), "{yes}");
        }
        for no in ["\"a\"", "a,b", "\"a,b", "", "\"A,b\""] {
            assert!(!matches(no), "{no}");
        }
        let both = [("if-none-match", "\"x\""), ("if-modified-since", old.1)];
        assert!(!is_not_modified(&headers(&both), &stored));
    }

    #[test]
    fn dates_are_compared_and_our_own_stands_in() {
        let since = |date| headers(&[("if-modified-since", date)]);
        let stored = entry(&[("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT")]);
        assert!(is_not_modified(&since("Sun, 06 Nov 1994 08:00:00 GMT"), &stored));
        assert!(!is_not_modified(&since("Sun, 06 Nov 1994 07:59:59 GMT"), &stored));
        assert!(!is_not_modified(&since("tomorrow"), &stored));
        assert!(is_not_modified(&since("Sun, 06 Nov 1994 08:49:37 GMT"), &entry(&[])));
        assert!(!is_not_modified(&since("Sun, 06 Nov 1994 08:49:36 GMT"), &entry(&[])));
    }

    #[test]
    fn our_question_takes_the_place_of_the_clients() {
        let mut request = headers(&[("if-none-match", "\"old\""), ("if-modified-since", "x")]);
        ask(&mut request, &entry(&[("etag", "\"1\"")]));
        assert_eq!(request, headers(&[("if-none-match", "\"1\"")]));
        assert!(confirms(&headers(&[("etag", "W/\"1\"")]), &entry(&[("etag", "\"1\"")])));
        assert!(!confirms(&headers(&[("etag", "\"2\"")]), &entry(&[("etag", "\"1\"")])));
    }

    proptest! {
        #[test]
        fn any_list_of_tags_is_read(line in prop::collection::vec(any::<u8>(), 0..60)) {
            for tag in tags(&line) {
                prop_assert!(tag.len() >= 2 && tag.starts_with(b"\"") && tag.ends_with(b"\""));
            }
        }
    }
}
