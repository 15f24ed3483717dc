//! How long the sources have been silent.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bartizan_core::Timestamp;
use parking_lot::Mutex;

/// When each source was last reached. Sources note it under a lock of their own, held for a moment;
/// an evaluation asks by one load, and waits for nobody.
#[derive(Debug)]
pub(crate) struct Ages {
    sources: Mutex<Vec<Source>>,
    /// The earliest point of them.
    earliest: AtomicU64,
}

#[derive(Debug)]
struct Source {
    rank: u8,
    /// The [`point`] when it was last reached; until it is, when it was made.
    at: u64,
    reached: bool,
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
        Self { sources: Mutex::default(), earliest: AtomicU64::new(NOBODY) }
    }
}

impl Ages {
    /// Notes that there is a source of that rank, which has not been reached yet.
    pub(crate) fn expect(&self, rank: u8, now: Timestamp) {
        let at = point(now, Duration::ZERO);
        self.update(|sources| {
            if !sources.iter().any(|source| source.rank == rank) {
                sources.push(Source { rank, at, reached: false });
            }
        });
    }

    /// Notes that the source of that rank was reached so long ago. True if it never was before.
    pub(crate) fn confirm(&self, rank: u8, now: Timestamp, ago: Duration) -> bool {
        let at = point(now, ago);
        self.update(|sources| {
            let known = sources.iter().position(|source| source.rank == rank);
            let before = known.map(|known| sources.swap_remove(known));
            sources.push(Source { rank, at, reached: true });
            before.is_none_or(|before| !before.reached)
        })
    }

    /// There is nothing of that rank any more that could age.
    pub(crate) fn forget(&self, rank: u8) {
        self.update(|sources| sources.retain(|source| source.rank != rank));
    }

    fn update<T>(&self, change: impl FnOnce(&mut Vec<Source>) -> T) -> T {
        let mut sources = self.sources.lock();
        let result = change(&mut sources);
        let earliest = sources.iter().map(|source| source.at).min().unwrap_or(NOBODY);
        self.earliest.store(earliest, Relaxed);
        result
    }

    /// Whether every source that there is has been reached.
    pub(crate) fn are_reached(&self) -> bool {
        self.sources.lock().iter().all(|source| source.reached)
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
    fn a_source_that_was_never_reached_is_as_old_as_it_is() {
        let second = Duration::from_secs(1);
        let (ages, start) = (Ages::default(), Timestamp::from_nanos(7));
        assert!(ages.are_reached());
        ages.expect(0, start);
        let now = start.saturating_add(second);
        ages.expect(0, now);
        assert_eq!((ages.age(now), ages.are_reached()), (Some(second), false));
        assert!(ages.confirm(0, now, Duration::ZERO));
        assert!(!ages.confirm(0, now, Duration::ZERO));
        ages.expect(0, now);
        assert_eq!((ages.age(now), ages.are_reached()), (Some(Duration::ZERO), true));
        ages.expect(1, now);
        ages.forget(1);
        assert!(ages.are_reached());
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
