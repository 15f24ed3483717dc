//! Whether whoever is asked within requests answers, and when it is better left alone.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::client::FetchFault;

/// So many failures in a row are no chance.
const MANY: u32 = 5;
/// How long it is left alone then; each further failure doubles it.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// The longest rest that it may ask for.
const LONGEST_WISH: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    rests_until: Option<Instant>,
}

impl Health {
    /// False while it is left alone. After that one at a time tries.
    pub(crate) fn may_be_asked(&self) -> bool {
        let (now, mut state) = (Instant::now(), self.0.lock());
        match state.rests_until {
            Some(until) if now < until => false,
            Some(_) => {
                state.rests_until = now.checked_add(FIRST_REST);
                true
            }
            None => true,
        }
    }

    /// Takes note of an answer. True if it is the first one again.
    pub(crate) fn answered(&self) -> bool {
        let State { failures, .. } = std::mem::take(&mut *self.0.lock());
        failures > 0
    }

    /// Takes note of a failure. True if it is the first one.
    pub(crate) fn failed(&self, fault: FetchFault) -> bool {
        let mut state = self.0.lock();
        state.failures = state.failures.saturating_add(1);
        let rest = match fault {
            FetchFault::Busy(wait) => wait.min(LONGEST_WISH),
            // It is there, and a rest would not mend it.
            FetchFault::Document => Duration::ZERO,
            _ => match state.failures.checked_sub(MANY) {
                Some(more) => FIRST_REST.saturating_mul(1 << more.min(16)).min(LONGEST_REST),
                None => Duration::ZERO,
            },
        };
        if !rest.is_zero() {
            state.rests_until = state.rests_until.max(Instant::now().checked_add(rest));
        }
        state.failures == 1
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rests_grow_with_failures_in_a_row_and_one_at_a_time_tries() {
        let health = Health::default();
        assert!(health.failed(FetchFault::Late));
        for _ in 1..4 {
            assert!(!health.failed(FetchFault::Late) && health.may_be_asked());
        }
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            health.failed(FetchFault::Unreachable);
            advance(Duration::from_millis(seconds * 1000 - 1)).await;
            assert!(!health.may_be_asked(), "{seconds}");
            advance(Duration::from_millis(1)).await;
            assert!(health.may_be_asked() && !health.may_be_asked(), "{seconds}");
        }
        assert!(health.answered() && !health.answered() && health.may_be_asked());
        health.failed(FetchFault::Busy(Duration::MAX));
        advance(Duration::from_secs(599)).await;
        assert!(!health.may_be_asked());
        advance(Duration::from_secs(1)).await;
        assert!(health.may_be_asked());
    }
}
