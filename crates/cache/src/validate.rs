//! Conditional requests (RFC 9110 §13, RFC 9111 §4.3): the client's, answered from the store, and
//! our own.

use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{HeaderMap, Response, StatusCode};

use crate::entry::Entry;
use crate::head::Head;
use crate::state;

/// Makes an answer's head into the `304 Not Modified` for it (RFC 9110 §15.4.5).
pub(crate) fn into_not_modified(response: &mut Response<()>) {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    without_content(response.headers_mut());
}

/// Removes the fields that a `304 Not Modified` does not repeat.
pub(crate) fn without_content(headers: &mut HeaderMap) {
    for name in [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE] {
        headers.remove(name);
    }
}

/// Whether the client has the stored response already. The tag goes before the date
/// (RFC 9110 §13.2.2).
#[inline]
pub(crate) fn is_not_modified(request: &HeaderMap, head: &Head) -> bool {
    matches!(head.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT)
        && has_it(request, &head.headers)
}

/// Whether the conditions say that the client has a response with these fields already.
pub(crate) fn has_it(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        let stored = stored.get(ETAG).map(|etag| opaque(etag.as_bytes()));
        return request.get_all(IF_NONE_MATCH).iter().any(|line| {
            line == "*"
                || tags(line.as_bytes()).any(|tag| stored.is_some_and(|stored| tag == stored))
        });
    }
    let Some(since) = state::date(request, IF_MODIFIED_SINCE) else { return false };
    // Without a date of modification the response's own is the latest that it can be.
    let modified = if stored.contains_key(LAST_MODIFIED) { LAST_MODIFIED } else { DATE };
    state::date(stored, modified).is_some_and(|modified| modified <= since)
}

/// Whether the stored response can be validated.
pub(crate) fn can_validate(head: &Head) -> bool {
    head.headers.contains_key(LAST_MODIFIED) || head.headers.contains_key(ETAG) && !head.own_etag
}

/// Asks the service whether the stored response still holds, in place of what the client asked.
pub(crate) fn ask(request: &mut HeaderMap, entry: &Entry) {
    for (condition, validator) in [(IF_NONE_MATCH, ETAG), (IF_MODIFIED_SINCE, LAST_MODIFIED)] {
        // The service does not know a tag that is ours.
        let is_ours = entry.head.own_etag && validator == ETAG;
        match entry.head.headers.get(validator).filter(|_| !is_ours) {
            Some(value) => request.insert(condition, value.clone()),
            None => request.remove(condition),
        };
    }
}

/// Asks the service for all of it, whatever the client has.
pub(crate) fn ask_for_all(request: &mut HeaderMap) {
    request.remove(IF_NONE_MATCH);
    request.remove(IF_MODIFIED_SINCE);
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
    use proptest::prelude::*;

    use super::*;
    use crate::entry::tests::headers;

    fn entry(fields: &[(&'static str, &'static str)]) -> Entry {
        let fresh = ("cache-control", "max-age=60");
        crate::entry::tests::entry(200, &[&[fresh], fields].concat(), "")
    }

    #[test]
    fn tags_are_compared_weakly_and_before_dates() {
        let old = ("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT");
        let stored = entry(&[("etag", "W/\"a,b\""), old]);
        let matches = |value| is_not_modified(&headers(&[("if-none-match", value)]), &stored.head);
        for yes in ["\"a,b\"", "W/\"a,b\"", "\"x\", W/\"a,b\"", "*", "\"x\",\"a,b\""] {
            assert!(matches(yes), "{yes}");
        }
        for no in ["\"a\"", "a,b", "\"a,b", "", "\"A,b\""] {
            assert!(!matches(no), "{no}");
        }
        let both = [("if-none-match", "\"x\""), ("if-modified-since", old.1)];
        assert!(!is_not_modified(&headers(&both), &stored.head));
    }

    #[test]
    fn dates_are_compared_and_our_own_stands_in() {
        let since = |date| headers(&[("if-modified-since", date)]);
        let stored = entry(&[("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT")]);
        assert!(is_not_modified(&since("Sun, 06 Nov 1994 08:00:00 GMT"), &stored.head));
        assert!(!is_not_modified(&since("Sun, 06 Nov 1994 07:59:59 GMT"), &stored.head));
        assert!(!is_not_modified(&since("tomorrow"), &stored.head));
        assert!(is_not_modified(&since("Sun, 06 Nov 1994 08:49:37 GMT"), &entry(&[]).head));
        assert!(!is_not_modified(&since("Sun, 06 Nov 1994 08:49:36 GMT"), &entry(&[]).head));
    }

    #[test]
    fn our_question_takes_the_place_of_the_clients() {
        let mut request = headers(&[("if-none-match", "\"old\""), ("if-modified-since", "x")]);
        ask(&mut request, &entry(&[("etag", "\"1\"")]));
        assert_eq!(request, headers(&[("if-none-match", "\"1\"")]));
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
