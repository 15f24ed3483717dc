use super::tagged::{Tag, Tagged};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;

/// The slow-call limit is cut into so many slices.
const PER_LIMIT: u64 = 8;
/// One more: the slice that is going on.
const SLOTS: usize = PER_LIMIT as usize + 1;

/// The low bits of a slot hold a count, the others the number of the slice that it is of.
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// How many calls are in flight for longer than the slow-call limit, without a list of them.
///
/// Calls are counted by the slice of time that they began in. What a slot holds when a younger
/// slice takes it has outlived the limit, and moves to `overdue`. No lock, and constant time.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    slots: [Tagged; SLOTS],
    overdue: Tagged,
    /// The slice of the last look, so that one arrival per slice looks.
    looked: AtomicU64,
}

/// The slice of time that a call began in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Slice(u64);

impl Slice {
    /// The slice of a time, in nanoseconds, where calls are slow after `limit` nanoseconds.
    #[inline]
    pub(crate) fn of(nanos: u64, limit: u64) -> Self {
        Self(nanos / limit.div_ceil(PER_LIMIT).max(1))
    }

    const fn slot(self) -> usize {
        (self.0 % SLOTS as u64) as usize
    }

    /// The bits of the number that a slot has room for.
    const fn bits(self) -> u64 {
        (self.0 << COUNT_BITS & ((1 << Tagged::BITS) - 1)) >> COUNT_BITS
    }
}

impl Flight {
    /// Empties it, for calls by holders of another tag.
    pub(crate) fn reset(&self, tag: Tag) {
        self.slots.iter().for_each(|slot| slot.store(tag, 0));
        self.overdue.store(tag, 0);
    }

    /// True for one arrival per slice.
    #[inline]
    pub(crate) fn is_time_to_look(&self, slice: Slice) -> bool {
        let looked = self.looked.load(Relaxed);
        looked != slice.0 && self.looked.compare_exchange(looked, slice.0, Relaxed, Relaxed).is_ok()
    }

    /// A call begins.
    #[inline]
    pub(crate) fn enter(&self, tag: Tag, slice: Slice) {
        let Some(slot) = self.slots.get(slice.slot()) else { return };
        let one_more = |word| {
            if word >> COUNT_BITS == slice.bits() {
                word + 1
            } else {
                slice.bits() << COUNT_BITS | 1
            }
        };
        let Some((old, _)) = slot.update(tag, one_more) else { return };
        if old >> COUNT_BITS != slice.bits() {
            self.add_overdue(tag, old & COUNT);
        }
    }

    /// A call ends that began in `slice`.
    #[inline]
    pub(crate) fn leave(&self, tag: Tag, slice: Slice) {
        let Some(slot) = self.slots.get(slice.slot()) else { return };
        let is_there = |word: u64| word >> COUNT_BITS == slice.bits() && word & COUNT > 0;
        let one_less = |word| if is_there(word) { word - 1 } else { word };
        if let Some((old, _)) = slot.update(tag, one_less)
            && !is_there(old)
        {
            self.add_overdue(tag, u64::MAX);
        }
    }

    /// Adds to the overdue calls; all ones is one less.
    fn add_overdue(&self, tag: Tag, calls: u64) {
        if calls > 0 {
            self.overdue.update(tag, |overdue| overdue.wrapping_add(calls));
        }
    }

    /// How many calls have been in flight for longer than the limit, as of `slice`: those that
    /// began at least nine slices ago, so that eight whole ones have passed.
    pub(crate) fn overdue(&self, tag: Tag, slice: Slice) -> u64 {
        let moved = self.overdue.load(tag).unwrap_or(0);
        // Below 0 for a moment, where a call ends while its slot is being moved.
        let moved = (moved << Tag::BITS) as i64 >> Tag::BITS;
        let young: [u64; SLOTS] =
            std::array::from_fn(|age| Slice(slice.0.saturating_sub(age as u64)).bits());
        let here = self.slots.iter().filter_map(|slot| slot.load(tag));
        let old = here.filter(|word| !young.contains(&(word >> COUNT_BITS)));
        old.fold(moved, |sum, word| sum.saturating_add((word & COUNT) as i64)).max(0) as u64
    }
}
