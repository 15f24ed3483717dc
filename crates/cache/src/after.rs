//! What is done with the answer to a request that was only forwarded.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, ETAG, LAST_MODIFIED};
use http::{Response, StatusCode};

use crate::ResponseCache;
use crate::entry::Entry;
use crate::exchange::Fetch;
use crate::invalidate::Site;
use crate::key::Suffix;
use crate::status::{CACHE_STATUS, Forward, Notes};

/// A request that was forwarded, and whose answer is not stored.
#[derive(Debug)]
pub(crate) struct After {
    pub(crate) cache: ResponseCache,
    pub(crate) annotate: bool,
    pub(crate) reason: Forward,
    pub(crate) detail: Option<&'static str>,
    pub(crate) task: Task,
}

/// What the answer is for beside the client.
#[derive(Debug)]
pub(crate) enum Task {
    /// The answer to a HEAD may bring the stored response up to date (RFC 9111 §4.3.5).
    Freshen(Box<Fetch>),
    /// The request may have changed its target and what the answer refers to.
    Invalidate(Box<(Site, Suffix)>),
    Nothing,
}

impl After {
    pub(crate) fn conclude<B>(self, response: &mut Response<B>) {
        let Self { cache, annotate, reason, detail, task } = self;
        match task {
            Task::Nothing => {}
            Task::Invalidate(request) => {
                let (site, suffix) = *request;
                cache.invalidate_after(&site, &suffix, response.status(), response.headers());
            }
            Task::Freshen(fetch) => freshen(&fetch, response),
        }
        if annotate {
            let line = cache.status().forwarded(reason, Notes { detail, ..Notes::default() });
            response.headers_mut().append(CACHE_STATUS, line);
        }
    }
}

fn freshen<B>(fetch: &Fetch, response: &Response<B>) {
    let Some(entry) = &fetch.stale else { return };
    if response.status() != StatusCode::OK || !fetch.may_store() {
        return;
    }
    let headers = response.headers();
    // What says nothing of the body may be of another one.
    let told = [ETAG, LAST_MODIFIED, CONTENT_LENGTH].iter().any(|name| headers.contains_key(name));
    if !told {
        return;
    }
    let same = [ETAG, LAST_MODIFIED, CONTENT_LENGTH].iter().all(|name| {
        headers.get(name).is_none_or(|value| entry.head.headers.get(name) == Some(value))
    });
    let fresh = same
        .then(|| {
            let received = fetch.received();
            let merged = entry.head.freshened(headers, received);
            let head = Arc::new(fetch.head(entry.head.status, &merged, received, None)?);
            Some(Entry::new(head, entry.body.clone(), entry.part, fetch.position))
        })
        .flatten();
    if fresh.and_then(|fresh| fetch.put(fresh, fetch.epoch, true)).is_none() {
        fetch.cache.remove_entry(fetch.keyed.key, entry);
    }
}
