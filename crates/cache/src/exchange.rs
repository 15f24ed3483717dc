//! What is done with the service's answer to a request that was forwarded.

use std::sync::Arc;

use bartizan_core::{Key, Timestamp};
use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderMap, Response, StatusCode, response};
use http_body::Body;

use crate::entry::{self, Draft, Entry};
use crate::fill::{Fill, Slot};
use crate::invalidate::Site;
use crate::state::Received;
use crate::status::Forward;
use crate::{CacheBody, ResponseCache, validate};

/// A request that was forwarded.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) cache: ResponseCache,
    /// Whether the answer says in `Cache-Status` what happened.
    pub(crate) annotate: bool,
    pub(crate) reason: Forward,
    pub(crate) task: Task,
}

/// What the answer is for beside the client.
#[derive(Debug)]
pub(crate) enum Task {
    /// The answer to a GET may be stored. Boxed: misses are seldom, and long.
    Fetch(Box<Fetch>),
    /// The request may have changed its target and what the answer refers to.
    Invalidate {
        site: Site,
        partition: Key,
    },
    Nothing,
}

/// A GET that was forwarded.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) slot: Slot,
    pub(crate) credentials: bool,
    pub(crate) sent: Timestamp,
    /// What the service was asked to confirm.
    pub(crate) validating: Option<Arc<Entry>>,
    /// The stored response that is no longer true if the service has another one.
    pub(crate) stale: Option<Arc<Entry>>,
}

impl Exchange {
    pub(crate) fn conclude<B: Body<Data = Bytes>>(
        self,
        response: Response<B>,
    ) -> Response<CacheBody<B>> {
        match self.task {
            Task::Nothing => {
                let stored = false;
                let mut response = response.map(CacheBody::passed);
                if self.annotate {
                    self.cache.status().forwarded(response.headers_mut(), self.reason, stored);
                }
                response
            }
            Task::Invalidate { ref site, partition } => {
                // An error changed nothing (RFC 9111 §4.4).
                if response.status().is_success() || response.status().is_redirection() {
                    site.invalid(response.headers(), |key| {
                        self.cache.invalidate_key(key.and(partition));
                    });
                }
                Self { task: Task::Nothing, ..self }.conclude(response)
            }
            Task::Fetch(fetch) => {
                let Self { cache, annotate, reason, .. } = self;
                let (parts, body) = response.into_parts();
                match &fetch.validating {
                    Some(entry) if parts.status == StatusCode::NOT_MODIFIED => {
                        let entry = Arc::clone(entry);
                        let (mut response, stored) = fetch.confirmed(&cache, &entry, parts);
                        if annotate {
                            let headers = response.headers_mut();
                            cache.status().validated(headers, reason, stored);
                        }
                        response.map(CacheBody::stored)
                    }
                    _ => {
                        let (mut response, stored) = fetch.fetched(&cache, parts, body);
                        if annotate {
                            cache.status().forwarded(response.headers_mut(), reason, stored);
                        }
                        response
                    }
                }
            }
        }
    }
}

impl Fetch {
    fn received(&self, cache: &ResponseCache) -> Received {
        let now = cache.now();
        Received { now, unix: cache.unix(), delay: now.saturating_since(self.sent) }
    }

    /// The service sent a response of its own.
    fn fetched<B: Body<Data = Bytes>>(
        self,
        cache: &ResponseCache,
        parts: response::Parts,
        body: B,
    ) -> (Response<CacheBody<B>>, bool) {
        let received = self.received(cache);
        let Self { slot, credentials, validating, stale, .. } = self;
        if validating.is_some() {
            cache.counts().validation(false);
        }
        let draft = Draft::of(&slot.request, credentials, parts.status, &parts.headers, received);
        let Some(draft) = draft else {
            // It will not be replaced, but it is no longer true. A server in trouble says nothing.
            if let Some(stale) = stale
                && !parts.status.is_server_error()
            {
                cache.remove_entry(slot.key, &stale);
            }
            return (Response::from_parts(parts, CacheBody::passed(body)), false);
        };
        let mut fill = Fill::new(cache, slot, draft, &parts.headers, &body.size_hint());
        let mut stored = fill.is_some();
        // No server polls a body that is at its end from the start.
        if body.is_end_stream()
            && let Some(mut fill) = fill.take()
        {
            stored = fill.finish();
        }
        (Response::from_parts(parts, CacheBody::filling(body, fill.map(Box::new))), stored)
    }

    /// The service confirmed what is stored.
    fn confirmed(
        self,
        cache: &ResponseCache,
        entry: &Arc<Entry>,
        mut parts: response::Parts,
    ) -> (Response<Bytes>, bool) {
        cache.counts().validation(true);
        let received = self.received(cache);
        let Self { slot: Slot { key, epoch, request }, credentials, .. } = self;
        let cookies = entry::take_cookies(&mut parts.headers);
        let confirmed = validate::confirms(&parts.headers, entry);
        let headers = if confirmed {
            entry.freshened(&parts.headers, received)
        } else {
            // The answer speaks of another response, which is not here. The stored one is all that
            // there is for this client, and the last time that it is served.
            entry.headers.clone()
        };
        let draft = Draft::of(&request, credentials, entry.status, &headers, received);
        let (mut response, stored) = match draft {
            Some(draft) if confirmed => {
                let fresh = draft.complete(entry.body());
                let mut response = fresh.respond(fresh.policy.freshness.age(received.now));
                if validate::is_not_modified(&request, &fresh) {
                    entry::into_not_modified(&mut response);
                }
                (response, cache.put(key, epoch, fresh, &request))
            }
            _ => {
                cache.remove_entry(key, entry);
                let mut response = Response::new(entry.body());
                *response.status_mut() = entry.status;
                *response.headers_mut() = headers;
                (response, false)
            }
        };
        *response.extensions_mut() = parts.extensions;
        cookies.into_iter().for_each(|cookie| {
            response.headers_mut().append(SET_COOKIE, cookie);
        });
        (response, stored)
    }
}

/// The stored response as the answer to a request.
pub(crate) fn serve(
    cache: &ResponseCache,
    entry: &Entry,
    request: &HeaderMap,
    head: bool,
    annotate: bool,
    now: Timestamp,
) -> Response<Bytes> {
    let freshness = &entry.policy.freshness;
    let mut response = entry.respond(freshness.age(now));
    if validate::is_not_modified(request, entry) {
        entry::into_not_modified(&mut response);
    } else if head {
        *response.body_mut() = Bytes::new();
    }
    if annotate {
        cache.status().hit(response.headers_mut(), freshness.ttl(now));
    }
    response
}
