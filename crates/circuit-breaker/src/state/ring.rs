use std::sync::OnceLock;

use super::tagged::{Tag, Tagged};
use super::tally::Call;

/// The last calls one by one, two bits each. Calls are put in without a lock, in constant time.
#[derive(Debug)]
pub(crate) struct Ring {
    words: Box<[Tagged]>,
    /// The slots beyond these, once more have been asked for. What is there is never moved or
    /// freed while the breaker lives, since calls are put in without a lock; each part is at least
    /// eight times the one before it, so that there are few.
    more: OnceLock<Box<Self>>,
}

/// There is room for more; a power of two spares divisions.
const CALLS_PER_WORD: u64 = 16;
const _: () = assert!(CALLS_PER_WORD * Call::BITS as u64 <= Tagged::BITS as u64);

impl Ring {
    /// Creates a ring that has room for `calls`.
    pub(crate) fn new(calls: u64) -> Self {
        let words = calls.div_ceil(CALLS_PER_WORD);
        Self { words: (0..words).map(|_| Tagged::default()).collect(), more: OnceLock::new() }
    }

    fn calls(&self) -> u64 {
        self.words.len() as u64 * CALLS_PER_WORD
    }

    /// The word of a slot. `None` if there is no such slot.
    #[inline]
    fn word(&self, slot: u64) -> Option<&Tagged> {
        match self.words.get((slot / CALLS_PER_WORD) as usize) {
            Some(word) => Some(word),
            None => self.more.get()?.word(slot - self.calls()),
        }
    }

    /// Puts a call into a slot, and returns the one that it takes the place of, or a call without
    /// fault if there was none. `None` if the slot is of another filling.
    #[inline]
    pub(crate) fn put(&self, tag: Tag, slot: u64, call: Call) -> Option<Call> {
        let shift = (slot % CALLS_PER_WORD) * u64::from(Call::BITS);
        let word = self.word(slot)?;
        if call == Call::GOOD && word.load(tag)? == 0 {
            return Some(Call::GOOD);
        }
        let (old, _) = word.update(tag, |word| word & !(0b11 << shift) | call.bits() << shift)?;
        Some(Call::from_bits(old >> shift))
    }

    pub(crate) fn read(&self, slot: u64) -> Call {
        let bits = self.word(slot).map_or(0, Tagged::value);
        Call::from_bits(bits >> ((slot % CALLS_PER_WORD) * u64::from(Call::BITS)))
    }

    /// Empties the slots of so many calls for another filling, and makes them if need be.
    pub(crate) fn clear(&self, tag: Tag, calls: u64) {
        self.words.iter().for_each(|word| word.store(tag, 0));
        let beyond = calls.saturating_sub(self.calls());
        if beyond > 0 {
            let least = self.calls() * 8;
            let more = self.more.get_or_init(|| Box::new(Self::new(beyond.max(least))));
            more.clear(tag, beyond);
        }
    }
}
