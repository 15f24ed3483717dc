//! Answers from the store.

use bartizan_core::Timestamp;
use bytes::Bytes;
use http::header::RANGE;
use http::{HeaderMap, HeaderValue, Response};

use crate::entry::Entry;
use crate::range::{self, Selected};
use crate::validate;

/// The stored response as the answer to a request. `None` if the request asks for a part that is
/// not there, or for the whole of which there is a part.
#[inline]
pub(crate) fn serve(
    entry: &Entry,
    request: &HeaderMap,
    head: bool,
    now: Timestamp,
    line: Option<HeaderValue>,
) -> Option<Response<Bytes>> {
    let asks_range = !head && request.contains_key(RANGE);
    if entry.part.is_some() && !asks_range {
        return None;
    }
    let mut response = entry.head.respond(now, line);
    // Preconditions go before ranges (RFC 9110 §13.2.2).
    if validate::is_not_modified(request, &entry.head) {
        validate::into_not_modified(&mut response);
        return Some(response.map(|()| Bytes::new()));
    }
    if head {
        return Some(response.map(|()| Bytes::new()));
    }
    if asks_range {
        return match range::select(entry, request, response) {
            Selected::Part(part) => Some(part),
            Selected::Missing => None,
            Selected::Whole(head) => Some(head.map(|()| entry.body.clone())),
        };
    }
    Some(response.map(|()| entry.body.clone()))
}
