use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ahash::RandomState;
use tokio::time::Instant;

/// For how many seconds the issuer is not asked again for a key that it did not have.
const SECONDS: u64 = 60;
const SLOTS: usize = 1024;
/// The low bits of a slot hold a second, the high ones a part of the hash.
const SECOND_BITS: u32 = 24;
const SECOND_MASK: u64 = (1 << SECOND_BITS) - 1;

/// The keys that were asked for and not there, in a fixed room: another one may push one out, and
/// one that shares its hash is held to be it for a minute, which costs a fetch or spares one.
pub(super) struct Misses {
    hasher: RandomState,
    start: Instant,
    slots: Box<[AtomicU64]>,
}

impl Misses {
    pub(super) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { hasher: RandomState::new(), start: Instant::now(), slots }
    }

    pub(super) fn add(&self, kid: Option<&str>) {
        let (slot, tag) = self.place(kid);
        slot.store(tag | self.second(), Relaxed);
    }

    pub(super) fn knows(&self, kid: Option<&str>) -> bool {
        let (slot, tag) = self.place(kid);
        let held = slot.load(Relaxed);
        let age = self.second().wrapping_sub(held) & SECOND_MASK;
        held & !SECOND_MASK == tag && age < SECONDS
    }

    fn place(&self, kid: Option<&str>) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one(kid);
        let slot = &self.slots[hash as usize % SLOTS];
        // Never 0, which is an empty slot.
        (slot, hash & !SECOND_MASK | 1 << SECOND_BITS)
    }

    fn second(&self) -> u64 {
        self.start.elapsed().as_secs() & SECOND_MASK
    }
}

impl fmt::Debug for Misses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Misses")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn misses_are_known_for_a_minute() {
        let misses = Misses::new();
        assert!(!misses.knows(Some("a")) && !misses.knows(None));
        misses.add(Some("a"));
        misses.add(None);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(misses.knows(Some("a")) && misses.knows(None) && !misses.knows(Some("b")));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!misses.knows(Some("a")));
        for kid in 0..100_000 {
            misses.add(Some(&kid.to_string()));
        }
        assert!(misses.knows(Some("99999")));
    }
}
