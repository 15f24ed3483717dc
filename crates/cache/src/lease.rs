//! One fetch for several processes: whoever holds the lease asks the service, the others look for
//! what it stores.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::entry::Entry;
use crate::exchange::Fetch;
use crate::flight::Stage;
use crate::further::{self, Further};
use crate::state::{self, Demand, Refusal, Reuse};

/// Whose turn it is to ask the service.
#[derive(Debug)]
#[non_exhaustive]
pub enum Turn {
    /// The one's who asked.
    Mine(Lease),
    /// Another's, who is waited for.
    Taken,
    /// Everyone's: what the service answered lately was not for others.
    Unshared,
}

/// The turn to ask the service. It ends when this is dropped.
pub struct Lease {
    found: bool,
    release: Option<Box<dyn FnOnce(bool) + Send>>,
}

impl Lease {
    /// One that nobody else knows of.
    pub(crate) fn own() -> Self {
        Self { found: false, release: None }
    }

    /// A turn at a store. `found` says that something has been stored under the key, so that it is
    /// worth while to look again; `release` is called when the turn is over, and told whether the
    /// service's answer was not for others. If so, whoever asks next is to be told that for a while
    /// ([`Turn::Unshared`]). If not, the next who waits has the turn: it finds what was stored, or
    /// asks in place of one that went away, or could not store it.
    pub fn new(found: bool, release: impl FnOnce(bool) + Send + 'static) -> Self {
        Self { found, release: Some(Box::new(release)) }
    }

    /// Ends the turn: the service's answer is not for others.
    pub(crate) fn end_unshared(mut self) {
        self.end(true);
    }

    fn end(&mut self, unshared: bool) {
        if let Some(release) = self.release.take() {
            release(unshared);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("found", &self.found).finish_non_exhaustive()
    }
}

impl Fetch {
    fn take(&self, lease: Lease) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
    }

    pub(crate) fn take_turn(&self) -> Option<Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How long before one who waits looks again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(40);

/// What the further tier has for a request, or will have when another process has stored it. That
/// is waited for half as long as requests wait for each other: those who wait for this one have as
/// much left for what it then fetches itself.
pub(crate) async fn look(fetch: &Fetch, further: &Further, shares: bool) -> Option<Arc<Entry>> {
    let deadline = further::deadline(&fetch.cache);
    if let Some(found) = fresh(fetch, further, deadline).await? {
        return Some(found);
    }
    let (cache, wait) = (&fetch.cache, fetch.cache.current_settings().wait());
    if !shares || wait.is_zero() || !further.is_up(cache.now()) {
        return None;
    }
    // What fails meanwhile is not waited for: the service is asked.
    tokio::time::timeout(wait / 2, turn(fetch, further, deadline, wait)).await.ok().flatten()
}

/// What became of a refresh before it was sent: it is in the store, or another process is at it.
/// `None` if neither, or if nobody knows.
pub(crate) async fn ahead(fetch: &Fetch, further: &Further) -> Option<Stage> {
    let (cache, deadline) = (&fetch.cache, further::deadline(&fetch.cache));
    let found = further::load(fetch, further, deadline).await?;
    let now = cache.now();
    if let Some(found) = found.filter(|found| found.head.policy.is_fresh(now)) {
        return Some(Stage::Served(found));
    }
    let wait = cache.current_settings().wait();
    match further::lease(fetch, further, deadline, wait).await? {
        Turn::Mine(lease) => fetch.take(lease),
        Turn::Taken => return Some(Stage::Unshared),
        Turn::Unshared => {}
    }
    None
}

async fn turn(
    fetch: &Fetch,
    further: &Further,
    mut deadline: Instant,
    wait: Duration,
) -> Option<Arc<Entry>> {
    let mut pause = FIRST_PAUSE;
    let mut waited = false;
    loop {
        match further::lease(fetch, further, deadline, wait).await? {
            Turn::Mine(lease) => {
                // It may have been stored between the look and the lease.
                if (lease.found || waited)
                    && let Some(found) = fresh(fetch, further, deadline).await?
                {
                    return Some(found);
                }
                fetch.take(lease);
                return None;
            }
            Turn::Unshared => {
                fetch.cache.mark_unshared(fetch.keyed.key);
                return None;
            }
            Turn::Taken => {}
        }
        waited = true;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        // That was for another process, not for the store.
        deadline = further::deadline(&fetch.cache);
        if let Some(found) = fresh(fetch, further, deadline).await? {
            return Some(found);
        }
    }
}

fn reuse(fetch: &Fetch, found: &Entry) -> Result<Reuse, Refusal> {
    let demand = Demand { now: fetch.cache.now(), ..fetch.demand };
    state::reuse(&found.head.policy, &demand, false)
}

/// What is there and may be served as it is. The first `None` if the store failed. What is stale is
/// asked about, and may stand in for an error.
async fn fresh(fetch: &Fetch, further: &Further, deadline: Instant) -> Option<Option<Arc<Entry>>> {
    let Some(found) = further::load(fetch, further, deadline).await? else { return Some(None) };
    match reuse(fetch, &found) {
        Ok(Reuse::AsItIs) => return Some(Some(found)),
        Ok(Reuse::WhileRevalidating) | Err(Refusal::Stale) => drop(fetch.found.set(found)),
        Err(Refusal::Credentials | Refusal::Request) => {}
    }
    Some(None)
}
