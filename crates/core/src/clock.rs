use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    #[inline]
    pub fn now(&self) -> Timestamp {
        match &self.manual {
            Some(nanos) => Timestamp(nanos.load(Relaxed)),
            None => Timestamp(monotonic_nanos()),
        }
    }

    /// The time at the kernel's last tick: up to some milliseconds behind [`Clock::now`], never
    /// ahead of it, and several times cheaper to read where the system has it. For what need not be
    /// exact, as how long to refuse.
    #[must_use]
    #[inline]
    pub fn now_coarse(&self) -> Timestamp {
        match &self.manual {
            Some(nanos) => Timestamp(nanos.load(Relaxed)),
            None => Timestamp(coarse_nanos()),
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

#[cfg(target_os = "linux")]
fn coarse_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(not(target_os = "linux"))]
fn coarse_nanos() -> u64 {
    monotonic_nanos()
}

/// The kernel's monotonic clock, as it is: `Instant` would cost a subtraction of an origin more.
#[cfg(unix)]
fn monotonic_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Time since boot is neither negative nor beyond 584 years.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(not(unix))]
#[allow(clippy::disallowed_methods, reason = "this is the one place where time comes from")]
fn monotonic_nanos() -> u64 {
    use std::sync::LazyLock;
    use std::time::Instant;

    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    Instant::now().saturating_duration_since(*ORIGIN).as_nanos() as u64
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
    fn the_coarse_clock_is_never_ahead() {
        for clock in [Clock::system(), Clock::manual()] {
            let coarse = clock.now_coarse();
            let now = clock.now();
            assert!(coarse <= now);
            assert!(now.saturating_since(coarse) < Duration::from_secs(1));
        }
    }

    #[test]
    fn system_clock_does_not_go_back() {
        let clock = Clock::system();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert_eq!(first.saturating_add(Duration::MAX), Timestamp(u64::MAX));
    }
}
