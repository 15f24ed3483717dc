//! How long the sources have been silent.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bartizan_core::Timestamp;
use parking_lot::Mutex;

/// When each source was last reached. Sources note it under a lock of their own, held for a moment;
/// an evaluation asks by one load, and waits for nobody.
#[derive(Debug)]
pub(crate) struct Ages {
    /// By rank, as [`point`]s.
    reached: Mutex<Vec<(u8, u64)>>,
    /// The earliest of them.
    earliest: AtomicU64,
}

/// There is no source.
const NOBODY: u64 = u64::MAX;

/// Where the clock's origin lies among the points: what was kept over a restart is older than that.
const ORIGIN: u64 = 1 << 62;

/// In nanoseconds.
fn point(now: Timestamp, ago: Duration) -> u64 {
    let ago = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
    now.as_nanos().saturating_add(ORIGIN).saturating_sub(ago)
}

impl Default for Ages {
    fn default() -> Self {
        Self { reached: Mutex::default(), earliest: AtomicU64::new(NOBODY) }
    }
}

impl Ages {
    /// Notes that the source of that rank was reached so long ago.
    pub(crate) fn confirm(&self, rank: u8, now: Timestamp, ago: Duration) {
        self.update(rank, Some(point(now, ago)));
    }

    /// There is nothing of that rank any more that could age.
    pub(crate) fn forget(&self, rank: u8) {
        self.update(rank, None);
    }

    fn update(&self, rank: u8, at: Option<u64>) {
        let mut reached = self.reached.lock();
        reached.retain(|(other, _)| *other != rank);
        reached.extend(at.map(|at| (rank, at)));
        let earliest = reached.iter().map(|(_, at)| *at).min().unwrap_or(NOBODY);
        self.earliest.store(earliest, Relaxed);
    }

    /// How long ago the source was reached that has been silent longest.
    pub(crate) fn age(&self, now: Timestamp) -> Option<Duration> {
        let earliest = self.earliest.load(Relaxed);
        let age = || Duration::from_nanos(point(now, Duration::ZERO).saturating_sub(earliest));
        (earliest != NOBODY).then(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_counts_that_has_been_silent_longest() {
        let second = Duration::from_secs(1);
        let (ages, start) = (Ages::default(), Timestamp::from_nanos(7));
        assert_eq!(ages.age(start), None);
        ages.confirm(0, start, Duration::ZERO);
        ages.confirm(9, start.saturating_add(second), Duration::ZERO);
        let now = start.saturating_add(second * 3);
        assert_eq!(ages.age(now), Some(second * 3));
        ages.confirm(0, now, Duration::ZERO);
        assert_eq!(ages.age(now), Some(second * 2));
    }

    #[test]
    fn a_source_may_be_older_than_the_clock() {
        let week = Duration::from_secs(7 * 86_400);
        let (ages, now) = (Ages::default(), Timestamp::from_nanos(7));
        ages.confirm(0, now, week);
        assert_eq!(ages.age(now), Some(week));
        ages.confirm(0, now, Duration::MAX);
        assert!(ages.age(now) > Some(week));
    }
}
