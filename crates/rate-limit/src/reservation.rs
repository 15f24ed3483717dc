use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bartizan_core::Key;

use crate::RateLimiter;
use crate::ask::MAX_POLICIES;

/// A cost that was estimated and spent, to be settled when the true one is known: bytes sent, or
/// tokens of a model.
///
/// A reservation that is never settled stays spent as estimated. Clones are one reservation.
#[derive(Clone)]
pub struct Reservation(Option<Arc<Inner>>);

struct Inner {
    limiter: RateLimiter,
    /// Of the policies that it was spent of.
    keys: [Option<Key>; MAX_POLICIES],
    grades: [u8; MAX_POLICIES],
    cost: u32,
    settled: AtomicBool,
}

impl Reservation {
    pub(crate) fn new(
        limiter: RateLimiter,
        keys: [Option<Key>; MAX_POLICIES],
        grades: [u8; MAX_POLICIES],
        cost: u32,
    ) -> Self {
        let settled = AtomicBool::new(false);
        Self(Some(Arc::new(Inner { limiter, keys, grades, cost, settled })))
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
        let (now, rules) = (inner.limiter.now(), inner.limiter.rules().load());
        for (place, key) in inner.keys.iter().enumerate() {
            let Some(key) = *key else { continue };
            let limit = inner.limiter.limit(place);
            // A flat policy counts the request, whatever it costs.
            if limit.is_flat() {
                continue;
            }
            let rate = rules[place].at(inner.grades[place]).rate;
            if actual < inner.cost {
                limit.refund(key, now, rate, inner.cost - actual);
            } else {
                limit.charge(key, now, rate, actual - inner.cost);
            }
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("cost", &self.cost()).finish_non_exhaustive()
    }
}
