use std::ops::Add;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bartizan_core::{Clock, Timestamp};
use governor::clock::Reference;
use governor::nanos::Nanos;

/// A [`Timestamp`] as governor wants it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Instant(pub(crate) Timestamp);

impl Add<Nanos> for Instant {
    type Output = Self;

    fn add(self, wait: Nanos) -> Self {
        Self(Timestamp::from_nanos(self.0.as_nanos().saturating_add(wait.as_u64())))
    }
}

impl Reference for Instant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        Nanos::new(self.0.as_nanos().saturating_sub(earlier.0.as_nanos()))
    }

    fn saturating_sub(&self, wait: Nanos) -> Self {
        let nanos = self.0.as_nanos();
        Self(Timestamp::from_nanos(nanos.checked_sub(wait.as_u64()).unwrap_or(nanos)))
    }
}

/// Our clock, for one of governor's limiters.
///
/// A limiter takes its first reading as the origin of all states. When the quota changes, a new
/// limiter has to read the states of the old one, so the first reading is the origin of both.
#[derive(Debug)]
pub(crate) struct SharedOrigin {
    clock: Clock,
    origin: Timestamp,
    started: AtomicBool,
}

impl SharedOrigin {
    pub(crate) const fn new(clock: Clock, origin: Timestamp) -> Self {
        Self { clock, origin, started: AtomicBool::new(false) }
    }
}

impl governor::clock::Clock for SharedOrigin {
    type Instant = Instant;

    fn now(&self) -> Instant {
        // A plain load first, so that the flag's cache line stays shared between cores.
        if !self.started.load(Relaxed) && !self.started.swap(true, Relaxed) {
            return Instant(self.origin);
        }
        Instant(self.clock.now())
    }
}
