//! What is done with the service's answer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

use bartizan_core::{Key, Timestamp};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response, StatusCode, response};
use http_body::Body;

use crate::confirm::confirmed;
use crate::engine::Epoch;
use crate::entry::Entry;
use crate::flight::{Flight, Stage};
use crate::head::{Context, Head};
use crate::invalidate::Site;
use crate::key::{Keyed, Query, Suffix, Target};
use crate::lease::Lease;
use crate::leg::{Answer, Delivery};
use crate::observe::Fate;
use crate::range::Part;
use crate::rules::Rules;
use crate::stand_in::stood_in;
use crate::state::{self, Demand, Received};
use crate::status::{Forward, Notes};
use crate::stream::{Fill, Filled};
use crate::{ResponseCache, Settings, further, validate};

/// A request that is on its way to the service.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) cache: ResponseCache,
    pub(crate) rules: Arc<Rules>,
    /// The settings that held when it was sent.
    pub(crate) settings: Arc<Settings>,
    pub(crate) keyed: Keyed,
    /// By which `No-Vary-Search` of earlier responses, if by any.
    pub(crate) learned: Option<Arc<Query>>,
    pub(crate) uri: Arc<str>,
    /// Where it was sent, if more is to be made of that than the key.
    pub(crate) site: Option<Site>,
    pub(crate) suffix: Suffix,
    /// Where the changes of the resource and the purges stood when it was sent.
    pub(crate) epoch: Epoch,
    pub(crate) position: u64,
    /// And the purges that the store behind memory knew of.
    pub(crate) known: AtomicU64,
    /// When the service was asked: not before the store had been.
    pub(crate) asked: AtomicU64,
    /// The turn among several processes, if this one has it.
    pub(crate) lease: Mutex<Option<Lease>>,
    /// The fields that the client sent, which tell variants apart.
    pub(crate) request: HeaderMap,
    pub(crate) demand: Demand,
    pub(crate) reason: Forward,
    pub(crate) detail: Option<&'static str>,
    /// Whether the answer says in `Cache-Status` what happened.
    pub(crate) annotate: bool,
    /// Whether something stored may be the answer. In shadow nothing is.
    pub(crate) serves: bool,
    /// What the service is asked to confirm.
    pub(crate) validating: Option<Arc<Entry>>,
    /// Whether the client's conditions are kept from the service, so that its answer is of use to
    /// others, and judged here.
    pub(crate) judges: bool,
    /// The stored response that is no longer true if the service has another one.
    pub(crate) stale: Option<Arc<Entry>>,
    /// A stale response that was in the store behind memory, in place of both.
    pub(crate) found: OnceLock<Arc<Entry>>,
    /// Whether the request may have changed its target.
    pub(crate) is_unsafe: bool,
}

/// What came of the answer's head.
pub(crate) enum Concluded<B, E> {
    /// The body is shared and stored.
    Open {
        response: Response<Delivery<B>>,
        body: B,
    },
    Closed(Answer<B, E>),
}

impl Fetch {
    /// Whether the resource was changed, or purged as far as is known of it, since it was sent.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.cache.is_changed_since(self.epoch, self.keyed.key)
            || self.is_purged(&[self.keyed.resource])
    }

    /// Whether what has these labels was purged since it was sent.
    pub(crate) fn is_purged(&self, labels: &[Key]) -> bool {
        self.cache.is_purged_since(self.position, labels, &self.uri)
    }

    pub(crate) fn target(&self) -> Option<Target<'_>> {
        self.site.as_ref()?.target()
    }

    /// Whether the client lets anything be stored of the exchange (RFC 9111 §5.2.1.5).
    pub(crate) const fn may_store(&self) -> bool {
        !self.demand.directives.no_store
    }

    /// Whether a response answers whatever has this key: it says what the key was made by.
    pub(crate) fn is_keyed_by(&self, head: &Head) -> bool {
        let said = |learned| Query::no_vary_search(&head.headers).as_ref() == Some(learned);
        self.learned.as_deref().is_none_or(said)
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
        let (mut keyed, mut epoch, mut learned) = (self.keyed, epoch, None);
        if self.cache.keys().learns()
            && let Some(target) = self.target()
        {
            learned = Query::no_vary_search(&entry.head.headers).map(Arc::new);
            keyed = self.cache.keys().keyed(&target, &self.suffix, learned.as_deref());
            self.cache.learn(&target, learned.clone());
            // Changes until now are noted under the key that was known, later ones under this.
            let before = std::mem::replace(&mut epoch, self.cache.epoch(keyed.key));
            if self.cache.is_changed_since(before, self.keyed.key) {
                return None;
            }
        }
        let stored = self.cache.put(keyed.key, epoch, entry, &self.request)?;
        if let Some(further) = self.cache.further() {
            further::save(self, further, learned.as_deref(), &stored, confirmed);
        }
        Some(stored)
    }

    /// The service is asked now, not when the request came.
    pub(crate) fn is_asked_now(&self) {
        self.asked.store(self.cache.now().as_nanos(), Relaxed);
    }

    pub(crate) fn received(&self) -> Received {
        let now = self.cache.now();
        let delay = now.saturating_since(Timestamp::from_nanos(self.asked.load(Relaxed)));
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

    /// What the service is asked to confirm.
    pub(crate) fn validating(&self) -> Option<&Arc<Entry>> {
        match self.found.get() {
            Some(found) => Some(found).filter(|entry| validate::can_validate(&entry.head)),
            None => self.validating.as_ref(),
        }
    }

    /// The stored response that is no longer true if the service has another one.
    pub(crate) fn stale(&self) -> Option<&Arc<Entry>> {
        self.found.get().or(self.stale.as_ref())
    }

    pub(crate) fn line(&self, notes: Notes) -> Option<http::HeaderValue> {
        let notes = Notes { detail: self.detail, ..notes };
        self.annotate.then(|| self.cache.status().forwarded(self.reason(), notes))
    }

    /// Why the service is asked, now that the store behind memory was.
    pub(crate) fn reason(&self) -> Forward {
        if self.found.get().is_some() { Forward::Stale } else { self.reason }
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
            // Whoever waited may have more luck.
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
    if let Some(entry) = fetch.validating()
        && parts.status == StatusCode::NOT_MODIFIED
    {
        let (response, stage) = confirmed(flight, entry, parts);
        close(flight, stage);
        return Concluded::Closed(Ok(response.map(Delivery::Stored)));
    }
    fetched(flight, parts, body)
}

/// What is fetched was decided without a body to wait for.
pub(crate) fn close(flight: &Flight, stage: Stage) {
    flight.leave();
    flight.set_stage(stage);
}

/// Notes that the service has answered, and that this is not for others: whoever comes next need
/// not wait for it, nor be asked for without conditions. An error says nothing of that.
pub(crate) fn mark_unshared(flight: &Flight) {
    let fetch = &flight.fetch;
    if flight.has_followers() || fetch.judges {
        fetch.cache.mark_unshared(fetch.keyed.key);
    }
    if let Some(lease) = fetch.take_turn() {
        lease.end_unshared();
    }
}

/// The answer turned out on its way not to be one that is stored. What the service has now is not what
/// is stored, but an error proves nothing; and whoever has the answer need not have it fetched again.
pub(crate) fn outgrown(flight: &Flight) {
    let fetch = &flight.fetch;
    if flight.head().is_some_and(|head| !head.status.is_server_error()) && !fetch.is_unsafe {
        fetch.stale().inspect(|stale| fetch.cache.remove_entry(fetch.keyed.key, stale));
    }
    if fetch.judges {
        fetch.cache.mark_unshared(fetch.keyed.key);
    }
}

/// The service sent a response of its own.
fn fetched<B: Body<Data = Bytes>, E>(
    flight: &Flight,
    mut parts: response::Parts,
    body: B,
) -> Concluded<B, E> {
    let fetch = &flight.fetch;
    if fetch.validating().is_some() && !parts.status.is_server_error() {
        fetch.cache.counts().validation(false);
    }
    let mut epoch = fetch.epoch;
    let may_store = fetch.may_store();
    let may_store = if let Some(site) = fetch.site.as_ref().filter(|_| fetch.is_unsafe) {
        fetch.cache.invalidate_after(site, &fetch.suffix, parts.status, &parts.headers);
        // It has just made its own target invalid: what counts is what comes after.
        epoch = fetch.cache.epoch(fetch.keyed.key);
        may_store && parts.status == StatusCode::OK && site.is_represented(&parts.headers)
    } else {
        may_store
    };
    let fill = may_store.then(|| fill(fetch, &parts, &body, epoch)).flatten();
    match fill {
        Some(fill) => {
            if !state::is_for_others(&fill.head.policy, fetch.demand.now) {
                mark_unshared(flight);
            }
            if !fetch.is_keyed_by(&fill.head) {
                flight.leave();
            }
            let has_it = judge(fetch, &mut parts, true);
            flight.open(fill);
            let delivery = if has_it { Delivery::Unread } else { Delivery::Shared };
            Concluded::Open { response: Response::from_parts(parts, delivery), body }
        }
        None => {
            // What the service has now is not what is stored; but an error proves nothing.
            if !parts.status.is_server_error() {
                let stale = fetch.stale().filter(|_| !fetch.is_unsafe);
                stale.inspect(|stale| fetch.cache.remove_entry(fetch.keyed.key, stale));
                mark_unshared(flight);
            }
            let has_it = judge(fetch, &mut parts, false);
            close(flight, Stage::Unshared);
            let delivery =
                if has_it { Delivery::Stored(Bytes::new()) } else { Delivery::Own(body) };
            Concluded::Closed(Ok(Response::from_parts(parts, delivery)))
        }
    }
}

/// Says how the leader's answer came about, and makes it a `304 Not Modified` if the conditions that
/// were kept from the service say that the client has it. True if so.
fn judge(fetch: &Fetch, parts: &mut response::Parts, stored: bool) -> bool {
    let mut notes = Notes { stored, ..Notes::default() };
    let has_it = fetch.judges
        && parts.status == StatusCode::OK
        && validate::has_it(&fetch.request, &parts.headers);
    if has_it {
        notes.fwd_status = Some(parts.status.as_u16());
        parts.status = StatusCode::NOT_MODIFIED;
        validate::without_content(&mut parts.headers);
    }
    if let Some(line) = fetch.line(notes) {
        parts.headers.append(crate::status::CACHE_STATUS, line);
    }
    has_it
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
