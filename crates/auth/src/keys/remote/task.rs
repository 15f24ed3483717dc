//! The task that fetches, apart from all requests.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::fetch::{Fetched, Fetcher};
use super::{Policy, Remote, SHORTEST_REFRESH};
use crate::client::FetchFault;
use crate::keys::Shared;
use crate::observe;

/// The first wait after a failure; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// The longest wait that an issuer may ask for.
const LONGEST_REST: Duration = Duration::from_secs(600);
/// How much waits are varied, so that a fleet does not ask in step.
const JITTER: f64 = 0.1;

pub(super) struct Task {
    /// Not kept alive by the task.
    pub(super) shared: Weak<Shared>,
    pub(super) fetcher: Fetcher,
    pub(super) policy: Policy,
    pub(super) wake: Arc<Notify>,
}

impl Drop for Task {
    /// Nobody is left waiting, though the runtime is gone.
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        if let Some(remote) = &shared.remote {
            remote.stopped(&shared, std::thread::panicking());
        }
    }
}

impl Task {
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            if !self.begin() {
                return;
            }
            let result = unless_it_panics(self.fetcher.fetch()).await;
            let wait = match &result {
                Ok(fetched) => {
                    failures = 0;
                    self.policy.wait(fetched.fresh)
                }
                Err(fault) => {
                    failures += 1;
                    retry(failures).max(rest(*fault))
                }
            };
            if !self.settle(result) {
                return;
            }
            let next = Instant::now() + wait.mul_f64(1.0 + JITTER * fastrand::f64());
            self.rest(next).await;
        }
    }

    /// False if nobody is left to fetch for.
    fn begin(&self) -> bool {
        let shared = self.shared.upgrade();
        let remote = shared.as_ref().and_then(|shared| shared.remote.as_ref());
        remote.map(Remote::begin).is_some()
    }

    /// Puts what was fetched in force, and tells those who wait. False if nobody is left.
    fn settle(&mut self, result: Result<Fetched, FetchFault>) -> bool {
        let Some(shared) = self.shared.upgrade() else { return false };
        let Some(remote) = &shared.remote else { return false };
        match result {
            Ok(Fetched { set, .. }) => {
                let changed = set.as_ref().map(|set| (set.len(), set.skipped().len()));
                remote.loaded();
                remote.figures.fetched(changed);
                if let Some((used, left_out)) = changed {
                    observe::keys_changed(self.fetcher.host(), used, left_out);
                    shared.put(set);
                }
            }
            Err(fault) => {
                remote.rest(rest(fault));
                remote.figures.failed();
                observe::keys_not_fetched(
                    self.fetcher.host(),
                    fault.as_str(),
                    shared.set.load().is_some(),
                );
            }
        }
        remote.end();
        true
    }

    /// Waits until it is time to ask again, or someone wants a key. Keys that have grown too old
    /// meanwhile, since they could not be fetched anew, are dropped.
    async fn rest(&mut self, next: Instant) {
        if let Some(expiry) = self.expiry().filter(|expiry| *expiry < next) {
            tokio::select! {
                biased;
                () = sleep_until(expiry) => self.expire(),
                () = self.wake.notified() => return,
            }
        }
        tokio::select! {
            () = self.wake.notified() => {}
            () = sleep_until(next) => {}
        }
    }

    /// When the keys are too old.
    fn expiry(&self) -> Option<Instant> {
        let shared = self.shared.upgrade()?;
        let loaded = shared.remote.as_ref()?.flight.lock().loaded;
        loaded?.checked_add(self.policy.max_age)
    }

    fn expire(&mut self) {
        self.fetcher.forget();
        let Some(shared) = self.shared.upgrade() else { return };
        let Some(remote) = &shared.remote else { return };
        remote.flight.lock().loaded = None;
        observe::keys_expired(self.fetcher.host());
        shared.put(None);
    }
}

/// What comes of a fetch. A client that panics is one that reaches nobody, and is asked again.
async fn unless_it_panics<T>(
    fetch: impl Future<Output = Result<T, FetchFault>>,
) -> Result<T, FetchFault> {
    let mut fetch = pin!(fetch);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| fetch.as_mut().poll(cx)));
        polled.unwrap_or(Poll::Ready(Err(FetchFault::Unreachable)))
    })
    .await
}

impl Policy {
    /// How long an answer is used that says so long it is fresh: less than until it is too old,
    /// however waits are varied.
    fn wait(&self, fresh: Option<Duration>) -> Duration {
        let wait = fresh.map_or(self.refresh, |fresh| fresh.clamp(SHORTEST_REFRESH, self.refresh));
        wait.min(self.max_age.mul_f64(1.0 - JITTER))
    }
}

/// How long an issuer wants to be left alone.
fn rest(fault: FetchFault) -> Duration {
    match fault {
        FetchFault::Busy(wait) => wait.min(LONGEST_REST),
        _ => Duration::ZERO,
    }
}

fn retry(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_bounded() {
        let second = Duration::from_secs(1);
        assert_eq!(rest(FetchFault::Busy(Duration::MAX)), 600 * second);
        assert_eq!(rest(FetchFault::Status), Duration::ZERO);
        assert_eq!((retry(1), retry(3), retry(u32::MAX)), (second, 4 * second, 60 * second));
        let policy = Policy { refresh: 600 * second, cooldown: second, max_age: 1000 * second };
        assert_eq!(policy.wait(None), 600 * second);
        assert_eq!(policy.wait(Some(Duration::ZERO)), 60 * second);
        assert_eq!(policy.wait(Some(300 * second)), 300 * second);
        assert_eq!(policy.wait(Some(Duration::MAX)), 600 * second);
        for max_age in [60, 100, 600] {
            let policy = Policy { max_age: max_age * second, ..policy };
            let longest = policy.wait(None).mul_f64(1.0 + JITTER);
            assert!(longest < policy.max_age && longest > policy.max_age.mul_f64(0.95));
        }
        let policy = Policy { max_age: Duration::MAX, ..policy };
        assert_eq!(policy.wait(None), 600 * second);
    }
}
