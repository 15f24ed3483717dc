//! One number for each of many keys, in a fixed piece of memory.
//!
//! A set-associative table: a key's hash names a set of four slots, which fill one cache line, and
//! the key is in one of them or nowhere. A slot is 16 bytes: half of the key's hash, and its
//! theoretical arrival time. Nothing is ever swept: a slot whose time has passed says what no slot
//! says, so the next newcomer of its set may have it.
//!
//! A newcomer that finds four live slots takes the one that is nearest to idle **with its debt**
//! (as counters do in Space-Saving: Metwally, Agrawal, El Abbadi, 2005). Within a set, times only
//! grow, so a key that was evicted finds at least what it owed when it comes back: a flood of keys
//! never buys anyone a fresh burst. The price is that a newcomer to a full set starts with the
//! smallest debt that is there. Debts that nobody can owe any more, since the quota is another now, go
//! down to what can be owed when a newcomer finds them: only their owners would see to it otherwise.

use bartizan_core::{Counter, Key};

use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::{AtomicU64, Lock};

#[cfg(all(test, loom))]
mod model;

const WAYS: usize = 4;

/// Bytes of a set.
const SET: usize = 64;

/// Newcomers to one set take turns, and several sets share a lock.
const LOCKS: usize = 256;

/// In place of an arrival time while a slot changes hands: nobody may count on it.
const TAKEN: u64 = 1 << 63;

pub(crate) struct Table {
    sets: Box<[Set]>,
    locks: Box<[Lock]>,
    evictions: Counter,
}

#[derive(Default)]
#[repr(align(64))]
struct Set([Slot; WAYS]);

/// Zero throughout: never used.
#[derive(Default)]
struct Slot {
    print: AtomicU64,
    arrival: AtomicU64,
}

impl Table {
    /// A table of at most `bytes` bytes, and at least one set.
    pub(crate) fn new(bytes: usize) -> Self {
        let sets = (bytes / SET).max(1);
        Self {
            sets: (0..sets).map(|_| Set::default()).collect(),
            locks: (0..sets.min(LOCKS)).map(|_| Lock::default()).collect(),
            evictions: Counter::new(),
        }
    }

    /// How often a newcomer had to take a slot whose debt was still live.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.get()
    }

    /// How many keys owe something. Looks at every slot.
    pub(crate) fn live(&self, now: u64) -> usize {
        let slots = self.sets.iter().flat_map(|set| &set.0);
        slots.filter(|slot| slot.arrival.load(Relaxed) & !TAKEN > now).count()
    }

    /// Replaces the arrival time of `key` by the one that `decide` makes of it, at once for all
    /// threads, and returns both. `decide` may run several times; its last run holds.
    ///
    /// A key without a slot gets one only if it comes to owe more than the slot's last owner did:
    /// who is refused, or given something back, needs none. Nobody owes more than `longest`.
    #[inline]
    pub(crate) fn update(
        &self,
        key: Key,
        now: u64,
        longest: u64,
        mut decide: impl FnMut(u64) -> u64,
    ) -> (u64, u64) {
        let (place, print) = self.place(key);
        let set = &self.sets[place];
        for slot in &set.0 {
            if slot.print.load(Relaxed) == print {
                if let Some(times) = slot.update(print, &mut decide) {
                    return times;
                }
                break;
            }
        }
        self.insert(place, print, (now, longest), decide)
    }

    /// The arrival time of `key`; if it has no slot, the one that it would start with.
    pub(crate) fn peek(&self, key: Key) -> u64 {
        let (place, print) = self.place(key);
        let set = &self.sets[place];
        let own = set.0.iter().find(|slot| slot.print.load(Acquire) == print);
        let arrival = match own {
            Some(slot) => slot.arrival.load(Acquire),
            None => set.nearest_to_idle().1,
        };
        // While it changes hands, its time is unknown: idle is a fair guess.
        if arrival & TAKEN == 0 { arrival } else { 0 }
    }

    /// The set by one half of the hash, the print by the other.
    #[inline]
    fn place(&self, key: Key) -> (usize, u64) {
        let key = key.as_u128();
        let (high, low) = ((key >> 64) as u64, key as u64);
        let set = (u128::from(low) * self.sets.len() as u128) >> 64;
        // Zero marks a slot that was never used.
        (set as usize, high.max(1))
    }

    #[cold]
    #[inline(never)]
    fn insert(
        &self,
        place: usize,
        print: u64,
        (now, longest): (u64, u64),
        mut decide: impl FnMut(u64) -> u64,
    ) -> (u64, u64) {
        let latest = now.saturating_add(longest);
        let set = &self.sets[place];
        self.locks[place % self.locks.len()].hold(|| {
            loop {
                // It may have come since we looked. Nobody else changes prints now.
                if let Some(own) = set.0.iter().find(|slot| slot.print.load(Relaxed) == print)
                    && let Some(times) = own.update(print, &mut decide)
                {
                    return times;
                }
                let (slot, arrival) = set.nearest_to_idle();
                if arrival > latest {
                    // If it has changed meanwhile, the next look will tell.
                    let _ = slot.arrival.compare_exchange(arrival, latest, AcqRel, Relaxed);
                    continue;
                }
                let next = decide(arrival);
                if next <= arrival {
                    return (arrival, next);
                }
                // From here on the last owner's hits miss, and wait for their turn at the lock.
                if slot.arrival.compare_exchange(arrival, TAKEN, AcqRel, Relaxed).is_err() {
                    continue;
                }
                slot.print.store(print, Release);
                slot.arrival.store(next, Release);
                if arrival > now {
                    self.evictions.add(1);
                }
                return (arrival, next);
            }
        })
    }
}

impl Set {
    /// That slot, and the time by which it was chosen.
    fn nearest_to_idle(&self) -> (&Slot, u64) {
        let [first, rest @ ..] = &self.0;
        rest.iter().fold((first, first.arrival.load(Acquire)), |nearest, slot| {
            let arrival = slot.arrival.load(Acquire);
            if arrival < nearest.1 { (slot, arrival) } else { nearest }
        })
    }
}

impl Slot {
    /// `None` if the slot is not, or no longer, the key's own.
    #[inline]
    fn update(&self, print: u64, decide: &mut impl FnMut(u64) -> u64) -> Option<(u64, u64)> {
        loop {
            // In this order: a slot gets its new print before its new time, so that a time which
            // is still the same when it is replaced belonged to this print all along.
            let arrival = self.arrival.load(Acquire);
            if arrival & TAKEN != 0 || self.print.load(Acquire) != print {
                return None;
            }
            let next = decide(arrival);
            if next == arrival
                || self.arrival.compare_exchange_weak(arrival, next, AcqRel, Relaxed).is_ok()
            {
                return Some((arrival, next));
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::sync::atomic::AtomicUsize;

    use proptest::prelude::*;

    fn key(print: u64, place: u64) -> Key {
        Key::from_u128(u128::from(print) << 64 | u128::from(place))
    }

    fn add(table: &Table, key: Key, now: u64, more: u64) -> u64 {
        table.update(key, now, 1 << 40, |arrival| arrival.max(now) + more).0
    }

    #[test]
    fn a_set_is_one_cache_line() {
        assert_eq!((size_of::<Set>(), align_of::<Set>()), (SET, SET));
        assert_eq!(Table::new(0).sets.len(), 1);
        assert_eq!(Table::new(1_000_000).sets.len(), 15_625);
    }

    #[test]
    fn idle_slots_are_reused_without_loss() {
        let table = Table::new(SET);
        for print in 1..=4 {
            add(&table, key(print, 0), 0, 10);
        }
        assert_eq!(table.live(0), 4);
        // At 10, all four are idle: four others find room, and nobody's debt was lost.
        for print in 5..=8 {
            assert!(add(&table, key(print, 0), 10, 10) <= 10);
        }
        assert_eq!((table.live(10), table.evictions()), (4, 0));
    }

    #[test]
    fn a_newcomer_to_a_full_set_takes_the_smallest_debt() {
        let table = Table::new(SET);
        for print in 1..=4 {
            add(&table, key(print, 0), 0, 10 * print);
        }
        assert_eq!(add(&table, key(9, 0), 0, 5), 10);
        assert_eq!(table.evictions(), 1);
        // Who was evicted comes back to at least what it owed.
        assert_eq!(add(&table, key(1, 0), 0, 0), 15);
    }

    #[test]
    fn debts_that_cannot_be_go_down_when_a_newcomer_finds_them() {
        let table = Table::new(SET);
        for print in 1..=4 {
            add(&table, key(print, 0), 0, 1_000 * print);
        }
        let ask = |now| table.update(key(9, 0), now, 50, |arrival| arrival.max(now));
        assert_eq!(ask(0), (50, 50));
        // The owner's has gone down too; the others stay until they are found.
        assert_eq!((table.peek(key(1, 0)), table.peek(key(2, 0))), (50, 2_000));
        assert_eq!(ask(50), (50, 50));
    }

    #[test]
    fn u08_ten_million_keys_change_nothing_in_memory() {
        let table = Table::new(64 * 1024);
        let sets = table.sets.as_ptr();
        for n in 0..10_000_000_u64 {
            add(&table, Key::of(&n), n, 1_000);
        }
        assert_eq!(sets, table.sets.as_ptr());
        assert!(table.live(10_000_000) <= 4096);
        assert!(table.evictions() > 0);
    }

    #[test]
    fn who_owes_nothing_takes_no_slot() {
        let table = Table::new(SET);
        add(&table, key(1, 0), 0, 10);
        table.update(key(2, 0), 0, 100, |arrival| arrival.saturating_sub(5));
        assert_eq!((table.peek(key(1, 0)), table.peek(key(2, 0))), (10, 0));
        assert_eq!(table.live(0), 1);
    }

    #[test]
    fn threads_lose_nothing() {
        // So few slots that keys evict each other all the time.
        let (table, spent) = (Table::new(SET), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (table, spent) = (&table, &spent);
                scope.spawn(move || {
                    for n in 0..50_000_u64 {
                        let key = key(1 + (n * (thread + 1)) % 7, 0);
                        // At most ten units may ever be spent in a set by one key.
                        let (before, after) =
                            table.update(key, 0, 10, |arrival| (arrival + 1).min(10));
                        let taken = after > before;
                        spent.fetch_add(usize::from(taken), std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        // Four slots of ten each: whoever came later inherited.
        assert_eq!(spent.into_inner(), 40);
    }

    proptest! {
        /// Whatever else is in the table, no key is ever believed to owe less than it does.
        #[test]
        fn no_debt_is_forgotten(
            steps in prop::collection::vec((1..12_u64, 0..20_u64, 1..50_u64), 1..2_000),
        ) {
            let (table, mut owed, mut now) = (Table::new(2 * SET), HashMap::new(), 0);
            for (print, pause, more) in steps {
                now += pause;
                let true_arrival = owed.entry(print).or_insert(0_u64);
                let place = if print % 2 == 0 { 0 } else { u64::MAX };
                let believed = add(&table, key(print, place), now, more);
                prop_assert!(believed.max(now) >= (*true_arrival).max(now));
                *true_arrival = (*true_arrival).max(now) + more;
            }
        }
    }
}
