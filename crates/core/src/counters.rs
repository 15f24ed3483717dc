//! Counters that no two threads write at once.

use std::array;
use std::cell::Cell;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};

/// Counts events of `N` kinds that nearly every request causes, from any thread.
///
/// A [`Counter`](crate::Counter) is one number for all, so that counting takes the cache line away
/// from every other core, and an atomic exchange even where there is but one. Here each of up to 64
/// threads counts in a cache line of its own, by a load and a store; further threads share 16 lines.
/// It takes 5 KiB for up to eight kinds, and reading it is the dearer.
///
/// ```
/// use bartizan_core::Counters;
///
/// let counters = Counters::<2>::new();
/// std::thread::scope(|scope| {
///     scope.spawn(|| counters.add(0));
///     scope.spawn(|| counters.add(0));
/// });
/// assert_eq!((counters.get(0), counters.get(1)), (2, 0));
/// ```
#[derive(Debug)]
pub struct Counters<const N: usize> {
    /// By the number that a thread holds: written by that thread only.
    own: [Line<N>; OWN],
    shared: [Line<N>; SHARED],
}

const OWN: usize = u64::BITS as usize;
const SHARED: usize = 16;

#[derive(Debug)]
#[repr(align(64))]
struct Line<const N: usize>([AtomicU64; N]);

impl<const N: usize> Line<N> {
    fn new() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl<const N: usize> Counters<N> {
    /// Creates counters at 0.
    #[must_use]
    pub fn new() -> Self {
        Self { own: array::from_fn(|_| Line::new()), shared: array::from_fn(|_| Line::new()) }
    }

    /// Counts one event more of this kind, from 0. Kinds that there are not are not counted.
    #[inline]
    pub fn add(&self, kind: usize) {
        match self.own.get(NUMBER.get()) {
            Some(line) => {
                if let Some(count) = line.0.get(kind) {
                    count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
                }
            }
            None => self.add_without_number(kind),
        }
    }

    #[cold]
    fn add_without_number(&self, kind: usize) {
        if NUMBER.get() == UNASKED {
            NUMBER.set(take_number());
            return self.add(kind);
        }
        let line = self.shared.get(NUMBER.get().wrapping_sub(OWN) % SHARED);
        if let Some(count) = line.and_then(|line| line.0.get(kind)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// How many events of this kind there were so far.
    #[must_use]
    pub fn get(&self, kind: usize) -> u64 {
        let lines = self.own.iter().chain(&self.shared);
        let counts = lines.filter_map(|line| line.0.get(kind));
        counts.fold(0, |sum, count| sum.wrapping_add(count.load(Relaxed)))
    }
}

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The numbers below [`OWN`] that threads hold, as bits.
static HELD: AtomicU64 = AtomicU64::new(0);

/// That a thread has not counted yet.
const UNASKED: usize = usize::MAX;

thread_local! {
    /// The line that this thread counts in. Without a destructor, so that it can always be read.
    static NUMBER: Cell<usize> = const { Cell::new(UNASKED) };
    /// Gives the number back when the thread ends.
    static HOLD: Hold = const { Hold(Cell::new(0)) };
}

/// The bit of the number that this thread holds, or none.
struct Hold(Cell<u64>);

impl Drop for Hold {
    fn drop(&mut self) {
        // What is dropped after this may count still: on a line for all.
        NUMBER.set(OWN);
        // Whoever gets the number next sees what was counted under it.
        HELD.fetch_and(!self.0.get(), Release);
    }
}

/// A free number, or one of a shared line.
fn take_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let shared = || OWN + NEXT.fetch_add(1, Relaxed) % SHARED;
    // A thread that is about to end could not give it back.
    let taken = HOLD.try_with(|hold| {
        let lowest_free = |held: u64| Some(held | held.wrapping_add(1)).filter(|new| *new != held);
        let held = HELD.fetch_update(AcqRel, Acquire, lowest_free).ok()?;
        hold.0.set(!held & held.wrapping_add(1));
        Some(held.trailing_ones() as usize)
    });
    taken.ok().flatten().unwrap_or_else(shared)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier, Mutex, PoisonError};
    use std::thread;

    use super::*;

    /// Each of these tests wants the lines for itself.
    static ALONE: Mutex<()> = Mutex::new(());

    #[test]
    fn every_event_is_counted_by_more_threads_than_have_a_line() {
        const THREADS: usize = 2 * (OWN + SHARED);
        const EVENTS: u64 = 1_000;
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = Counters::<3>::new();
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    counters.add(0);
                    // All of them are there at once.
                    barrier.wait();
                    (0..EVENTS).for_each(|_| counters.add(1));
                });
            }
        });
        let threads = THREADS as u64;
        assert_eq!((counters.get(0), counters.get(1)), (threads, threads * EVENTS));
        assert_eq!((counters.get(2), counters.get(3)), (0, 0));
    }

    #[test]
    fn a_thread_leaves_its_line_to_another() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = Arc::new(Counters::<1>::new());
        for _ in 0..2 * OWN {
            let counters = Arc::clone(&counters);
            thread::spawn(move || counters.add(0)).join().unwrap();
        }
        assert_eq!(counters.get(0), 2 * OWN as u64);
        assert!(counters.shared.iter().all(|line| line.0[0].load(Relaxed) == 0));
    }

    #[test]
    fn a_thread_that_ends_counts_to_the_last() {
        struct Late(Arc<Counters<1>>);
        impl Drop for Late {
            fn drop(&mut self) {
                self.0.add(0);
            }
        }
        thread_local! {
            static BEFORE: Cell<Option<Late>> = const { Cell::new(None) };
            static AFTER: Cell<Option<Late>> = const { Cell::new(None) };
        }
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = Arc::new(Counters::new());
        let theirs = Arc::clone(&counters);
        let ending = thread::spawn(move || {
            BEFORE.set(Some(Late(Arc::clone(&theirs))));
            theirs.add(0);
            AFTER.set(Some(Late(theirs)));
        });
        ending.join().unwrap();
        assert_eq!(counters.get(0), 3);
    }
}
