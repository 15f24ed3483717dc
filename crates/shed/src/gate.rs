use crate::sync::atomic::Ordering::{Relaxed, SeqCst};
use crate::sync::atomic::{AtomicU32, AtomicU64, fence};

/// The low bits of the word count who is inside, the others who ever came in.
const INSIDE_BITS: u32 = 20;
const INSIDE: u64 = (1 << INSIDE_BITS) - 1;
const ENTER: u64 = 1 << INSIDE_BITS | 1;

/// More than any limit, and as much below what the bits can hold as threads could ever add at once.
pub(crate) const MOST: u32 = 1 << (INSIDE_BITS - 1);

/// Who is inside, how many may be, and whether anybody waits.
///
/// Entries and exits are one atomic step each. Whoever leaves looks for those who wait after it has
/// left, and whoever begins to wait tries the gate once more after it is known to wait: one of both
/// sees the other, since all four steps are sequentially consistent.
#[derive(Debug)]
pub(crate) struct Gate {
    word: AtomicU64,
    limit: AtomicU32,
    /// What the fast path holds itself to: the limit, or 0 if every request takes the slow one.
    fast: AtomicU32,
    waiting: AtomicU32,
}

/// A way in that was granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    /// How many came in before.
    pub(crate) number: u64,
}

impl Gate {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            word: AtomicU64::new(0),
            limit: AtomicU32::new(limit),
            fast: AtomicU32::new(limit),
            waiting: AtomicU32::new(0),
        }
    }

    /// Enters if there is room, unless every request has to take the slow path.
    #[inline]
    pub(crate) fn enter_fast(&self) -> Option<Entry> {
        self.enter_below(self.fast.load(Relaxed))
    }

    /// Enters if there is room.
    pub(crate) fn enter(&self) -> Option<Entry> {
        self.enter_below(self.limit())
    }

    /// Enters, room or not; `None` only if there are more inside than can be counted.
    pub(crate) fn force(&self) -> Option<Entry> {
        self.enter_below(MOST)
    }

    #[inline]
    fn enter_below(&self, limit: u32) -> Option<Entry> {
        let mut word = self.word.load(Relaxed);
        loop {
            if inside(word) >= limit {
                return None;
            }
            match self.word.compare_exchange_weak(word, word.wrapping_add(ENTER), SeqCst, Relaxed) {
                Ok(_) => return Some(Entry { number: word >> INSIDE_BITS }),
                Err(now) => word = now,
            }
        }
    }

    /// Leaves. True if the place was one of the last.
    #[inline]
    pub(crate) fn exit(&self) -> bool {
        inside(self.word.fetch_sub(1, SeqCst)) >= self.limit()
    }

    /// Whether somebody waits, as whoever has just left must know.
    #[inline]
    pub(crate) fn is_waited_for(&self) -> bool {
        // loom takes sequentially consistent steps for acquiring and releasing ones.
        #[cfg(loom)]
        fence(SeqCst);
        self.waiting.load(SeqCst) > 0
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// To be told under the queue's lock, before the gate is tried for those who wait.
    pub(crate) fn set_waiting(&self, waiting: usize) {
        self.waiting.store(u32::try_from(waiting).unwrap_or(u32::MAX), SeqCst);
        // What is read of the word from here on is no older than that.
        fence(SeqCst);
    }

    #[inline]
    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Sets the limit. `is_open` says whether requests may take the fast path.
    pub(crate) fn set_limit(&self, limit: u32, is_open: bool) {
        let limit = limit.min(MOST);
        self.limit.store(limit, SeqCst);
        self.fast.store(if is_open { limit } else { 0 }, Relaxed);
    }

    pub(crate) fn inside(&self) -> u32 {
        inside(self.word.load(Relaxed))
    }

    /// How many ever came in, and how many of them are inside.
    pub(crate) fn count(&self) -> (u64, u32) {
        let word = self.word.load(Relaxed);
        (word >> INSIDE_BITS, inside(word))
    }
}

const fn inside(word: u64) -> u32 {
    (word & INSIDE) as u32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn counts_who_comes_and_who_is_inside() {
        let gate = Gate::new(2);
        assert_eq!(gate.enter_fast(), Some(Entry { number: 0 }));
        assert_eq!(gate.enter(), Some(Entry { number: 1 }));
        assert_eq!(gate.enter(), None);
        assert_eq!(gate.force(), Some(Entry { number: 2 }));
        assert_eq!(gate.count(), (3, 3));
        assert!(gate.exit());
        assert!(gate.exit());
        assert!(!gate.exit());
        assert_eq!(gate.count(), (3, 0));
    }

    #[test]
    fn a_closed_fast_path_leaves_the_slow_one() {
        let gate = Gate::new(2);
        gate.set_limit(5, false);
        assert_eq!(gate.enter_fast(), None);
        assert!(gate.enter().is_some());
        gate.set_limit(u32::MAX, true);
        assert_eq!(gate.limit(), MOST);
    }
}
