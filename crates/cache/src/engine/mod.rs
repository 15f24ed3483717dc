mod changes;
mod learned;
mod purging;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bartizan_core::{Clock, ConfigError, Engine, Key, Live, Snapshot, Switch, Timestamp};
use http::HeaderMap;
use http::uri::Scheme;
use serde_json::Value;

use self::changes::Changes;
pub(crate) use self::changes::Epoch;
use self::learned::Learned;
use crate::directives::RequestDirectives;
use crate::entry::Entry;
use crate::flights::Flights;
use crate::further::Further;
use crate::memory::{Found, Memory};
use crate::observe::{self, Counts};
use crate::purge::{Journal, Since};
use crate::seen::Seen;
use crate::status::CacheStatus;
use crate::store::FirstTier;
use crate::{KeyRules, Settings, Store};

/// Stores responses and decides on their reuse. Cheap to clone; clones are one cache.
#[derive(Clone)]
#[must_use]
pub struct ResponseCache {
    shared: Arc<Shared>,
}

/// A cache that others keep alive.
#[derive(Clone)]
pub(crate) struct WeakCache(Weak<Shared>);

impl WeakCache {
    pub(crate) fn upgrade(&self) -> Option<ResponseCache> {
        self.0.upgrade().map(|shared| ResponseCache { shared })
    }
}

impl fmt::Debug for WeakCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakCache").finish_non_exhaustive()
    }
}

/// What a cache is built of.
#[derive(Clone)]
struct Plan {
    name: String,
    clock: Clock,
    switch: Switch,
    scheme: &'static str,
    keys: KeyRules,
    settings: Settings,
    store: Option<Arc<dyn Store>>,
}

struct Shared {
    plan: Plan,
    active: Live<Active>,
    changes: Changes,
    journal: Journal,
    flights: Flights,
    learned: Learned,
    further: Option<Arc<Further>>,
    filling: AtomicU64,
    counts: Counts,
    status: CacheStatus,
}

struct Active {
    settings: Arc<Settings>,
    memory: Arc<Memory>,
}

impl ResponseCache {
    /// Creates an empty cache with the default [`Settings`]. Operators know it as `name`, and so do
    /// the readers of `Cache-Status`.
    pub fn new(name: impl Into<String>) -> Self {
        Self::build(Plan {
            name: name.into(),
            clock: Clock::system(),
            switch: Switch::default(),
            scheme: "https",
            keys: KeyRules::default(),
            settings: Settings::default(),
            store: None,
        })
    }

    fn build(plan: Plan) -> Self {
        let shared = Shared {
            status: CacheStatus::new(&plan.name),
            active: Live::new(Active::new(Arc::new(plan.settings.clone()))),
            changes: Changes::default(),
            journal: Journal::default(),
            flights: Flights::default(),
            learned: Learned::default(),
            further: plan.store.clone().map(|store| Arc::new(Further::new(store))),
            filling: AtomicU64::new(0),
            counts: Counts::default(),
            plan,
        };
        let shared = Arc::new(shared);
        if let Some(store) = &shared.plan.store {
            store.attach(FirstTier(WeakCache(Arc::downgrade(&shared))));
        }
        Self { shared }
    }

    fn rebuild(&self, change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = self.shared.plan.clone();
        change(&mut plan);
        Self::build(plan)
    }

    /// Starts over with these settings.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot be.
    pub fn settings(self, settings: Settings) -> Result<Self, ConfigError> {
        let settings = settings.validated()?;
        Ok(self.rebuild(|plan| plan.settings = settings))
    }

    /// Starts over with this clock.
    pub fn clock(self, clock: Clock) -> Self {
        self.rebuild(|plan| plan.clock = clock)
    }

    /// Starts over with this switch, as one that a flag turns.
    pub fn switched_by(self, switch: Switch) -> Self {
        self.rebuild(|plan| plan.switch = switch)
    }

    /// Starts over with these rules of what stored responses are told apart by.
    pub fn keyed_by(self, rules: KeyRules) -> Self {
        self.rebuild(|plan| plan.keys = rules)
    }

    /// Starts over with a store behind memory, which other processes may share: what is not in
    /// memory is looked for there, and what is stored is stored there too.
    pub fn over(self, store: impl Store) -> Self {
        let store: Arc<dyn Store> = Arc::new(store);
        self.rebuild(|plan| plan.store = Some(store))
    }

    /// Starts over with the scheme of requests that do not say theirs, as those of HTTP/1.1. It
    /// matters where the same resource is also asked for by HTTP/2, or is invalidated by an
    /// absolute URI. The default is `https`; any other than this and `http` changes nothing.
    pub fn scheme(self, scheme: &Scheme) -> Self {
        let known = ["http", "https"].into_iter().find(|known| scheme.as_str() == *known);
        self.rebuild(|plan| plan.scheme = known.unwrap_or(plan.scheme))
    }

    /// The settings that hold from now on.
    pub(crate) fn current_settings(&self) -> Arc<Settings> {
        Arc::clone(&self.shared.active.load().settings)
    }

    pub(crate) fn label(&self) -> &str {
        &self.shared.plan.name
    }

    pub(crate) fn default_scheme(&self) -> &'static str {
        self.shared.plan.scheme
    }

    pub(crate) fn keys(&self) -> &KeyRules {
        &self.shared.plan.keys
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    pub(crate) fn status(&self) -> &CacheStatus {
        &self.shared.status
    }

    pub(crate) fn flights(&self) -> &Flights {
        &self.shared.flights
    }

    pub(crate) fn further(&self) -> Option<&Arc<Further>> {
        self.shared.further.as_ref()
    }

    /// The time to the kernel's last tick, some milliseconds ago at most: ages and spans here count
    /// in seconds.
    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        self.shared.plan.clock.now_coarse()
    }

    pub(crate) fn unix(&self) -> Duration {
        self.shared.plan.clock.unix()
    }

    pub(crate) fn position(&self) -> u64 {
        self.shared.journal.position()
    }

    /// Where the purges of the store behind memory stand.
    pub(crate) fn further_position(&self) -> u64 {
        self.further().map_or(0, |further| further.position())
    }

    /// Whether a response was purged since it was asked for.
    pub(crate) fn is_purged(&self, entry: &Entry) -> bool {
        self.shared.journal.since(entry) == Since::Gone
    }

    /// Whether anything was purged after this that has one of these labels, or is found there.
    pub(crate) fn is_purged_since(&self, position: u64, labels: &[Key], uri: &str) -> bool {
        self.shared.journal.names(position, labels, uri)
    }

    pub(crate) fn body_limit(&self) -> u64 {
        self.shared.active.load().settings.body_bytes()
    }

    /// What the request says that this cache obeys.
    #[inline]
    pub(crate) fn directives(&self, seen: Seen, request: &HeaderMap) -> RequestDirectives {
        if !seen.directives {
            return RequestDirectives::default();
        }
        let read = RequestDirectives::read(request);
        if self.obeys_requests() { read } else { read.without_demands() }
    }

    pub(crate) fn obeys_requests(&self) -> bool {
        self.shared.active.load().settings.obeys_requests()
    }

    /// What is stored under a key, but for what was purged; and whether it was declared stale.
    #[inline]
    pub(crate) fn find(&self, key: Key, request: &HeaderMap, now: Timestamp) -> (Found, bool) {
        let active = self.shared.active.load();
        let mut found = active.memory.find(key, request, now);
        let mut softened = false;
        if let Some(entry) = &found.entry {
            match self.shared.journal.since(entry) {
                Since::Nothing => {}
                Since::Softened => softened = true,
                Since::Gone => {
                    active.memory.remove_entry(key, entry);
                    found.entry = None;
                }
            }
        }
        (found, softened)
    }

    /// The state of the resource's changes, to be compared when the response is there.
    pub(crate) fn epoch(&self, key: Key) -> Epoch {
        self.shared.changes.epoch(key)
    }

    /// Whether the resource may have changed since.
    pub(crate) fn is_changed_since(&self, epoch: Epoch, key: Key) -> bool {
        self.shared.changes.any_since(epoch, key)
    }

    /// Stores a response to `request` that was asked for in `epoch`. `None` if the resource was
    /// changed since.
    pub(crate) fn put(
        &self,
        key: Key,
        epoch: Epoch,
        entry: Entry,
        request: &HeaderMap,
    ) -> Option<Arc<Entry>> {
        if self.is_changed_since(epoch, key) {
            return None;
        }
        let active = self.shared.active.load();
        let put = active.memory.put(key, entry, request, &active.settings);
        // Who changes the resource counts first and removes then: either that sees this entry, or
        // this sees that count.
        fence(SeqCst);
        if !self.is_changed_since(epoch, key) {
            return Some(put);
        }
        active.memory.remove(key);
        None
    }

    /// Notes that requests for this need not wait for each other.
    pub(crate) fn mark_unshared(&self, key: Key) {
        let active = self.shared.active.load();
        let span = active.settings.unshared_span();
        if !span.is_zero() {
            active.memory.mark_unshared(key, self.now().saturating_add(span));
        }
    }

    /// Removes this very response.
    pub(crate) fn remove_entry(&self, key: Key, entry: &Arc<Entry>) {
        self.shared.active.load().memory.remove_entry(key, entry);
    }

    /// Takes bytes for a body that is on its way. Returns how many are taken at the moment.
    pub(crate) fn reserve(&self, bytes: u64) -> u64 {
        self.shared.filling.fetch_add(bytes, Relaxed).saturating_add(bytes)
    }

    pub(crate) fn release(&self, bytes: u64) {
        self.shared.filling.fetch_sub(bytes, Relaxed);
    }
}

impl Active {
    fn new(settings: Arc<Settings>) -> Self {
        let memory = Arc::new(Memory::new(&settings));
        Self { settings, memory }
    }
}

impl Engine for ResponseCache {
    fn name(&self) -> &str {
        self.label()
    }

    fn kind(&self) -> &'static str {
        "cache"
    }

    fn switch(&self) -> &Switch {
        &self.shared.plan.switch
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot::new(self.name(), self.kind(), self.switch().setting().0);
        let stored = self.shared.active.load_full().memory.figures();
        let filling = self.shared.filling.load(Relaxed);
        let is_away = self.further().is_some_and(|further| !further.is_up(self.now()));
        self.shared.counts.describe(snapshot, stored, filling, is_away)
    }

    fn current_settings(&self) -> Value {
        serde_json::to_value(&*self.shared.active.load().settings).unwrap_or_default()
    }

    // What is stored stays, unless `max_bytes` changes, or bodies may be longer than it is made for.
    fn apply(&self, settings: Value) -> Result<(), ConfigError> {
        let settings = Arc::new(Settings::from_json(settings)?);
        self.shared.active.update(|old| {
            let settings = Arc::clone(&settings);
            if old.settings.bytes() == settings.bytes() && old.memory.suits(&settings) {
                Active { settings, memory: Arc::clone(&old.memory) }
            } else {
                Active::new(settings)
            }
        });
        observe::settings_changed(self.label());
        Ok(())
    }
}

impl fmt::Debug for ResponseCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache")
            .field("name", &self.shared.plan.name)
            .field("settings", &self.current_settings())
            .field("switch", &self.shared.plan.switch)
            .finish_non_exhaustive()
    }
}
