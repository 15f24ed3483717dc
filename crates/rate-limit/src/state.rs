//! The states of all keys, bounded in number.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bartizan_core::{Counter, Key};
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed, StateStore};

/// Takes a [`Key`] for its own hash: it is one already, keyed and of full strength.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not reached by a `Key`, but must not lose anything if it ever is.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

/// Governor's states by key; at the cap, all new keys share one state. Clones share.
#[derive(Clone)]
pub(crate) struct Table(Arc<Inner>);

struct Inner {
    states: DashMapStateStore<Key, BuildHasherDefault<IdentityHasher>>,
    // Counted apart: the map would lock every shard to tell its size.
    len: AtomicUsize,
    cap: AtomicUsize,
    overflow: InMemoryState,
    overflowed: Counter,
}

impl Table {
    pub(crate) fn new(cap: usize) -> Self {
        Self(Arc::new(Inner {
            states: DashMapStateStore::default(),
            len: AtomicUsize::new(0),
            cap: AtomicUsize::new(cap),
            overflow: InMemoryState::default(),
            overflowed: Counter::new(),
        }))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len.load(Relaxed)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.0.cap.load(Relaxed)
    }

    pub(crate) fn set_cap(&self, cap: usize) {
        self.0.cap.store(cap, Relaxed);
    }

    /// How many decisions were made on the shared state.
    pub(crate) fn overflowed(&self) -> u64 {
        self.0.overflowed.get()
    }

    /// Drops the keys whose full quota is back by `now`: a key without a state is in the same
    /// place.
    pub(crate) fn sweep(&self, now: Nanos) {
        self.0.states.retain(|_, state| {
            let keep = theoretical_arrival(state).is_some_and(|arrival| arrival > now);
            if !keep {
                self.0.len.fetch_sub(1, Relaxed);
            }
            keep
        });
    }

    /// Lets no key owe more than up to `latest`, which is where an exhausted key stands. For when a
    /// quota has become more generous: nobody shall wait out the debts of the old one.
    pub(crate) fn forgive(&self, latest: Nanos) {
        let clamp = |state: &InMemoryState| {
            let _: Result<(), ()> =
                state.measure_and_replace(&NotKeyed::NonKey, |arrival| match arrival {
                    Some(arrival) if arrival > latest => Ok(((), latest)),
                    _ => Err(()),
                });
        };
        self.0.states.iter().for_each(|entry| clamp(entry.value()));
        clamp(&self.0.overflow);
    }

    /// Takes room for one more key, if there is any.
    fn reserve(&self) -> bool {
        let cap = self.0.cap.load(Relaxed);
        self.0.len.fetch_update(Relaxed, Relaxed, |len| (len < cap).then_some(len + 1)).is_ok()
    }
}

fn theoretical_arrival(state: &InMemoryState) -> Option<Nanos> {
    // An error leaves the state as it is, which makes this a read.
    let read: Result<(), _> = state.measure_and_replace(&NotKeyed::NonKey, Err);
    read.err().flatten()
}

impl StateStore for Table {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if let Some(state) = self.0.states.get(key) {
            return state.measure_and_replace(&NotKeyed::NonKey, f);
        }
        if !self.reserve() {
            self.0.overflowed.add(1);
            return self.0.overflow.measure_and_replace(&NotKeyed::NonKey, f);
        }
        let mut fresh = false;
        let state = self.0.states.entry(*key).or_insert_with(|| {
            fresh = true;
            InMemoryState::default()
        });
        if !fresh {
            // Another thread put the same key in meanwhile, in the room that it reserved itself.
            self.0.len.fetch_sub(1, Relaxed);
        }
        state.measure_and_replace(&NotKeyed::NonKey, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(table: &Table, key: Key, arrival: u64) {
        let _: Result<(), ()> = table.measure_and_replace(&key, |_| Ok(((), Nanos::new(arrival))));
    }

    fn arrival(table: &Table, key: Key) -> Option<u64> {
        let read: Result<(), _> = table.measure_and_replace(&key, Err);
        read.err().flatten().map(Nanos::as_u64)
    }

    #[test]
    fn new_keys_share_one_state_at_the_cap() {
        let table = Table::new(2);
        for (key, at) in [("a", 10), ("b", 20), ("c", 30), ("d", 40)] {
            put(&table, Key::of(key), at);
        }
        assert_eq!((table.len(), table.0.states.len()), (2, 2));
        assert_eq!(arrival(&table, Key::of("a")), Some(10));
        assert_eq!(arrival(&table, Key::of("e")), Some(40));
        assert_eq!(table.overflowed(), 3);
    }

    #[test]
    fn a_sweep_drops_only_idle_keys() {
        let table = Table::new(2);
        put(&table, Key::of("a"), 10);
        put(&table, Key::of("b"), 20);
        table.sweep(Nanos::new(10));
        assert_eq!((table.len(), table.0.states.len()), (1, 1));
        put(&table, Key::of("c"), 30);
        assert_eq!(arrival(&table, Key::of("c")), Some(30));
        assert_eq!(arrival(&table, Key::of("b")), Some(20));
    }

    #[test]
    fn debts_beyond_the_latest_are_forgiven() {
        let table = Table::new(2);
        put(&table, Key::of("a"), 10);
        put(&table, Key::of("b"), 1000);
        table.forgive(Nanos::new(100));
        assert_eq!(arrival(&table, Key::of("a")), Some(10));
        assert_eq!(arrival(&table, Key::of("b")), Some(100));
    }
}
