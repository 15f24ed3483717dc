//! The store in this process: moka, by weight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bartizan_core::Key;
use http::HeaderMap;
use moka::ops::compute::Op;
use moka::sync::Cache;

use crate::entry::Entry;

/// What is found under a key.
#[derive(Debug)]
pub(crate) enum Found {
    Entry(Arc<Entry>),
    /// Only variants for other requests.
    OtherVariants,
    Nothing,
}

/// Responses by key, within a number of bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    resources: Cache<Key, Resource>,
    max_bytes: u64,
    /// What was put since moka last made room: it does so late, and overshoots until then.
    unsettled: AtomicU64,
}

/// A resource's variants, the newest first. Replaced as a whole: readers never wait.
#[derive(Clone, Debug)]
struct Resource {
    variants: Arc<[Arc<Entry>]>,
    weight: u32,
}

impl Resource {
    fn new(variants: Arc<[Arc<Entry>]>) -> Self {
        let weight = variants.iter().fold(0_u32, |sum, entry| sum.saturating_add(entry.weight()));
        Self { variants, weight }
    }
}

impl Memory {
    pub(crate) fn new(max_bytes: u64) -> Self {
        let resources = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, resource: &Resource| resource.weight)
            .build();
        Self { resources, max_bytes, unsettled: AtomicU64::new(0) }
    }

    pub(crate) fn find(&self, key: Key, request: &HeaderMap) -> Found {
        let Some(resource) = self.resources.get(&key) else { return Found::Nothing };
        match resource.variants.iter().find(|entry| entry.vary.matches(request)) {
            Some(entry) => Found::Entry(Arc::clone(entry)),
            None => Found::OtherVariants,
        }
    }

    /// Stores a response to `request` in place of those that would have answered it.
    pub(crate) fn put(&self, key: Key, entry: Entry, request: &HeaderMap, max_variants: usize) {
        let weight = entry.weight();
        let entry = Arc::new(entry);
        self.resources.entry(key).and_compute_with(|old| {
            let old = old.map(moka::Entry::into_value);
            let others = old.iter().flat_map(|resource| resource.variants.iter());
            let others = others.filter(|other| !other.vary.matches(request));
            let all = std::iter::once(&entry).chain(others).take(max_variants);
            Op::Put(Resource::new(all.cloned().collect()))
        });
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
                _ => Op::Put(Resource::new(left)),
            }
        });
    }

    /// The number of resources and the bytes that they take.
    pub(crate) fn figures(&self) -> (u64, u64) {
        self.resources.run_pending_tasks();
        (self.resources.entry_count(), self.resources.weighted_size())
    }
}
