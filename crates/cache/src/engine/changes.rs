//! What was changed while a response to it was on its way.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bartizan_core::Key;

/// How many places the keys share.
const PLACES: usize = 1 << 16;

/// Stands for every key.
const EVERY: u32 = 0;

/// The changes of all resources, in a fixed number of places. Each holds how many changes there
/// were, and a mark of whose the last was: so the change of another resource in the same place is
/// told from one's own. Two of them while a response is on its way are not, and cost its fill, no
/// more: with a hundred changes meanwhile that is one fill in 900 000.
pub(super) struct Changes(Box<[AtomicU64]>);

/// Where the changes of a resource stood when it was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Epoch {
    mark: u32,
    count: u32,
}

impl Epoch {
    const fn of(place: u64) -> Self {
        Self { mark: (place >> 32) as u32, count: place as u32 }
    }

    /// What a place holds after one more change.
    const fn next(self, mark: u32) -> u64 {
        (mark as u64) << 32 | self.count.wrapping_add(1) as u64
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Changes {
    fn place(&self, key: Key) -> &AtomicU64 {
        &self.0[key.as_u128() as usize % PLACES]
    }

    pub(super) fn epoch(&self, key: Key) -> Epoch {
        Epoch::of(self.place(key).load(SeqCst))
    }

    /// Whether the resource may have changed since.
    pub(super) fn any_since(&self, epoch: Epoch, key: Key) -> bool {
        let now = self.epoch(key);
        let is_of_another =
            now.count == epoch.count.wrapping_add(1) && now.mark != EVERY && now.mark != mark(key);
        now != epoch && !is_of_another
    }

    pub(super) fn note(&self, key: Key) {
        add(self.place(key), mark(key));
    }

    /// Notes that every resource changed.
    pub(super) fn note_all(&self) {
        self.0.iter().for_each(|place| add(place, EVERY));
    }
}

/// A part of the key that does not choose its place.
fn mark(key: Key) -> u32 {
    ((key.as_u128() >> 64) as u32).max(EVERY + 1)
}

fn add(place: &AtomicU64, mark: u32) {
    let mut now = place.load(SeqCst);
    while let Err(other) =
        place.compare_exchange_weak(now, Epoch::of(now).next(mark), SeqCst, SeqCst)
    {
        now = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that share a place.
    fn neighbours() -> [Key; 3] {
        let first = Key::of(&0);
        let place = |key: Key| key.as_u128() as usize % PLACES;
        let mut others = (1_u64..).map(|n| Key::of(&n)).filter(|key| place(*key) == place(first));
        [first, others.next().unwrap(), others.next().unwrap()]
    }

    #[test]
    fn a_change_is_told_from_that_of_a_neighbour() {
        let changes = Changes::default();
        let [own, neighbour, third] = neighbours();
        let epoch = changes.epoch(own);
        assert!(!changes.any_since(epoch, own));
        changes.note(neighbour);
        assert!(!changes.any_since(epoch, own));
        assert!(changes.any_since(epoch, neighbour));
        // Of these two, one might be of any key.
        changes.note(third);
        assert!(changes.any_since(epoch, own));

        let epoch = changes.epoch(own);
        changes.note(own);
        assert!(changes.any_since(epoch, own));
        let epoch = changes.epoch(own);
        changes.note_all();
        assert!(changes.any_since(epoch, own));
    }

    #[test]
    fn the_count_goes_round_without_a_change_lost() {
        let changes = Changes::default();
        let own = Key::of(&0);
        changes.place(own).store(u64::from(u32::MAX), SeqCst);
        let epoch = changes.epoch(own);
        changes.note(own);
        assert_eq!(changes.epoch(own), Epoch { mark: mark(own), count: 0 });
        assert!(changes.any_since(epoch, own));
    }
}
