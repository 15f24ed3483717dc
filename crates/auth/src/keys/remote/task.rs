//! The task that fetches, apart from all requests.

use std::sync::{Arc, Weak};
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
    /// Nobody is left waiting, though the runtime is gone, or a client has panicked.
    fn drop(&mut self) {
        let shared = self.shared.upgrade();
        if let Some(remote) = shared.as_ref().and_then(|shared| shared.remote.as_ref()) {
            remote.stopped(std::thread::panicking());
        }
    }
}

impl Task {
    pub(super) async fn run(mut self) {
        let mut loaded = None;
        let mut failures = 0;
        loop {
            if !self.begin() {
                return;
            }
            let result = self.fetcher.fetch().await;
            let now = Instant::now();
            let wait = match &result {
                Ok(fetched) => {
                    failures = 0;
                    loaded = Some(now);
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
            let next = now + wait.mul_f64(1.0 + JITTER * fastrand::f64());
            self.rest(next, &mut loaded).await;
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
    /// meanwhile are dropped.
    async fn rest(&mut self, next: Instant, loaded: &mut Option<Instant>) {
        let expiry = loaded.and_then(|loaded| loaded.checked_add(self.policy.max_age));
        if let Some(expiry) = expiry.filter(|expiry| *expiry <= next) {
            tokio::select! {
                () = self.wake.notified() => return,
                () = sleep_until(expiry) => {}
            }
            *loaded = None;
            self.fetcher.forget();
            if let Some(shared) = self.shared.upgrade() {
                observe::keys_expired(self.fetcher.host());
                shared.put(None);
            }
        }
        tokio::select! {
            () = self.wake.notified() => {}
            () = sleep_until(next) => {}
        }
    }
}

impl Policy {
    /// How long an answer is used that says so long it is fresh.
    fn wait(&self, fresh: Option<Duration>) -> Duration {
        fresh.map_or(self.refresh, |fresh| fresh.clamp(SHORTEST_REFRESH, self.refresh))
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
        let policy = Policy { refresh: 600 * second, cooldown: second, max_age: second };
        assert_eq!(policy.wait(None), 600 * second);
        assert_eq!(policy.wait(Some(Duration::ZERO)), 60 * second);
        assert_eq!(policy.wait(Some(300 * second)), 300 * second);
        assert_eq!(policy.wait(Some(Duration::MAX)), 600 * second);
    }
}
