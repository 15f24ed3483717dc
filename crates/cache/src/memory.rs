//! The store in this process: quick_cache, by weight.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bartizan_core::{Key, Timestamp};
use http::HeaderMap;
use quick_cache::sync::DefaultLifecycle;
use quick_cache::{OptionsBuilder, Weighter, unsync};

use crate::Settings;
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
pub(crate) struct Memory {
    /// Each has an equal share of the bytes.
    shards: Box<[RwLock<Shard>]>,
    /// The heaviest resource that a shard takes.
    max_weight: u64,
}

/// The locks are ours: what is put depends on what is there. By its lifecycle, what is evicted is
/// let go of outside of them.
type Shard = unsync::Cache<Key, Resource, ByWeight, ByKey, DefaultLifecycle<Key, Resource>>;

/// A resource's variants, the newest first. Replaced as a whole: readers hold no lock to look
/// through them.
#[derive(Clone, Debug)]
struct Resource {
    variants: Arc<[Arc<Entry>]>,
    weight: u64,
    /// Until when its answers are taken to be such as cannot be shared.
    unshared_until: Option<Timestamp>,
}

/// In how many parts the bytes are divided: many, so that readers of one do not wait for a writer of
/// another; and few enough for each to hold what is long.
fn shards(settings: &Settings) -> u64 {
    let shards = (settings.bytes() / BODIES) / settings.body_bytes().max(1);
    1 << shards.clamp(1, MAX_SHARDS).ilog2()
}

#[derive(Clone, Copy, Debug)]
struct ByWeight;

impl Weighter<Key, Resource> for ByWeight {
    fn weight(&self, _: &Key, resource: &Resource) -> u64 {
        resource.weight
    }
}

/// What an empty resource takes.
const EMPTY: u64 = 256;

/// About what a resource takes; by it is decided of how many it is remembered that they were here.
const USUAL: u64 = 4096;

/// The most shards that there are.
const MAX_SHARDS: u64 = 64;

/// Of how many of the longest bodies there is room in a shard, as long as there are several: what
/// is heavier than a shard could not be stored at all.
const BODIES: u64 = 16;

/// What part of a shard is for what was asked for again; nothing heavier than that is taken. In the
/// rest, newcomers wait for it: without one, a few percent of the hits are lost.
const PROVEN: f64 = 0.97;

impl Resource {
    fn new(variants: Arc<[Arc<Entry>]>, unshared_until: Option<Timestamp>) -> Self {
        let weight = variants.iter().map(|entry| entry.weight()).sum::<u64>() + EMPTY;
        Self { variants, weight, unshared_until }
    }

    /// Whether it is worth nothing.
    fn is_empty(&self) -> bool {
        self.variants.is_empty() && self.unshared_until.is_none()
    }

    /// Whether it was not changed since `other` was taken.
    fn is_still(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.variants, &other.variants) && self.unshared_until == other.unshared_until
    }
}

impl Memory {
    pub(crate) fn new(settings: &Settings) -> Self {
        let shards = shards(settings);
        let bytes = settings.bytes() / shards;
        // A body that may take nearly all takes the rest, too.
        let proven = if settings.body_bytes() > bytes / 16 * 15 { 1.0 } else { PROVEN };
        let mut options = OptionsBuilder::new();
        options.weight_capacity(bytes).hot_allocation(proven);
        options.estimated_items_capacity(usize::try_from(bytes / USUAL).unwrap_or(usize::MAX));
        let options = options.build().expect("capacities are set");
        let shard = |_| {
            let options = options.clone();
            RwLock::new(Shard::with_options(
                options,
                ByWeight,
                ByKey::default(),
                Default::default(),
            ))
        };
        let max_weight = (bytes as f64 * proven) as u64;
        Self { shards: (0..shards).map(shard).collect(), max_weight }
    }

    /// Whether it does for other settings of as many bytes, too.
    pub(crate) fn suits(&self, settings: &Settings) -> bool {
        self.shards.len() as u64 <= shards(settings)
    }

    fn read(&self, key: Key) -> RwLockReadGuard<'_, Shard> {
        self.shard(key).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, key: Key) -> RwLockWriteGuard<'_, Shard> {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, key: Key) -> &RwLock<Shard> {
        // By the half of the key that the shard's own table does not use.
        &self.shards[(key.as_u128() >> 64) as usize % self.shards.len()]
    }

    #[inline]
    pub(crate) fn find(&self, key: Key, request: &HeaderMap, now: Timestamp) -> Found {
        let shard = self.read(key);
        let Some(resource) = shard.get(&key) else { return Found::default() };
        let unshared = resource.unshared_until.is_some_and(|until| now < until);
        // The usual case: one for all, and the lock is not held for long.
        if let [only] = &*resource.variants
            && only.head.vary.is_for_all()
        {
            return Found { entry: Some(Arc::clone(only)), other: None, unshared };
        }
        let resource = resource.clone();
        drop(shard);
        let mut matching =
            resource.variants.iter().filter(|entry| entry.head.vary.matches(request));
        let entry = matching.next().cloned();
        let other = match entry {
            Some(_) => None,
            None => resource.variants.first().cloned(),
        };
        Found { entry, other, unshared }
    }

    /// Puts what `change` makes of a resource in its place, or leaves it as it is if that is
    /// nothing. It is made outside of the lock, and anew if somebody else came between.
    fn update(&self, key: Key, mut change: impl FnMut(Option<&Resource>) -> Option<Resource>) {
        loop {
            let old = self.read(key).peek(&key).cloned();
            let Some(new) = change(old.as_ref()) else { return };
            // Let go of after the lock.
            let mut evicted = Default::default();
            let mut shard = self.write(key);
            let is_still = match (&old, shard.peek(&key)) {
                (Some(old), Some(now)) => now.is_still(old),
                (None, None) => true,
                _ => false,
            };
            if is_still {
                if new.is_empty() {
                    shard.remove(&key);
                } else {
                    shard.insert_with_lifecycle(key, new, &mut evicted);
                }
                return;
            }
        }
    }

    /// Stores a response to `request` in place of those that would have answered it; a part is put
    /// together with what belongs to it.
    pub(crate) fn put(
        &self,
        key: Key,
        entry: Entry,
        request: &HeaderMap,
        settings: &Settings,
    ) -> Arc<Entry> {
        let entry = Arc::new(entry);
        let mut put = Arc::clone(&entry);
        self.update(key, |old| {
            let variants = || old.iter().flat_map(|resource| resource.variants.iter());
            put = variants()
                .filter(|other| other.head.vary.matches(request))
                .find_map(|other| joined(&entry, other, settings.body_bytes()))
                .map_or_else(|| Arc::clone(&entry), Arc::new);
            let mut left = self.max_weight.saturating_sub(EMPTY + put.weight());
            let others = variants().filter(|other| !other.head.vary.matches(request));
            // What is heavier than all that there may be would not be stored at all.
            let others = others.map_while(|other| {
                left = left.checked_sub(other.weight())?;
                Some(other)
            });
            let all = std::iter::once(&put).chain(others).take(settings.variants());
            Some(Resource::new(all.cloned().collect(), None))
        });
        put
    }

    /// Notes that requests need not wait for each other.
    pub(crate) fn mark_unshared(&self, key: Key, until: Timestamp) {
        self.update(key, |old| {
            let variants = old.map_or_else(Arc::default, |old| Arc::clone(&old.variants));
            Some(Resource::new(variants, Some(until)))
        });
    }

    /// Removes a resource with all its variants. True if there was one.
    pub(crate) fn remove(&self, key: Key) -> bool {
        let removed = self.write(key).remove(&key);
        removed.is_some()
    }

    /// Removes this very response.
    pub(crate) fn remove_entry(&self, key: Key, entry: &Arc<Entry>) {
        self.update(key, |old| {
            let old = old?;
            let left: Arc<[_]> =
                old.variants.iter().filter(|other| !Arc::ptr_eq(other, entry)).cloned().collect();
            match left.len() {
                0 => Some(Resource::new(left, None)),
                len if len == old.variants.len() => None,
                _ => Some(Resource::new(left, old.unshared_until)),
            }
        });
    }

    /// The number of resources and the bytes that they take.
    pub(crate) fn figures(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(count, weight), shard| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            (count + shard.len() as u64, weight + shard.weight())
        })
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

/// A new part together with what is stored of the same representation.
fn joined(new: &Entry, old: &Entry, limit: u64) -> Option<Entry> {
    let Some((body, part)) = range::combine(new, old, limit) else {
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::entry::tests::{entry, headers};

    const NOW: Timestamp = Timestamp::from_nanos(0);

    fn settings(bytes: u64, body_bytes: u64) -> Settings {
        Settings::default().max_bytes(bytes).max_body_bytes(body_bytes)
    }

    /// A response with a body of so many bytes.
    fn long(len: usize) -> Entry {
        Entry { body: vec![b'x'; len].into(), ..entry(200, &[("cache-control", "max-age=60")], "") }
    }

    /// A response to requests with this `X`.
    fn variant(x: &'static str, body: Bytes) -> (Entry, HeaderMap) {
        let request = headers(&[("x", x)]);
        let fields = [("cache-control", "max-age=60"), ("vary", "x")];
        let entry = entry(200, &fields, "");
        let mut head = (*entry.head).clone();
        head.vary = crate::key::Vary::of(&headers(&fields), &request, false).unwrap();
        (Entry { head: Arc::new(head), body, ..entry }, request)
    }

    fn has(memory: &Memory, key: Key, request: &HeaderMap) -> bool {
        memory.find(key, request, NOW).entry.is_some()
    }

    #[test]
    fn the_longest_body_is_stored_however_the_bytes_are_divided() {
        const MIB: u64 = 1 << 20;
        for (bytes, body_bytes, parts) in [
            (64 * MIB, MIB, 4),
            (64 * MIB, 3 * MIB, 1),
            (8 * MIB, 7 * MIB + MIB / 2, 1),
            (8 * MIB, 8 * MIB - 4096, 1),
            (1024 * MIB, MIB / 2, 64),
            (100_000, 10_000, 1),
        ] {
            let memory = Memory::new(&settings(bytes, body_bytes));
            assert_eq!(memory.shards.len(), parts);
            for n in 0..3 {
                let key = Key::of(&n);
                memory.put(key, long(body_bytes as usize), &HeaderMap::new(), &Settings::default());
                assert!(has(&memory, key, &HeaderMap::new()), "{bytes} {body_bytes}");
            }
        }
        let (one, none) = (Memory::new(&settings(10, 1)), Memory::new(&settings(1, 0)));
        assert_eq!((one.shards.len(), none.shards.len()), (1, 1));
    }

    #[test]
    fn what_is_there_stays_within_the_bytes_also_as_it_grows() {
        let memory = Memory::new(&settings(1 << 20, 1 << 18));
        for round in 1..=4 {
            for n in 0..64 {
                memory.put(Key::of(&n), long(round << 12), &HeaderMap::new(), &Settings::default());
                assert!(memory.figures().1 <= 1 << 20);
            }
        }
        assert!(memory.figures().0 > 32, "{:?}", memory.figures());
    }

    #[test]
    fn variants_that_do_not_fit_beside_a_new_one_make_room() {
        let memory = Memory::new(&settings(1 << 18, 1 << 17));
        let key = Key::of(&0);
        let names = ["a", "b", "c"];
        for name in names {
            let (entry, request) = variant(name, vec![b'x'; 100_000].into());
            memory.put(key, entry, &request, &Settings::default());
        }
        let found = names.map(|name| has(&memory, key, &headers(&[("x", name)])));
        assert_eq!(found, [false, true, true]);
    }

    #[test]
    fn variants_that_are_put_at_the_same_time_are_all_kept() {
        let memory = Memory::new(&Settings::default());
        let key = Key::of(&0);
        let names = ["a", "b", "c", "d"];
        for _ in 0..200 {
            std::thread::scope(|scope| {
                for name in names {
                    let memory = &memory;
                    scope.spawn(move || {
                        let (entry, request) = variant(name, Bytes::new());
                        memory.put(key, entry, &request, &Settings::default());
                    });
                }
            });
            assert!(names.iter().all(|name| has(&memory, key, &headers(&[("x", *name)]))));
            assert!(memory.remove(key));
            assert_eq!(memory.figures(), (0, 0));
        }
    }

    #[test]
    fn only_the_very_response_is_removed() {
        let memory = Memory::new(&Settings::default());
        let key = Key::of(&0);
        let (first, request) = variant("a", Bytes::new());
        let first = memory.put(key, first, &request, &Settings::default());
        let second = memory.put(key, variant("a", Bytes::new()).0, &request, &Settings::default());
        memory.remove_entry(key, &first);
        assert!(has(&memory, key, &request), "it was replaced already");
        memory.mark_unshared(key, Timestamp::from_nanos(1));
        let found = memory.find(key, &request, NOW);
        assert!(found.unshared && found.entry.is_some());
        memory.remove_entry(key, &second);
        assert_eq!(memory.figures(), (0, 0));
        memory.mark_unshared(key, Timestamp::from_nanos(1));
        assert!(memory.find(key, &request, NOW).unshared);
        assert!(!memory.find(key, &request, Timestamp::from_nanos(1)).unshared);
    }
}
