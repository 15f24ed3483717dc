use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{AcqRel, Acquire};

const TAG_BITS: u32 = 12;
const TAGS: u64 = (1 << TAG_BITS) - 1;

/// Names one filling of a breaker's cells. What was meant for another filling changes nothing.
///
/// Tags come again after 4096 fillings. To be fooled, a thread would have to be stopped between
/// two instructions for exactly as many.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tag(u16);

impl Tag {
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self((bits & TAGS) as u16)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0 as u64
    }

    pub(crate) const fn next(self) -> Self {
        Self::from_bits(self.bits() + 1)
    }

    /// The number of bits that a tag takes.
    pub(crate) const BITS: u32 = TAG_BITS;
}

/// A number of 52 bits that only the holders of its tag can change, without a lock.
///
/// The value stands above the tag, so that arithmetic on it wraps and never reaches the tag.
#[derive(Debug, Default)]
pub(crate) struct Tagged(AtomicU64);

impl Tagged {
    /// The bits of a value.
    pub(crate) const BITS: u32 = u64::BITS - TAG_BITS;

    /// The value, if it is of that filling.
    #[inline]
    pub(crate) fn load(&self, tag: Tag) -> Option<u64> {
        let word = self.0.load(Acquire);
        (word & TAGS == tag.bits()).then_some(word >> TAG_BITS)
    }

    /// The value, of whichever filling it is.
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Acquire) >> TAG_BITS
    }

    /// Begins another filling. By a swap, which stands in one order with every update.
    pub(crate) fn store(&self, tag: Tag, value: u64) {
        self.0.swap(value << TAG_BITS | tag.bits(), AcqRel);
    }

    /// Replaces the value by what `f` makes of it, and returns the old and the new one. Writes
    /// nothing if they are the same. `None` if the value is of another filling.
    #[inline]
    pub(crate) fn update(&self, tag: Tag, f: impl Fn(u64) -> u64) -> Option<(u64, u64)> {
        let mut word = self.0.load(Acquire);
        loop {
            if word & TAGS != tag.bits() {
                return None;
            }
            let old = word >> TAG_BITS;
            let next = f(old) << TAG_BITS | tag.bits();
            if next == word {
                return Some((old, old));
            }
            match self.0.compare_exchange_weak(word, next, AcqRel, Acquire) {
                Ok(_) => return Some((old, next >> TAG_BITS)),
                Err(current) => word = current,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_of_the_tag_changes_the_value() {
        let (cell, tag) = (Tagged::default(), Tag::default());
        assert_eq!(cell.update(tag, |value| value + 7), Some((0, 7)));
        assert_eq!(cell.update(tag.next(), |value| value + 1), None);
        cell.store(tag.next(), 1);
        assert_eq!((cell.load(tag), cell.load(tag.next())), (None, Some(1)));
    }

    #[test]
    fn arithmetic_wraps_above_the_tag() {
        let (cell, tag) = (Tagged::default(), Tag::from_bits(u64::MAX));
        cell.store(tag, 0);
        let max = (1 << Tagged::BITS) - 1;
        assert_eq!(cell.update(tag, |value| value.wrapping_sub(1)), Some((0, max)));
        assert_eq!(cell.update(tag, |value| value.wrapping_add(1)), Some((max, 0)));
        assert_eq!(tag.next(), Tag::default());
    }
}
