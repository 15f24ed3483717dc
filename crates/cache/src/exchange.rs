//! What is done with the service's answer.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, EXPIRES, SET_COOKIE};
use http::{HeaderMap, Response, StatusCode, response};
use http_body::Body;

use crate::engine::Epoch;
use crate::entry::Entry;
use crate::fields;
use crate::flight::{Flight, Stage};
use crate::head::{Context, Head};
use crate::invalidate::Site;
use crate::key::{Keyed, Query, Suffix, Target};
use crate::lease::Lease;
use crate::leg::{Answer, Delivery};
use crate::observe::{Fate, Verdict};
use crate::range::Part;
use crate::rules::{Rules, SetCookie};
use crate::serve::{Asks, serve};
use crate::state::{self, Demand, Received};
use crate::status::{Forward, Notes};
use crate::stream::{Fill, Filled};
use crate::{ResponseCache, Settings, further};

/// A request that is on its way to the service.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) cache: ResponseCache,
    pub(crate) rules: Arc<Rules>,
    /// The settings that held when it was sent.
    pub(crate) settings: Arc<Settings>,
    pub(crate) keyed: Keyed,
    pub(crate) uri: Arc<str>,
    /// Where it was sent, if more is to be made of that than the key.
    pub(crate) site: Option<Site>,
    pub(crate) suffix: Suffix,
    /// Where the changes of the resource and the purges stood when it was sent.
    pub(crate) epoch: Epoch,
    pub(crate) position: u64,
    /// And the purges that the store behind memory knew of.
    pub(crate) known: AtomicU64,
    /// The turn among several processes, if this one has it.
    pub(crate) lease: Mutex<Option<Lease>>,
    /// The fields that the client sent, which tell variants apart.
    pub(crate) request: HeaderMap,
    pub(crate) demand: Demand,
    pub(crate) reason: Forward,
    pub(crate) detail: Option<&'static str>,
    /// Whether the answer says in `Cache-Status` what happened.
    pub(crate) annotate: bool,
    /// What the service was asked to confirm.
    pub(crate) validating: Option<Arc<Entry>>,
    /// The stored response that is no longer true if the service has another one.
    pub(crate) stale: Option<Arc<Entry>>,
    /// Whether the request may have changed its target.
    pub(crate) is_unsafe: bool,
}

/// What came of the answer's head.
pub(crate) enum Concluded<B, E> {
    /// The body is shared and stored.
    Open {
        response: Response<()>,
        body: B,
    },
    Closed(Answer<B, E>),
}

impl Fetch {
    /// Whether the resource was changed, or anything purged, since it was sent.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.cache.is_changed_since(self.epoch, self.keyed.key)
            || self.cache.position() != self.position
    }

    pub(crate) fn target(&self) -> Option<Target<'_>> {
        self.site.as_ref()?.target()
    }

    pub(crate) fn count(&self, fate: Fate) {
        self.cache.counts().fill(self.cache.label(), fate);
    }

    pub(crate) fn store(&self, filled: Filled) {
        let Filled { fill, body } = filled;
        let Fill { head, part, epoch, position, .. } = fill;
        let entry = match part {
            None => Entry::whole(head, body, position, self.settings.makes_etags()),
            part => Entry::new(head, body, part, position),
        };
        let stored = self.put(entry, epoch, false);
        self.count(if stored.is_some() { Fate::Stored } else { Fate::Overtaken });
    }

    pub(crate) fn put(&self, entry: Entry, epoch: Epoch, confirmed: bool) -> Option<Arc<Entry>> {
        let mut keyed = self.keyed;
        let mut learned = None;
        if self.cache.keys().learns()
            && let Some(target) = self.target()
        {
            learned = Query::no_vary_search(&entry.head.headers).map(Arc::new);
            keyed = self.cache.keys().keyed(&target, &self.suffix, learned.as_deref());
            self.cache.learn(&target, learned.clone());
        }
        let stored = self.cache.put(keyed.key, epoch, entry, &self.request)?;
        if let Some(further) = self.cache.further() {
            further::save(self, further, learned.as_deref(), &stored, confirmed);
        }
        Some(stored)
    }

    pub(crate) fn received(&self) -> Received {
        let now = self.cache.now();
        let delay = now.saturating_since(self.demand.now);
        Received { now, unix: self.cache.unix(), delay }
    }

    pub(crate) fn head(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        received: Received,
        length: Option<u64>,
    ) -> Option<Head> {
        let context = Context {
            rules: &self.rules,
            settings: &self.settings,
            request: &self.request,
            credentials: self.demand.credentials,
            received,
            length,
            uri: &self.uri,
            resource: self.keyed.resource,
        };
        Head::of(context, status, headers)
    }

    fn line(&self, notes: Notes) -> Option<http::HeaderValue> {
        let notes = Notes { detail: self.detail, ..notes };
        self.annotate.then(|| self.cache.status().forwarded(self.reason, notes))
    }

    /// The stored response, if it may stand in for an answer of this status, or for none.
    fn stand_in(&self, status: Option<StatusCode>) -> Option<&Arc<Entry>> {
        let unreachable = status.is_none_or(|status| matches!(status.as_u16(), 502 | 504));
        let entry = self.stale.as_ref()?;
        let demand = Demand { now: self.cache.now(), ..self.demand };
        state::stands_in(&entry.head.policy, &demand, unreachable).then_some(entry)
    }
}

/// Decides what becomes of the service's answer, and tells those who wait.
pub(crate) fn conclude<B: Body<Data = Bytes>, E>(
    flight: &Flight,
    result: Result<Response<B>, E>,
) -> Concluded<B, E> {
    let fetch = &flight.fetch;
    let response = match result {
        Ok(response) => response,
        Err(error) => {
            if let Some(entry) = fetch.stand_in(None)
                && let Some(response) = stood_in(fetch, entry, None)
            {
                close(flight, Stage::Served(Arc::clone(entry)));
                return Concluded::Closed(Ok(response.map(Delivery::Stored)));
            }
            close(flight, Stage::Unshared);
            return Concluded::Closed(Err(error));
        }
    };
    if response.status().is_server_error()
        && let Some(entry) = fetch.stand_in(Some(response.status()))
        && let Some(answer) = stood_in(fetch, entry, Some(response.status()))
    {
        close(flight, Stage::Served(Arc::clone(entry)));
        return Concluded::Closed(Ok(answer.map(Delivery::Stored)));
    }
    let (parts, body) = response.into_parts();
    if let Some(entry) = &fetch.validating
        && parts.status == StatusCode::NOT_MODIFIED
    {
        let (response, stage) = confirmed(fetch, entry, parts);
        close(flight, stage);
        return Concluded::Closed(Ok(response.map(Delivery::Stored)));
    }
    fetched(flight, parts, body)
}

/// What is fetched was decided without a body to wait for.
fn close(flight: &Flight, stage: Stage) {
    let fetch = &flight.fetch;
    if matches!(stage, Stage::Unshared) && flight.has_followers() {
        fetch.cache.mark_unshared(fetch.keyed.key);
    }
    flight.leave();
    flight.set_stage(stage);
}

/// A stale response in place of an error.
fn stood_in(
    fetch: &Fetch,
    entry: &Arc<Entry>,
    status: Option<StatusCode>,
) -> Option<Response<Bytes>> {
    let now = fetch.cache.now();
    let line = fetch.annotate.then(|| {
        let ttl = entry.head.policy.freshness.ttl(now);
        fetch.cache.status().stood_in(ttl, status.map(|status| status.as_u16()))
    });
    let response =
        serve(entry, &fetch.request, Asks::get(&fetch.request), now, line.as_ref().into())?;
    fetch.cache.counts().request(Verdict::StoodIn);
    Some(response)
}

/// The service sent a response of its own.
fn fetched<B: Body<Data = Bytes>, E>(
    flight: &Flight,
    mut parts: response::Parts,
    body: B,
) -> Concluded<B, E> {
    let fetch = &flight.fetch;
    if fetch.validating.is_some() && !parts.status.is_server_error() {
        fetch.cache.counts().validation(false);
    }
    let mut epoch = fetch.epoch;
    let may_store = if let Some(site) = fetch.site.as_ref().filter(|_| fetch.is_unsafe) {
        fetch.cache.invalidate_after(site, &fetch.suffix, parts.status, &parts.headers);
        // It has just made its own target invalid: what counts is what comes after.
        epoch = fetch.cache.epoch(fetch.keyed.key);
        is_representation(site, &parts)
    } else {
        !fetch.demand.directives.no_store
    };
    let fill = may_store.then(|| fill(fetch, &parts, &body, epoch)).flatten();
    match fill {
        Some(fill) => {
            note(fetch, &mut parts, true);
            flight.open(fill);
            Concluded::Open { response: Response::from_parts(parts, ()), body }
        }
        None => {
            // What the service has now is not what is stored; but an error proves nothing.
            if let Some(stale) = &fetch.stale
                && !parts.status.is_server_error()
                && !fetch.is_unsafe
            {
                fetch.cache.remove_entry(fetch.keyed.key, stale);
            }
            note(fetch, &mut parts, false);
            close(flight, Stage::Unshared);
            Concluded::Closed(Ok(Response::from_parts(parts, Delivery::Own(body))))
        }
    }
}

fn note(fetch: &Fetch, parts: &mut response::Parts, stored: bool) {
    if let Some(line) = fetch.line(Notes { stored, ..Notes::default() }) {
        parts.headers.append(crate::status::CACHE_STATUS, line);
    }
}

/// Whether the answer to an unsafe request is what a GET of its target would be answered with, for
/// a time that it states (RFC 9110 §9.3.3).
fn is_representation(site: &Site, parts: &response::Parts) -> bool {
    let stated = [CACHE_CONTROL, EXPIRES].iter().any(|name| parts.headers.contains_key(name));
    stated && parts.status == StatusCode::OK && site.is_of_its_target(&parts.headers)
}

/// How the answer is stored; `None` if it is not, or is too long, or of no clear length.
fn fill<B: Body>(fetch: &Fetch, parts: &response::Parts, body: &B, epoch: Epoch) -> Option<Fill> {
    let limit = fetch.settings.body_bytes();
    let hint = body.size_hint();
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    let mut expected = match lengths.next() {
        None => hint.exact(),
        Some(length) => Some(length.to_str().ok()?.parse::<u64>().ok()?),
    };
    if lengths.next().is_some() {
        return None;
    }
    let mut part = None;
    if parts.status == StatusCode::PARTIAL_CONTENT {
        let (said, len) = Part::of(&parts.headers)?;
        // By the letter, a part may be shorter than it says: it answers what came (RFC 9111 §3.3).
        let is_short = fetch.rules.letter && expected.is_some_and(|expected| expected < len);
        if expected.is_some_and(|expected| expected != len) && !is_short {
            return None;
        }
        expected = expected.or(Some(len));
        part = Some(said);
    }
    let length = expected.filter(|_| part.is_none());
    let head = fetch.head(parts.status, &parts.headers, fetch.received(), length)?;
    if expected.unwrap_or(hint.lower()) > limit {
        fetch.count(Fate::Oversized);
        return None;
    }
    let (head, budget) = (Arc::new(head), fetch.settings.bytes());
    Some(Fill { head, part, expected, limit, budget, epoch, position: fetch.position })
}

/// The service confirmed what is stored.
fn confirmed(
    fetch: &Fetch,
    entry: &Arc<Entry>,
    mut parts: response::Parts,
) -> (Response<Bytes>, Stage) {
    let cache = &fetch.cache;
    cache.counts().validation(true);
    let received = fetch.received();
    // For this client, unless told otherwise.
    let cookies = match fetch.rules.set_cookie {
        SetCookie::Store => Vec::new(),
        SetCookie::Refuse | SetCookie::Strip => fields::take_cookies(&mut parts.headers),
    };
    let headers = entry.head.freshened(&parts.headers, received);
    let fresh = fetch.head(entry.head.status, &headers, received, None).map(|head| {
        let (head, body) = (Arc::new(head), entry.body.clone());
        match entry.part {
            None => Entry::whole(head, body, fetch.position, fetch.settings.makes_etags()),
            part => Entry::new(head, body, part, fetch.position),
        }
    });
    let stored = fresh.and_then(|fresh| fetch.put(fresh, fetch.epoch, true));
    if stored.is_none() {
        cache.remove_entry(fetch.keyed.key, entry);
    }
    let notes = Notes { fwd_status: Some(304), stored: stored.is_some(), ..Notes::default() };
    let served = stored.as_ref().unwrap_or(entry);
    let line = fetch.line(notes);
    let answer = serve(
        served,
        &fetch.request,
        Asks::get(&fetch.request),
        received.now,
        line.as_ref().into(),
    );
    let mut response = answer.unwrap_or_else(|| {
        served.head.respond(received.now, line.as_ref().into()).map(|()| served.body.clone())
    });
    *response.extensions_mut() = parts.extensions;
    cookies.into_iter().for_each(|cookie| {
        response.headers_mut().append(SET_COOKIE, cookie);
    });
    (response, stored.map_or(Stage::Unshared, Stage::Served))
}
