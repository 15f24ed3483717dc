use std::sync::OnceLock;

use bartizan_core::Timestamp;

use super::ring::Ring;
use super::slices::Slices;
use super::tagged::{Tag, Tagged};
use super::tally::{Call, Faults, Tally};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;

/// What a window covers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    /// The last calls.
    Calls(u64),
    /// The calls of a time that is [`SLICES`](super::slices::SLICES) slices of so many
    /// nanoseconds.
    Time(u64),
}

/// The window has been emptied or reshaped meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct AnotherFilling;

/// The calls that a closed breaker judges. It slides: what leaves it is forgotten.
///
/// Recording takes no lock, and as long for a large window as for a small one. What empties,
/// moves or reshapes the window is called under the breaker's lock.
#[derive(Debug)]
pub(crate) struct Window {
    /// The number of calls, or 0 if it is one of time.
    capacity: AtomicU64,
    /// The length of a slice.
    width: AtomicU64,
    /// The calls recorded in this filling. Of a window of calls it wraps from twice the capacity to
    /// once, so that it names the slot without a division and still tells a full window.
    recorded: Tagged,
    /// The calls that were recorded and are not in there any more.
    retired: AtomicU64,
    /// The faults in the window; in one of time also those that have left it.
    faults: Tagged,
    /// The failures since the last success.
    streak: Tagged,
    ring: OnceLock<Box<Ring>>,
    slices: OnceLock<Box<Slices>>,
}

impl Window {
    /// Creates an empty window.
    pub(crate) fn new(shape: Shape, now: Timestamp) -> Self {
        let window = Self {
            capacity: AtomicU64::new(0),
            width: AtomicU64::new(0),
            recorded: Tagged::default(),
            retired: AtomicU64::new(0),
            faults: Tagged::default(),
            streak: Tagged::default(),
            ring: OnceLock::new(),
            slices: OnceLock::new(),
        };
        window.reset(Tag::default(), shape, now);
        window
    }

    /// Whether calls are forgotten by their age.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        self.capacity.load(Relaxed) == 0
    }

    /// Records a call without fault in a window of calls, and returns whether it is free of faults
    /// then. What [`Window::record`] does, where failures in a row do not matter either.
    ///
    /// # Errors
    ///
    /// Fails if the filling is another, or the window one of time.
    #[inline]
    pub(crate) fn record_good(&self, tag: Tag) -> Result<bool, AnotherFilling> {
        let capacity = self.capacity.load(Relaxed);
        if capacity == 0 {
            return Err(AnotherFilling);
        }
        let old = self.put(tag, capacity, Call::GOOD)?.1;
        if old != Call::GOOD {
            self.add(tag, Faults::default().minus(Faults::of(old)))?;
        }
        Ok(self.faults.load(tag).ok_or(AnotherFilling)? == 0)
    }

    /// Records a call, and returns what the window holds then.
    ///
    /// # Errors
    ///
    /// Fails if the filling is another.
    pub(crate) fn record(
        &self,
        tag: Tag,
        call: Call,
        in_a_row: bool,
    ) -> Result<Tally, AnotherFilling> {
        let capacity = self.capacity.load(Relaxed);
        if capacity == 0 {
            return self.record_timed(tag, call, in_a_row);
        }
        let (before, old) = self.put(tag, capacity, call)?;
        let streak = if in_a_row { self.count_streak(tag, call)? } else { 0 };
        let (failures, slow) = self.add(tag, Faults::of(call).minus(Faults::of(old)))?.split();
        Ok(Tally { calls: (before + 1).min(capacity), failures, slow, streak })
    }

    /// Puts a call into the next slot. Returns how many calls there were, and what was in the slot.
    #[inline]
    fn put(&self, tag: Tag, capacity: u64, call: Call) -> Result<(u64, Call), AnotherFilling> {
        let next = |calls| if calls + 1 == 2 * capacity { capacity } else { calls + 1 };
        let (before, after) = self.recorded.update(tag, next).ok_or(AnotherFilling)?;
        if after <= before {
            self.retired.fetch_add(capacity, Relaxed);
        }
        let slot = if before < capacity { before } else { before - capacity };
        let ring = self.ring.get().ok_or(AnotherFilling)?;
        Ok((before, ring.put(tag, slot, call).ok_or(AnotherFilling)?))
    }

    fn record_timed(&self, tag: Tag, call: Call, in_a_row: bool) -> Result<Tally, AnotherFilling> {
        let one_more = |calls: u64| calls.wrapping_add(1);
        let (_, recorded) = self.recorded.update(tag, one_more).ok_or(AnotherFilling)?;
        let (calls, base) = self.slices.get().ok_or(AnotherFilling)?.base();
        let streak = if in_a_row { self.count_streak(tag, call)? } else { 0 };
        let (failures, slow) = cut(self.add(tag, Faults::of(call))?.minus(base)).split();
        // A slice may have passed meanwhile: then there is nothing in the window yet.
        let calls = recorded.saturating_sub(calls);
        Ok(Tally { calls, failures, slow, streak })
    }

    #[inline]
    fn add(&self, tag: Tag, change: Faults) -> Result<Faults, AnotherFilling> {
        let plus = |faults| Faults::from_bits(faults).plus(change).bits();
        let (_, faults) = self.faults.update(tag, plus).ok_or(AnotherFilling)?;
        Ok(Faults::from_bits(faults))
    }

    #[inline]
    fn count_streak(&self, tag: Tag, call: Call) -> Result<u64, AnotherFilling> {
        let next = |streak| if call.failed { streak + 1 } else { 0 };
        self.streak.update(tag, next).map(|(_, streak)| streak).ok_or(AnotherFilling)
    }

    /// Counts failures in a row from now on: while they did not matter, successes were not looked at.
    pub(crate) fn forget_streak(&self, tag: Tag) {
        self.streak.update(tag, |_| 0);
    }

    /// Whether time has passed that [`Window::roll`] must be told of.
    #[inline]
    pub(crate) fn is_behind(&self, now: Timestamp) -> bool {
        self.is_timed() && self.slices.get().is_some_and(|slices| slices.is_behind(now.as_nanos()))
    }

    /// Forgets what is too old.
    pub(crate) fn roll(&self, now: Timestamp) {
        if self.is_behind(now)
            && let Some(slices) = self.slices.get()
        {
            slices.roll(now.as_nanos(), self.width.load(Relaxed), self.totals());
        }
    }

    /// What the window holds.
    pub(crate) fn tally(&self) -> Tally {
        let (recorded, faults) = self.totals();
        let (calls, faults) = match self.slices.get() {
            Some(slices) if self.is_timed() => {
                let (calls, base) = slices.base();
                (recorded.saturating_sub(calls), cut(faults.minus(base)))
            }
            _ => (recorded.min(self.capacity.load(Relaxed)), faults),
        };
        let (failures, slow) = faults.split();
        Tally { calls, failures, slow, streak: self.streak.value() }
    }

    fn totals(&self) -> (u64, Faults) {
        (self.recorded.value(), Faults::from_bits(self.faults.value()))
    }

    /// How many calls have ever been recorded.
    pub(crate) fn recorded(&self) -> u64 {
        self.retired.load(Relaxed) + self.recorded.value()
    }

    /// Empties the window, for a filling by holders of another tag.
    pub(crate) fn reset(&self, tag: Tag, shape: Shape, now: Timestamp) {
        self.retired.fetch_add(self.recorded.value(), Relaxed);
        self.recorded.store(tag, 0);
        self.take_shape(tag, shape, now);
        self.faults.store(tag, 0);
        self.streak.store(tag, 0);
    }

    /// Takes another shape and keeps the latest calls, for holders of another tag. Calls that are
    /// being recorded in this very moment may be lost.
    ///
    /// What the window does not know of its calls is assumed: from calls to time, that they are
    /// of now; from time to calls, that the faults lie evenly among them.
    pub(crate) fn reshape(&self, tag: Tag, shape: Shape, now: Timestamp) {
        let kept = self.latest(shape);
        let streak = self.streak.value();
        // Nobody holds the new tag yet: what still comes with the old one is void from here on.
        self.reset(tag, shape, now);
        self.retired.fetch_sub(kept.len() as u64, Relaxed);
        for call in kept {
            // Nothing else can come between.
            let _ = self.record(tag, call, false);
        }
        self.streak.store(tag, streak);
    }

    /// The latest calls that a window of that shape has room for, oldest first.
    fn latest(&self, shape: Shape) -> Vec<Call> {
        let tally = self.tally();
        let room = match shape {
            Shape::Calls(calls) => tally.calls.min(calls),
            // As many as a ring holds at most tell the rates well enough.
            Shape::Time(_) => tally.calls.min(Self::MAX_CALLS),
        };
        let capacity = self.capacity.load(Relaxed);
        if let Some(ring) = self.ring.get()
            && capacity > 0
        {
            let end = self.recorded.value();
            return (end - room..end).map(|index| ring.read(index % capacity)).collect();
        }
        let share = |part: u64, index| index * part / tally.calls.max(1);
        let falls_on = |part, index| share(part, index + 1) > share(part, index);
        (0..room)
            .map(|index| Call {
                failed: falls_on(tally.failures, index),
                slow: falls_on(tally.slow, index),
            })
            .collect()
    }

    /// The most calls that a window of calls can hold: 128 KiB.
    pub(crate) const MAX_CALLS: u64 = 1 << 18;

    fn take_shape(&self, tag: Tag, shape: Shape, now: Timestamp) {
        match shape {
            Shape::Calls(calls) => {
                let ring = self.ring.get_or_init(|| Box::new(Ring::new(calls)));
                ring.clear(tag, calls);
                self.capacity.store(calls, Relaxed);
            }
            Shape::Time(width) => {
                let slices = self.slices.get_or_init(Box::default);
                slices.reset(now.as_nanos(), width, (0, Faults::default()));
                self.width.store(width, Relaxed);
                self.capacity.store(0, Relaxed);
            }
        }
    }
}

#[cfg(all(test, loom))]
impl Window {
    /// The tally of a window of calls, found by looking at its slots.
    pub(crate) fn recount(&self) -> Tally {
        let calls = self.tally().calls;
        let slots =
            self.ring.get().into_iter().flat_map(|ring| (0..calls).map(|slot| ring.read(slot)));
        let faults = slots.fold(Faults::default(), |sum, call| sum.plus(Faults::of(call)));
        let (failures, slow) = faults.split();
        Tally { calls, failures, slow, streak: self.streak.value() }
    }
}

/// A difference of faults, cut to the bits that a cell has.
#[inline]
const fn cut(faults: Faults) -> Faults {
    Faults::from_bits(faults.bits() & ((1 << Tagged::BITS) - 1))
}

#[cfg(all(test, not(loom)))]
#[path = "window_tests.rs"]
mod tests;
