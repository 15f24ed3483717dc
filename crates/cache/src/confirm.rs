//! What is done when the service confirms what is stored (RFC 9111 §4.3.4).

use std::sync::Arc;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Response, response};

use crate::entry::Entry;
use crate::exchange::mark_unshared;
use crate::fields;
use crate::flight::{Flight, Stage};
use crate::head::Head;
use crate::rules::SetCookie;
use crate::serve::{Asks, serve};
use crate::state;
use crate::status::Notes;

/// The answer to a client whose service confirmed `entry` by a `304 Not Modified`, and what that is to
/// those who wait.
pub(crate) fn confirmed(
    flight: &Flight,
    entry: &Arc<Entry>,
    mut parts: response::Parts,
) -> (Response<Bytes>, Stage) {
    let fetch = &flight.fetch;
    let cache = &fetch.cache;
    cache.counts().validation(true);
    let received = fetch.received();
    // For this client, unless told otherwise.
    let cookies = match fetch.rules.set_cookie {
        SetCookie::Store => Vec::new(),
        SetCookie::Refuse | SetCookie::Strip => fields::take_cookies(&mut parts.headers),
    };
    let headers = entry.head.freshened(&parts.headers, received);
    let head = fetch.head(entry.head.status, &headers, received, None);
    let renewed = |head: Head| {
        let (head, body) = (Arc::new(head), entry.body.clone());
        match entry.part {
            None => Entry::whole(head, body, fetch.position, fetch.settings.makes_etags()),
            part => Entry::new(head, body, part, fetch.position),
        }
    };
    let for_others =
        head.as_ref().is_some_and(|head| state::is_for_others(&head.policy, received.now));
    if !for_others {
        mark_unshared(flight);
    }
    let stored = match head {
        Some(head) if fetch.may_store() => fetch.put(renewed(head), fetch.epoch, true),
        _ => None,
    };
    if stored.is_none() && fetch.may_store() {
        cache.remove_entry(fetch.keyed.key, entry);
    }
    let notes = Notes { fwd_status: Some(304), stored: stored.is_some(), ..Notes::default() };
    let line = fetch.line(notes);
    // What is not kept is told all the same.
    let told = match &stored {
        Some(stored) => Arc::clone(stored),
        None => Arc::new(renewed(entry.head.told(headers, received))),
    };
    let (request, asks) = (&fetch.request, Asks::get(&fetch.request));
    let answer = |entry| serve(entry, request, asks, received.now, line.as_ref().into());
    // What the service added may take a part away from an `If-Range`, not from what was asked about.
    let mut response = answer(&told)
        .or_else(|| answer(entry))
        .expect("only what answers the request is validated");
    *response.extensions_mut() = parts.extensions;
    cookies.into_iter().for_each(|cookie| {
        response.headers_mut().append(SET_COOKIE, cookie);
    });
    (response, stored.filter(|_| for_others).map_or(Stage::Unshared, Stage::Served))
}
