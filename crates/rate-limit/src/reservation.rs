use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bartizan_core::Key;

use crate::ask::MAX_POLICIES;
use crate::state::Rate;

/// A cost that was estimated and spent, to be settled when the true one is known: bytes sent, or
/// tokens of a model.
///
/// A reservation that is never settled stays spent as estimated. Clones are one reservation.
#[derive(Clone)]
pub struct Reservation(Option<Arc<Inner>>);

struct Inner {
    ledger: Box<dyn Ledger>,
    /// Of the policies that it was spent of.
    spent: [Option<Spent>; MAX_POLICIES],
    cost: u32,
    settled: AtomicBool,
}

/// What one policy was spent of: of which key, and at which rate, whatever the rate is when it is
/// settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) key: Key,
    pub(crate) rate: Rate,
}

impl Reservation {
    pub(crate) fn new(
        ledger: Box<dyn Ledger>,
        spent: [Option<Spent>; MAX_POLICIES],
        cost: u32,
    ) -> Self {
        let settled = AtomicBool::new(false);
        Self(Some(Arc::new(Inner { ledger, spent, cost, settled })))
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
        let (actual, cost) = (i64::from(actual), i64::from(inner.cost));
        for (place, spent) in inner.spent.iter().enumerate() {
            let Some(spent) = spent else { continue };
            // A share of the quota was spent of no further than it goes: no more comes back.
            let most = i64::from(spent.rate.burst());
            let units =
                if actual > cost { actual - cost } else { actual.min(most) - cost.min(most) };
            inner.ledger.correct(place, spent, units);
        }
    }
}

/// Where a reservation was spent.
pub(crate) trait Ledger: Send + Sync {
    /// Spends `units` more of the policy at `place`, whatever the quota, or gives them back if they
    /// are below 0. A flat policy counts the request, whatever it costs.
    fn correct(&self, place: usize, spent: &Spent, units: i64);
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("cost", &self.cost()).finish_non_exhaustive()
    }
}
