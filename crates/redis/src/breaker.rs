//! When a server is asked, and when another connection is tried: a state machine without a clock.

use std::time::Duration;

/// After so many failures in a row the server is left alone.
const LIMIT: u32 = 5;
/// How long before the first try of a new connection, and at most before any.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Keeps requests away from a server that does not answer.
///
/// ## Transitions
///
/// - closed => open: the last [`LIMIT`] trips failed, or a connection could not be made;
/// - open => closed: a connection was made, in which the server answered the greeting.
///
/// Connections are tried by one task, at intervals that grow until a trip is answered: a server that
/// greets and then fails every trip is not greeted ever faster.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    open: bool,
    failures: u32,
    tries: u32,
}

impl Breaker {
    pub(crate) const fn is_open(&self) -> bool {
        self.open
    }

    /// A trip was answered.
    pub(crate) const fn answered(&mut self) {
        // A trip that began before the breaker opened says nothing of the present.
        if !self.open {
            self.failures = 0;
            self.tries = 0;
        }
    }

    /// A trip failed. True if that opens the breaker.
    pub(crate) const fn failed(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.open || self.failures < LIMIT {
            return false;
        }
        self.open = true;
        if self.tries == 0 {
            self.tries = 1;
        }
        true
    }

    /// A connection was made. True if that closes the breaker.
    pub(crate) const fn connected(&mut self) -> bool {
        self.failures = 0;
        std::mem::replace(&mut self.open, false)
    }

    /// No connection could be made. True if that opens the breaker.
    pub(crate) const fn refused(&mut self) -> bool {
        !std::mem::replace(&mut self.open, true)
    }

    /// How long to wait before the next try, `chance` being one from 0 to 1. The first one after a
    /// loss comes at once.
    pub(crate) fn wait(&mut self, chance: f64) -> Duration {
        let tries = self.tries;
        self.tries = tries.saturating_add(1);
        match tries {
            0 => Duration::ZERO,
            _ => {
                let wait = FIRST_WAIT.saturating_mul(1 << (tries - 1).min(10)).min(LONGEST_WAIT);
                // Apart, so that a fleet does not come back all at once.
                wait.mul_f64(0.5 + chance / 2.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it() {
        let mut breaker = Breaker::default();
        for _ in 1..LIMIT {
            assert!(!breaker.failed());
        }
        breaker.answered();
        for _ in 1..LIMIT {
            assert!(!breaker.failed());
        }
        assert!(breaker.failed() && breaker.is_open());
        // Trips that were under way.
        assert!(!breaker.failed());
        breaker.answered();
        assert!(breaker.is_open());
        assert!(breaker.connected() && !breaker.is_open());
        assert!(!breaker.failed());
    }

    #[test]
    fn waits_grow_until_a_trip_is_answered() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.wait(1.0), Duration::ZERO);
        assert!(breaker.refused() && !breaker.refused());
        assert_eq!(breaker.wait(1.0), FIRST_WAIT);
        assert_eq!(breaker.wait(0.0), FIRST_WAIT);
        breaker.connected();
        // The greeting alone does not count.
        assert_eq!(breaker.wait(1.0), 4 * FIRST_WAIT);
        for _ in 0..100 {
            assert!(breaker.wait(1.0) <= LONGEST_WAIT);
        }
        breaker.answered();
        assert_eq!(breaker.wait(1.0), Duration::ZERO);
    }

    #[test]
    fn one_that_failures_opened_is_not_tried_at_once() {
        let mut breaker = Breaker::default();
        while !breaker.failed() {}
        assert_eq!(breaker.wait(1.0), FIRST_WAIT);
    }
}
