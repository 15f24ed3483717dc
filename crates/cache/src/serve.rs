//! Answers from the store.

use bartizan_core::Timestamp;
use bytes::Bytes;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, Response};

use crate::entry::Entry;
use crate::head::Line;
use crate::range::{self, Selected};
use crate::seen::Seen;
use crate::validate;

/// How a request asks for a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asks {
    /// Whether for its head only.
    pub(crate) head: bool,
    pub(crate) seen: Seen,
}

impl Asks {
    /// A GET with these fields.
    pub(crate) fn get(headers: &HeaderMap) -> Self {
        let has = |name| headers.contains_key(name);
        let conditions = has(IF_NONE_MATCH) || has(IF_MODIFIED_SINCE);
        let seen = Seen { conditions, range: has(RANGE), ..Seen::default() };
        Self { head: false, seen }
    }
}

/// The stored response as the answer to a request. `None` if the request asks for a part that is
/// not there, or for the whole of which there is a part.
#[inline]
pub(crate) fn serve(
    entry: &Entry,
    request: &HeaderMap,
    asks: Asks,
    now: Timestamp,
    line: Line<'_>,
) -> Option<Response<Bytes>> {
    let asks_range = !asks.head && asks.seen.range;
    if entry.part.is_some() && !asks_range {
        return None;
    }
    // Preconditions go before ranges (RFC 9110 §13.2.2).
    if asks.seen.conditions && validate::is_not_modified(request, &entry.head) {
        return Some(entry.head.not_modified(now, line).map(|()| Bytes::new()));
    }
    let response = entry.head.respond(now, line);
    if asks.head {
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
