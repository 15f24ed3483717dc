//! The tier behind memory: asked within a deadline, left alone when it fails, never in the way.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bartizan_core::Timestamp;
use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::entry::Entry;
use crate::envelope::{self, Kept, Timeless};
use crate::exchange::Fetch;
use crate::head::Head;
use crate::key::{Query, Suffix, Target, Vary};
use crate::lease::Turn;
use crate::observe::StoreOutcome;
use crate::owed::{Owed, Owing};
use crate::state::Received;
use crate::store::{Loaded, Record, Store, StoreKey};
use crate::{Purge, ResponseCache, StoreError, StoreErrorKind, What, purge, tags};

/// After so many failures in a row the store is left alone.
const FAILURES: u32 = 5;
/// For how long.
const REST: Duration = Duration::from_secs(1);
/// How many writes may be on their way at once.
const WRITES: usize = 64;

/// A store and how it has fared.
pub(crate) struct Further {
    store: Arc<dyn Store>,
    /// The purges that it does not know of yet: what they name is not read from it.
    owed: Owed,
    failures: AtomicU32,
    /// In nanoseconds of the clock.
    rests_until: AtomicU64,
    writes: Arc<Semaphore>,
}

impl Further {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            owed: Owed::default(),
            failures: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
            writes: Arc::new(Semaphore::new(WRITES)),
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.store.position()
    }

    /// Whether it is worth while to ask.
    pub(crate) fn is_up(&self, now: Timestamp) -> bool {
        now.as_nanos() >= self.rests_until.load(Relaxed)
    }

    /// Whether that opened the breaker.
    fn note<T>(&self, result: &Result<T, StoreError>, now: Timestamp) -> bool {
        if result.is_ok() {
            self.failures.store(0, Relaxed);
            return false;
        }
        let failed = self.failures.fetch_add(1, Relaxed) + 1;
        if failed < FAILURES {
            return false;
        }
        // The first one after the rest decides anew.
        self.failures.store(FAILURES - 1, Relaxed);
        self.rests_until.store(now.saturating_add(REST).as_nanos(), Relaxed);
        failed == FAILURES
    }
}

impl fmt::Debug for Further {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Further").field("store", &self.store).finish_non_exhaustive()
    }
}

/// By when the store is to have done what it is asked from now on.
pub(crate) fn deadline(cache: &ResponseCache) -> Instant {
    Instant::now() + cache.current_settings().deadline()
}

/// Runs what a store does, within the deadline.
async fn within<T>(
    cache: &ResponseCache,
    further: &Further,
    deadline: Instant,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Option<T> {
    let result = match tokio::time::timeout_at(deadline, work).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::new(StoreErrorKind::Late)),
    };
    let opened = further.note(&result, cache.now());
    let outcome = match &result {
        Ok(_) => StoreOutcome::Done,
        Err(error) => match error.kind() {
            StoreErrorKind::Corrupt => StoreOutcome::Corrupt,
            StoreErrorKind::Late => StoreOutcome::Late,
            StoreErrorKind::Unavailable => StoreOutcome::Unavailable,
        },
    };
    cache.counts().store(cache.label(), outcome, opened);
    result.ok()
}

/// Where a request's answer is looked for.
fn key(fetch: &Fetch) -> Option<StoreKey> {
    let target = fetch.target()?;
    let learned = fetch.cache.learned(&target);
    let key = fetch.cache.keys().portable(&target, &fetch.suffix, learned.as_deref());
    Some(StoreKey::new(key))
}

/// Takes the turn to fetch it. `None` if that failed.
pub(crate) async fn lease(
    fetch: &Fetch,
    further: &Further,
    deadline: Instant,
    span: Duration,
) -> Option<Turn> {
    let work = further.store.lease(key(fetch)?, span);
    within(&fetch.cache, further, deadline, work).await
}

/// What the further tier has for a request, put into memory too. The first `None` if it failed, the
/// second if it has nothing.
pub(crate) async fn load(
    fetch: &Fetch,
    further: &Further,
    deadline: Instant,
) -> Option<Option<Arc<Entry>>> {
    let cache = &fetch.cache;
    let key = key(fetch)?;
    // Before the store is asked: what is settled meanwhile may be too late for its answer.
    let owed = further.owed.all();
    let languages = fetch.rules.languages;
    let suits =
        |head: &[u8]| Kept::decode(head).is_some_and(|kept| kept.suits(&fetch.request, languages));
    let work = async {
        let Some(loaded) = further.store.load(key, &suits).await? else { return Ok(None) };
        collect(cache, loaded).await
    };
    let loaded = within(cache, further, deadline, work).await;
    // The service is asked after this, so that only later purges are for what it will say.
    fetch.known.store(further.position(), Relaxed);
    Some(loaded?.and_then(|(kept, body)| resume(fetch, kept, body, &owed)))
}

fn resume(fetch: &Fetch, kept: Kept, body: Bytes, owed: &[Owing]) -> Option<Arc<Entry>> {
    let cache = &fetch.cache;
    let now = cache.now();
    let received = Received { now, unix: cache.unix(), delay: Duration::ZERO };
    let vary = Vary::of(&kept.headers, &fetch.request, fetch.rules.languages)?;
    let labels = tags::labels(fetch.keyed.resource, &fetch.uri, &kept.headers)?;
    if owed.iter().any(|owing| owing.names(&labels, &fetch.uri)) {
        return None;
    }
    let policy = kept.policy(received);
    let uri = Arc::clone(&fetch.uri);
    let head = Head::resumed(kept.status, kept.headers, policy, vary, uri, labels, kept.own_etag);
    let entry = Entry::new(Arc::new(head), body, None, fetch.position);
    cache.put(fetch.keyed.key, fetch.epoch, entry, &fetch.request)
}

/// Reads a body to its end, and makes sure that it is the one that was kept. `None` if it is longer
/// than is stored here.
async fn collect(
    cache: &ResponseCache,
    loaded: Loaded,
) -> Result<Option<(Kept, Bytes)>, StoreError> {
    let corrupt = || StoreError::new(StoreErrorKind::Corrupt);
    let kept = Kept::decode(&loaded.head).ok_or_else(corrupt)?;
    if kept.length > cache.body_limit() {
        return Ok(None);
    }
    let mut body = BytesMut::new();
    let mut parts = loaded.body;
    while let Some(frame) = std::future::poll_fn(|cx| parts.as_mut().poll_frame(cx)).await {
        let Ok(part) = frame?.into_data() else { continue };
        if (body.len() + part.len()) as u64 > kept.length {
            return Err(corrupt());
        }
        body.extend_from_slice(&part);
    }
    let body = body.freeze();
    if body.len() as u64 != kept.length || envelope::digest(&body) != kept.digest {
        return Err(corrupt());
    }
    Ok(Some((kept, body)))
}

/// Keeps a whole response in the further tier, beside the clients.
pub(crate) fn save(
    fetch: &Fetch,
    further: &Arc<Further>,
    learned: Option<&Query>,
    entry: &Entry,
    confirmed: bool,
) {
    let cache = &fetch.cache;
    let Some(target) = fetch.target().filter(|_| entry.part.is_none()) else { return };
    // Until what the others wait for is there, or will not come.
    let lease = fetch.take_turn();
    if cache.is_purged(entry) {
        return;
    }
    let key = StoreKey::new(cache.keys().portable(&target, &fetch.suffix, learned));
    let head = &entry.head;
    let now = cache.now();
    let kept = Kept {
        digest: envelope::digest(&entry.body),
        length: entry.body.len() as u64,
        status: head.status,
        own_etag: head.own_etag,
        policy: Timeless::of(&head.policy),
        age: head.policy.freshness.age(now),
        kept_at: cache.unix(),
        vary: head.vary.portable(&fetch.request),
        headers: head.headers.clone(),
    };
    let grace = head.policy.revalidate_grace.max(head.policy.error_grace);
    let left = head.policy.freshness.left(now).unwrap_or_default();
    let mut record = Record::new(kept.encode(), entry.body.clone(), kept.variant(), left + grace);
    record.uri = head.uri.to_string();
    record.resource = StoreKey::new(cache.keys().portable_resource(&target));
    record.confirmed = confirmed;
    record.digest = kept.digest;
    record.asked_ago = now.saturating_since(fetch.demand.now);
    record.position = fetch.known.load(Relaxed);
    record.tags = tags::names(&head.headers);
    record.groups = tags::group_names(&head.headers);
    spawn(cache, further, move |store| {
        Box::pin(async move {
            let saved = store.save(key, record).await;
            drop(lease);
            saved
        })
    });
}

/// Purges in the further tier, too.
pub(crate) fn purge(cache: &ResponseCache, further: &Arc<Further>, purge: Purge) {
    let (resource, label) = match purge.what() {
        What::Uri(uri) => {
            let Some(target) = Target::of(uri, None, cache.default_scheme()) else { return };
            let learned = cache.learned(&target);
            let keyed = cache.keys().keyed(&target, &Suffix::default(), learned.as_deref());
            (Some(StoreKey::new(cache.keys().portable_resource(&target))), Some(keyed.resource))
        }
        what => (None, purge::label(what)),
    };
    further.owed.push(Owing { purge, resource, label });
    settle(cache, further);
}

/// Sends the purges that are owed, again and again until it is done: what was purged must not come
/// back from there. Without a runtime they are owed until somebody has one.
pub(crate) fn settle(cache: &ResponseCache, further: &Arc<Further>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if !further.owed.begin() {
        return;
    }
    let (cache, mut sender) = (cache.clone(), Sender(Arc::clone(further)));
    runtime.spawn(async move {
        loop {
            let further = Arc::clone(&sender.0);
            let mut sending = JoinSet::new();
            for owing in further.owed.next() {
                let (cache, further) = (cache.clone(), Arc::clone(&further));
                sending.spawn(async move { send(&cache, &further, &owing).await });
            }
            if !sending.is_empty() {
                while sending.join_next().await.is_some() {}
                further.owed.settled();
                continue;
            }
            // Whoever owes more meanwhile either sees that this has ended, or is seen here.
            drop(sender);
            if !further.owed.begin() {
                return;
            }
            sender = Sender(further);
        }
    });
}

/// Whoever sends what is owed. Its task may be dropped, as at the end of a runtime.
struct Sender(Arc<Further>);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.owed.end();
    }
}

async fn send(cache: &ResponseCache, further: &Further, owing: &Owing) {
    let purge = || further.store.purge(&owing.purge, owing.resource);
    while within(cache, further, deadline(cache), purge()).await.is_none() {
        tokio::time::sleep(REST).await;
    }
}

type Writing = std::pin::Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

fn spawn(
    cache: &ResponseCache,
    further: &Arc<Further>,
    write: impl FnOnce(Arc<dyn Store>) -> Writing + Send + 'static,
) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let permit = Arc::clone(&further.writes).try_acquire_owned();
    let (Ok(permit), true) = (permit, further.is_up(cache.now())) else {
        cache.counts().store(cache.label(), StoreOutcome::Skipped, false);
        return;
    };
    let (cache, further) = (cache.clone(), Arc::clone(further));
    runtime.spawn(async move {
        let store = Arc::clone(&further.store);
        within(&cache, &further, deadline(&cache), write(store)).await;
        drop(permit);
    });
}
