use super::tally::Faults;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A window of time is cut into so many slices; it slides by one of them.
pub(crate) const SLICES: u64 = 10;

/// How many calls and faults there had been when the slices of a window of time began: what has
/// been counted since the oldest began is what the window holds.
///
/// Read without a lock; written under the breaker's.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    /// When the current slice is over, in nanoseconds.
    end: AtomicU64,
    /// What there had been when the oldest slice began.
    base: Mark,
    /// The same for each slice, by its number modulo how many there are.
    marks: [Mark; SLICES as usize],
}

#[derive(Debug, Default)]
struct Mark {
    calls: AtomicU64,
    faults: AtomicU64,
}

impl Mark {
    fn set(&self, (calls, faults): (u64, Faults)) {
        self.calls.store(calls, Release);
        self.faults.store(faults.bits(), Release);
    }

    #[inline]
    fn get(&self) -> (u64, Faults) {
        (self.calls.load(Acquire), Faults::from_bits(self.faults.load(Acquire)))
    }
}

impl Slices {
    /// Whether the current slice is over.
    #[inline]
    pub(crate) fn is_behind(&self, now: u64) -> bool {
        now >= self.end.load(Relaxed)
    }

    /// What has been counted before the window.
    #[inline]
    pub(crate) fn base(&self) -> (u64, Faults) {
        self.base.get()
    }

    /// Moves on to the slice of `now`, each `width` nanoseconds long. `totals` is what has been
    /// counted so far.
    pub(crate) fn roll(&self, now: u64, width: u64, totals: (u64, Faults)) {
        if !self.is_behind(now) {
            return;
        }
        let current = self.end.load(Relaxed) / width - 1;
        let next = now / width;
        // After a pause longer than the window there is nothing left to forget but its slices.
        for slice in (current + 1).max((next + 1).saturating_sub(SLICES))..=next {
            self.mark(slice).set(totals);
        }
        self.base.set(self.mark(next + 1).get());
        self.end.store((next + 1).saturating_mul(width), Relaxed);
    }

    /// Begins anew at `now`. What `totals` holds beyond `base` lies in the current slice.
    pub(crate) fn reset(&self, now: u64, width: u64, base: (u64, Faults)) {
        self.marks.iter().for_each(|mark| mark.set(base));
        self.base.set(base);
        self.end.store((now / width + 1).saturating_mul(width), Relaxed);
    }

    fn mark(&self, slice: u64) -> &Mark {
        &self.marks[(slice % SLICES) as usize]
    }
}
