//! The store in this process: moka, by weight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bartizan_core::{Key, Timestamp};
use http::HeaderMap;
use moka::ops::compute::Op;
use moka::sync::Cache;

use crate::by_key::ByKey;
use crate::entry::Entry;
use crate::head::Head;
use crate::range;

/// What is found under a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// What was stored for such a request.
    pub(crate) entry: Option<Arc<Entry>>,
    /// Failing that, what was stored for another one: it tells how the resource varies.
    pub(crate) other: Option<Arc<Entry>>,
    /// Whether requests need not wait for each other.
    pub(crate) unshared: bool,
}

/// Responses by key, within a number of bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    resources: Cache<Key, Resource, ByKey>,
    max_bytes: u64,
    /// What was put since moka last made room: it does so late, and overshoots until then.
    unsettled: AtomicU64,
}

/// A resource's variants, the newest first. Replaced as a whole: readers never wait.
#[derive(Clone, Debug)]
struct Resource {
    variants: Arc<[Arc<Entry>]>,
    weight: u32,
    /// Until when its answers are taken to be such as cannot be shared.
    unshared_until: Option<Timestamp>,
}

/// What an empty resource takes.
const EMPTY: u32 = 256;

impl Resource {
    fn new(variants: Arc<[Arc<Entry>]>, unshared_until: Option<Timestamp>) -> Self {
        let weight = variants.iter().fold(EMPTY, |sum, entry| sum.saturating_add(entry.weight()));
        Self { variants, weight, unshared_until }
    }
}

impl Memory {
    pub(crate) fn new(max_bytes: u64) -> Self {
        let resources = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, resource: &Resource| resource.weight)
            .build_with_hasher(ByKey::default());
        Self { resources, max_bytes, unsettled: AtomicU64::new(0) }
    }

    #[inline]
    pub(crate) fn find(&self, key: Key, request: &HeaderMap, now: Timestamp) -> Found {
        let Some(resource) = self.resources.get(&key) else { return Found::default() };
        let unshared = resource.unshared_until.is_some_and(|until| now < until);
        let mut matching =
            resource.variants.iter().filter(|entry| entry.head.vary.matches(request));
        let entry = matching.next().cloned();
        let other = match entry {
            Some(_) => None,
            None => resource.variants.first().cloned(),
        };
        Found { entry, other, unshared }
    }

    /// Stores a response to `request` in place of those that would have answered it; a part is put
    /// together with what belongs to it.
    pub(crate) fn put(
        &self,
        key: Key,
        entry: Entry,
        request: &HeaderMap,
        max_variants: usize,
    ) -> Arc<Entry> {
        let entry = Arc::new(entry);
        let mut put = Arc::clone(&entry);
        self.resources.entry(key).and_compute_with(|old| {
            let old = old.map(moka::Entry::into_value);
            let variants = || old.iter().flat_map(|resource| resource.variants.iter());
            put = variants()
                .filter(|other| other.head.vary.matches(request))
                .find_map(|other| joined(&entry, other))
                .map_or_else(|| Arc::clone(&entry), Arc::new);
            let others = variants().filter(|other| !other.head.vary.matches(request));
            let all = std::iter::once(&put).chain(others).take(max_variants);
            Op::Put(Resource::new(all.cloned().collect(), None))
        });
        self.settle(put.weight());
        put
    }

    /// Notes that requests need not wait for each other.
    pub(crate) fn mark_unshared(&self, key: Key, until: Timestamp) {
        self.resources.entry(key).and_upsert_with(|old| {
            let variants = old.map_or_else(|| Arc::from([]), |old| old.into_value().variants);
            Resource::new(variants, Some(until))
        });
        self.settle(EMPTY);
    }

    fn settle(&self, weight: u32) {
        let unsettled = self.unsettled.fetch_add(weight.into(), Relaxed) + u64::from(weight);
        if unsettled > self.max_bytes / 16 {
            self.unsettled.store(0, Relaxed);
            self.resources.run_pending_tasks();
        }
    }

    /// Removes a resource with all its variants. True if there was one.
    pub(crate) fn remove(&self, key: Key) -> bool {
        let found = self.resources.contains_key(&key);
        if found {
            self.resources.invalidate(&key);
        }
        found
    }

    /// Removes this very response.
    pub(crate) fn remove_entry(&self, key: Key, entry: &Arc<Entry>) {
        self.resources.entry(key).and_compute_with(|old| {
            let Some(old) = old.map(moka::Entry::into_value) else { return Op::Nop };
            let left: Arc<[_]> =
                old.variants.iter().filter(|other| !Arc::ptr_eq(other, entry)).cloned().collect();
            match left.len() {
                0 => Op::Remove,
                len if len == old.variants.len() => Op::Nop,
                _ => Op::Put(Resource::new(left, old.unshared_until)),
            }
        });
    }

    /// The number of resources and the bytes that they take.
    pub(crate) fn figures(&self) -> (u64, u64) {
        self.resources.run_pending_tasks();
        (self.resources.entry_count(), self.resources.weighted_size())
    }
}

/// A new part together with what is stored of the same representation.
fn joined(new: &Entry, old: &Entry) -> Option<Entry> {
    let Some((body, part)) = range::combine(new, old) else {
        // A part says too little to take the place of the whole.
        return range::leaves(new, old).then(|| old.twin());
    };
    let mut head: Head = (*new.head).clone();
    let position = new.checked.load(Relaxed).min(old.checked.load(Relaxed));
    if part.is_some() {
        return Some(Entry::new(Arc::new(head), body, part, position));
    }
    head.become_whole();
    Some(Entry::whole(Arc::new(head), body, position, false))
}
