use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence};
use std::time::Duration;

use bartizan_core::{
    Clock, ConfigError, Engine, Key, KeyExtractor, Live, Snapshot, Switch, Timestamp, key,
};
use http::uri::Scheme;
use http::{HeaderMap, Uri};
use serde_json::Value;

use crate::Settings;
use crate::directives::RequestDirectives;
use crate::entry::Entry;
use crate::key::Target;
use crate::memory::{Found, Memory};
use crate::observe::{self, Counts};
use crate::state::{self, Refusal};
use crate::status::{CacheStatus, Forward};

/// How many counters the invalidations share. Two keys on one counter may cost a fill, no more:
/// with a hundred changes while a response is on its way, one fill in 160.
const EPOCHS: usize = 1 << 14;

/// Stores responses and decides on their reuse. Cheap to clone; clones are one cache.
#[derive(Clone)]
#[must_use]
pub struct ResponseCache {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    clock: Clock,
    switch: Switch,
    scheme: &'static str,
    active: Live<Active>,
    /// Invalidations, by a part of the key: a response that was on its way meanwhile is old.
    epochs: Box<[AtomicU32]>,
    filling: AtomicU64,
    counts: Counts,
    status: CacheStatus,
}

struct Active {
    settings: Settings,
    memory: Arc<Memory>,
}

/// What a request asks of the store.
pub(crate) struct Asked<'a> {
    pub(crate) key: Key,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) directives: RequestDirectives,
    pub(crate) credentials: bool,
    pub(crate) now: Timestamp,
}

/// What the store has for a request.
pub(crate) enum Lookup {
    Hit(Arc<Entry>),
    /// Nothing to serve; perhaps something to validate.
    Miss(Forward, Option<Arc<Entry>>),
}

impl ResponseCache {
    /// Creates an empty cache with the default [`Settings`]. Operators know it as `name`, and so do
    /// the readers of `Cache-Status`.
    pub fn new(name: impl Into<String>) -> Self {
        let settings = Settings::default();
        Self::build(name.into(), Clock::system(), Switch::default(), "https", settings)
    }

    fn build(
        name: String,
        clock: Clock,
        switch: Switch,
        scheme: &'static str,
        settings: Settings,
    ) -> Self {
        let shared = Shared {
            status: CacheStatus::new(&name),
            name,
            clock,
            switch,
            scheme,
            active: Live::new(Active::new(settings)),
            epochs: (0..EPOCHS).map(|_| AtomicU32::new(0)).collect(),
            filling: AtomicU64::new(0),
            counts: Counts::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Starts over with these settings.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot be.
    pub fn settings(self, settings: Settings) -> Result<Self, ConfigError> {
        let Shared { name, clock, switch, scheme, .. } = &*self.shared;
        let settings = settings.validated()?;
        Ok(Self::build(name.clone(), clock.clone(), switch.clone(), scheme, settings))
    }

    /// Starts over with this clock.
    pub fn clock(self, clock: Clock) -> Self {
        let Shared { name, switch, scheme, .. } = &*self.shared;
        Self::build(name.clone(), clock, switch.clone(), scheme, self.active_settings())
    }

    /// Starts over with this switch, as one that a flag turns.
    pub fn switched_by(self, switch: Switch) -> Self {
        let Shared { name, clock, scheme, .. } = &*self.shared;
        Self::build(name.clone(), clock.clone(), switch, scheme, self.active_settings())
    }

    /// Starts over with the scheme of requests that do not say theirs, as those of HTTP/1.1. It
    /// matters where the same resource is also asked for by HTTP/2, or is invalidated by an
    /// absolute URI. The default is `https`; any other than this and `http` changes nothing.
    pub fn scheme(self, scheme: &Scheme) -> Self {
        let Shared { name, clock, switch, scheme: old, .. } = &*self.shared;
        let known = ["http", "https"].into_iter().find(|known| scheme.as_str() == *known);
        let settings = self.active_settings();
        Self::build(name.clone(), clock.clone(), switch.clone(), known.unwrap_or(old), settings)
    }

    /// Removes what is stored for `uri`, in all its variants, and what is on its way to be. True if
    /// there was something.
    ///
    /// For a layer that [partitions](crate::CacheLayer::partition) its keys use
    /// [`ResponseCache::invalidate_in`].
    pub fn invalidate(&self, uri: &Uri) -> bool {
        KeyExtractor::<()>::key(&key::global(), &()).is_some_and(|all| self.invalidate_in(all, uri))
    }

    /// Removes what is stored for `uri` in one partition.
    pub fn invalidate_in(&self, partition: Key, uri: &Uri) -> bool {
        Target::of(uri, None, self.shared.scheme)
            .is_some_and(|target| self.invalidate_key(target.key().and(partition)))
    }

    /// Removes all that is stored, and what is on its way to be.
    pub fn clear(&self) {
        self.shared.epochs.iter().for_each(|epoch| {
            epoch.fetch_add(1, SeqCst);
        });
        fence(SeqCst);
        self.shared.active.store(Active::new(self.active_settings()));
        observe::cleared(&self.shared.name);
    }

    fn active_settings(&self) -> Settings {
        self.shared.active.load().settings
    }

    /// The settings that hold for a body that is on its way from now on.
    pub(crate) fn current_settings(&self) -> Settings {
        self.active_settings()
    }

    pub(crate) fn default_scheme(&self) -> &'static str {
        self.shared.scheme
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    pub(crate) fn status(&self) -> &CacheStatus {
        &self.shared.status
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    pub(crate) fn unix(&self) -> Duration {
        self.shared.clock.unix()
    }

    /// What the request says that this cache obeys.
    pub(crate) fn directives(&self, request: &HeaderMap) -> RequestDirectives {
        let read = RequestDirectives::read(request);
        if self.shared.active.load().settings.obeys_requests() {
            read
        } else {
            read.without_demands()
        }
    }

    pub(crate) fn look_up(&self, asked: &Asked<'_>) -> Lookup {
        let active = self.shared.active.load();
        if asked.directives.no_store && active.settings.obeys_requests() {
            return Lookup::Miss(Forward::Bypass, None);
        }
        let entry = match active.memory.find(asked.key, asked.headers) {
            Found::Entry(entry) => entry,
            Found::OtherVariants => return Lookup::Miss(Forward::VaryMiss, None),
            Found::Nothing => return Lookup::Miss(Forward::UriMiss, None),
        };
        match state::reuse(&entry.policy, &asked.directives, asked.credentials, asked.now) {
            Ok(()) => Lookup::Hit(entry),
            Err(Refusal::Credentials) => Lookup::Miss(Forward::Request, None),
            Err(Refusal::Request) => Lookup::Miss(Forward::Request, Some(entry)),
            Err(Refusal::Stale) => Lookup::Miss(Forward::Stale, Some(entry)),
        }
    }

    fn epoch_of(&self, key: Key) -> &AtomicU32 {
        &self.shared.epochs[key.as_u128() as usize % EPOCHS]
    }

    /// The state of the resource's changes, to be compared when the response is there.
    pub(crate) fn epoch(&self, key: Key) -> u32 {
        self.epoch_of(key).load(SeqCst)
    }

    /// Stores a response to `request` that was asked for in `epoch`. False if the resource was
    /// changed since.
    pub(crate) fn put(&self, key: Key, epoch: u32, entry: Entry, request: &HeaderMap) -> bool {
        if self.epoch(key) != epoch {
            return false;
        }
        let active = self.shared.active.load();
        active.memory.put(key, entry, request, active.settings.variants());
        // Who changes the resource counts first and removes then: either that sees this entry, or
        // this sees that count.
        fence(SeqCst);
        let current = self.epoch(key) == epoch;
        if !current {
            active.memory.remove(key);
        }
        current
    }

    /// Removes this very response.
    pub(crate) fn remove_entry(&self, key: Key, entry: &Arc<Entry>) {
        self.shared.active.load().memory.remove_entry(key, entry);
    }

    pub(crate) fn invalidate_key(&self, key: Key) -> bool {
        self.epoch_of(key).fetch_add(1, SeqCst);
        fence(SeqCst);
        let removed = self.shared.active.load().memory.remove(key);
        if removed {
            self.shared.counts.invalidation(&self.shared.name);
        }
        removed
    }

    /// Takes bytes for a body that is on its way; false if there is no room.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        let taken = self.shared.filling.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let fits = taken <= self.active_settings().bytes();
        if !fits {
            self.release(bytes);
        }
        fits
    }

    pub(crate) fn release(&self, bytes: u64) {
        self.shared.filling.fetch_sub(bytes, Relaxed);
    }
}

impl Active {
    fn new(settings: Settings) -> Self {
        Self { settings, memory: Arc::new(Memory::new(settings.bytes())) }
    }
}

impl Engine for ResponseCache {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn kind(&self) -> &'static str {
        "cache"
    }

    fn switch(&self) -> &Switch {
        &self.shared.switch
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot::new(self.name(), self.kind(), self.switch().setting().0);
        let stored = self.shared.active.load_full().memory.figures();
        self.shared.counts.describe(snapshot, stored, self.shared.filling.load(Relaxed))
    }

    // What is stored stays, unless `max_bytes` changes.
    fn apply(&self, settings: Value) -> Result<(), ConfigError> {
        let settings = Settings::from_json(settings)?;
        self.shared.active.update(|old| {
            if old.settings.bytes() == settings.bytes() {
                Active { settings, memory: Arc::clone(&old.memory) }
            } else {
                Active::new(settings)
            }
        });
        observe::settings_changed(&self.shared.name);
        Ok(())
    }
}

impl fmt::Debug for ResponseCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache")
            .field("name", &self.shared.name)
            .field("settings", &self.active_settings())
            .field("switch", &self.shared.switch)
            .finish_non_exhaustive()
    }
}
