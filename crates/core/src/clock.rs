use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point on a [`Clock`]: nanoseconds since an origin that only the clock knows.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Creates a point `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time since `earlier`; zero if that lies ahead.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `wait` later; the last one there is if that is out of range.
    #[must_use]
    pub fn saturating_add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A monotonic clock, or one that tests move by hand.
///
/// Clones of a manual clock show the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<Arc<AtomicU64>>,
}

/// What the system clock counts from: the first reading in this process.
#[allow(clippy::disallowed_methods, reason = "this is the one place where time comes from")]
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Where manual clocks start: far enough from the origin for a test to look back a day.
const MANUAL_START: u64 = 1_000_000 * 1_000_000_000;

impl Clock {
    /// The system's monotonic clock.
    #[must_use]
    pub const fn system() -> Self {
        Self { manual: None }
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual() -> Self {
        Self { manual: Some(Arc::new(AtomicU64::new(MANUAL_START))) }
    }

    /// The time now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place where time comes from")]
    pub fn now(&self) -> Timestamp {
        match &self.manual {
            Some(nanos) => Timestamp(nanos.load(Relaxed)),
            None => {
                let elapsed = Instant::now().saturating_duration_since(*ORIGIN);
                // 584 years fit.
                Timestamp(elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos()))
            }
        }
    }

    /// The wall clock: time since 1970, for dates in messages. A manual clock counts from its own
    /// origin.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place where time comes from")]
    pub fn unix(&self) -> Duration {
        match &self.manual {
            Some(nanos) => Duration::from_nanos(nanos.load(Relaxed)),
            None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    /// Moves a manual clock, and all its clones, on.
    ///
    /// # Panics
    ///
    /// If this is the system's clock.
    pub fn advance(&self, by: Duration) {
        let nanos = self.manual.as_ref().expect("only a manual clock can be advanced");
        nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clocks_move_together() {
        let clock = Clock::manual();
        let twin = clock.clone();
        let start = twin.now();
        clock.advance(Duration::from_secs(2));
        assert_eq!(twin.now().saturating_since(start), Duration::from_secs(2));
        assert_eq!(start.saturating_since(twin.now()), Duration::ZERO);
    }

    #[test]
    fn system_clock_does_not_go_back() {
        let clock = Clock::system();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert_eq!(first.saturating_add(Duration::MAX), Timestamp(u64::MAX));
    }
}
