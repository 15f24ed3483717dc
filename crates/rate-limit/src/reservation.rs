use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bartizan_core::Key;

use crate::ask::MAX_POLICIES;

/// A cost that was estimated and spent, to be settled when the true one is known: bytes sent, or
/// tokens of a model.
///
/// A reservation that is never settled stays spent as estimated. Clones are one reservation.
#[derive(Clone)]
pub struct Reservation(Option<Arc<Inner>>);

struct Inner {
    ledger: Box<dyn Ledger>,
    /// Of the policies that it was spent of.
    keys: [Option<Key>; MAX_POLICIES],
    grades: [u8; MAX_POLICIES],
    cost: u32,
    settled: AtomicBool,
}

impl Reservation {
    pub(crate) fn new(
        ledger: Box<dyn Ledger>,
        keys: [Option<Key>; MAX_POLICIES],
        grades: [u8; MAX_POLICIES],
        cost: u32,
    ) -> Self {
        let settled = AtomicBool::new(false);
        Self(Some(Arc::new(Inner { ledger, keys, grades, cost, settled })))
    }

    /// Of a request that is not limited: there is nothing to settle.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// The cost that was estimated; 0 for a request that is not limited.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.0.as_ref().map_or(0, |inner| inner.cost)
    }

    /// Gives back what was estimated beyond `actual`, or spends what is missing, whether the quota
    /// still has it or not: then the caller's next requests wait. Only the first call counts.
    pub fn settle(&self, actual: u32) {
        let Some(inner) = &self.0 else { return };
        if inner.settled.swap(true, Relaxed) {
            return;
        }
        let missing = i64::from(actual) - i64::from(inner.cost);
        for (place, key) in inner.keys.iter().enumerate() {
            if let Some(key) = *key {
                inner.ledger.correct(place, key, inner.grades[place], missing);
            }
        }
    }
}

/// Where a reservation was spent.
pub(crate) trait Ledger: Send + Sync {
    /// Spends `units` more of the policy at `place`, whatever the quota, or gives them back if they
    /// are below 0. A flat policy counts the request, whatever it costs.
    fn correct(&self, place: usize, key: Key, grade: u8, units: i64);
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("cost", &self.cost()).finish_non_exhaustive()
    }
}
