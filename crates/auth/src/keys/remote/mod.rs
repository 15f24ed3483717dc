use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bartizan_core::ConfigError;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use self::fetch::{Fetcher, Source};
use super::{Backend, Keys, Shared};
use crate::client::HttpClient;
use crate::observe::KeyFigures;

mod fetch;
mod task;

/// How many requests may wait for one fetch. More are answered at once, as if it had failed.
const MAX_WAITING: usize = 1024;

/// Keys that an issuer publishes, to be asked for by any [`HttpClient`].
///
/// One task fetches them, apart from all requests: at once, then each time that what was fetched is
/// no longer fresh, and when a token asks for a key that is not there. Requests with known keys never
/// wait, nor do those with tokens of another issuer. One with an unknown key waits for the fetch that
/// is under way, or has one started if the last one was started longer ago than the cooldown;
/// otherwise it is refused.
#[derive(Clone, Debug)]
#[must_use]
pub struct Jwks {
    client: HttpClient,
    source: Source,
    policy: Policy,
    backend: Backend,
}

/// When to ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    refresh: Duration,
    cooldown: Duration,
    max_age: Duration,
}

/// Longer than this no fetch takes: three answers, each within the longest deadline of a client.
const LONGEST_FLIGHT: Duration = Duration::from_secs(90);

/// Sooner than this no answer is asked for again, however stale it says that it is.
const SHORTEST_REFRESH: Duration = Duration::from_secs(60);
/// Later than this is never, for a clock too.
const LONGEST_REFRESH: Duration = Duration::from_secs(30 * 24 * 3600);

impl Jwks {
    /// Asks `uri` for a JWKS document.
    ///
    /// # Errors
    ///
    /// If it is not an https address.
    pub fn new(client: HttpClient, uri: &str) -> Result<Self, ConfigError> {
        let uri = client.address("uri", uri)?;
        Ok(Self::of(client, Source::Jwks(uri)))
    }

    /// Asks `issuer` where its keys are (OpenID Connect Discovery 1.0 §4), which must name itself
    /// `issuer` too, character by character.
    ///
    /// # Errors
    ///
    /// If it is not an https address.
    pub fn of_issuer(client: HttpClient, issuer: &str) -> Result<Self, ConfigError> {
        Self::of_issuer_at(client, issuer, issuer)
    }

    /// Asks at `base` for the configuration of an issuer that calls itself `issuer`.
    pub(crate) fn of_issuer_at(
        client: HttpClient,
        base: &str,
        issuer: &str,
    ) -> Result<Self, ConfigError> {
        let base = base.strip_suffix('/').unwrap_or(base);
        let configuration =
            client.address("issuer", &format!("{base}/.well-known/openid-configuration"))?;
        let issuer = issuer.to_owned();
        Ok(Self::of(client, Source::Issuer { configuration, issuer, host: None }))
    }

    fn of(client: HttpClient, source: Source) -> Self {
        let policy = Policy {
            refresh: Duration::from_secs(600),
            cooldown: Duration::from_secs(30),
            max_age: Duration::from_secs(24 * 3600),
        };
        Self { client, source, policy, backend: Backend::default() }
    }

    /// Refuses a discovered address on another host than this.
    pub fn on_host(mut self, name: impl Into<String>) -> Self {
        if let Source::Issuer { host, .. } = &mut self.source {
            *host = Some(name.into());
        }
        self
    }

    /// Sets how long keys are used before they are asked for again: 10 minutes by default, at least
    /// one, 30 days at most. `Cache-Control` may shorten it, and so does [`max_age`](Self::max_age).
    pub fn refresh_every(mut self, interval: Duration) -> Self {
        self.policy.refresh = interval.clamp(SHORTEST_REFRESH, LONGEST_REFRESH);
        self
    }

    /// Sets how long after a fetch no unknown key causes another: 30 seconds by default, at least
    /// one. It is also how long it may take at most until a key is accepted that was published
    /// without notice.
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.policy.cooldown = cooldown.max(Duration::from_secs(1));
        self
    }

    /// Sets how long the last good keys are used while the issuer is away: a day by default, at
    /// least a minute. After that the answer is 503. While it is there, they are asked for again
    /// before they are so old.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.policy.max_age = age.max(SHORTEST_REFRESH);
        self
    }

    /// Has keys read by the cryptography of `backend`, instead of the default one.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// The keys, which are fetched from now on: by a task on this runtime, or else on the one that
    /// first asks for a key. The task ends with the last clone of the keys.
    #[must_use]
    pub fn start(self) -> Keys {
        let keys = Keys::build(None, Some(Remote::new(self)));
        if let Some(remote) = &keys.0.remote {
            remote.ensure_started(&keys.0);
        }
        keys
    }
}

impl From<Jwks> for Keys {
    fn from(jwks: Jwks) -> Self {
        jwks.start()
    }
}

/// The requests' side of the task that fetches.
pub(super) struct Remote {
    jwks: Jwks,
    flight: Mutex<Flight>,
    /// Told after each fetch, whatever came of it.
    ended: watch::Sender<()>,
    wake: Arc<Notify>,
    figures: KeyFigures,
}

#[derive(Debug, Default)]
struct Flight {
    /// A fetch is under way, or about to be.
    flies: bool,
    /// When the last one was begun.
    last: Option<Instant>,
    /// When the keys that are there were last said to be good; nothing if they were put in by hand.
    loaded: Option<Instant>,
    /// Until when the issuer asked to be left alone.
    rests_until: Option<Instant>,
}

impl Flight {
    /// True if the last one was begun less than `cooldown` ago.
    fn is_recent(&self, cooldown: Duration) -> bool {
        self.last.is_some_and(|last| last.elapsed() < cooldown)
    }
}

/// A fetch to wait for.
pub(crate) struct Refresh(watch::Receiver<()>);

impl Refresh {
    /// Waits for its end, whatever comes of it; on a runtime no longer than it can take, since the
    /// task's own may stand still.
    pub(crate) async fn done(mut self) {
        // An error means that nobody will fetch any more.
        let ended = self.0.changed();
        match Handle::try_current() {
            Ok(_) => drop(timeout(LONGEST_FLIGHT, ended).await),
            Err(_) => drop(ended.await),
        }
    }
}

impl Remote {
    fn new(jwks: Jwks) -> Self {
        Self {
            jwks,
            flight: Mutex::default(),
            ended: watch::Sender::new(()),
            wake: Arc::default(),
            figures: KeyFigures::default(),
        }
    }

    pub(super) fn figures(&self) -> &KeyFigures {
        &self.figures
    }

    /// Joins the fetch that is under way, or has one begun, unless nothing is there yet: then the
    /// task tries anyway, as often as is good.
    pub(super) fn join(&self, shared: &Arc<Shared>) -> Option<Refresh> {
        self.ensure_started(shared);
        if self.ended.receiver_count() >= MAX_WAITING {
            return None;
        }
        let mut flight = self.flight.lock();
        if !flight.flies {
            let busy = flight.rests_until.is_some_and(|until| Instant::now() < until);
            let in_vain = shared.idle.load(SeqCst) || shared.set.load().is_none();
            if busy || in_vain || flight.is_recent(self.jwks.policy.cooldown) {
                return None;
            }
            flight.flies = true;
            self.wake.notify_one();
        }
        // Under the lock: the end of this flight is yet to be told.
        Some(Refresh(self.ended.subscribe()))
    }

    /// Has a task begun if there is none, or none any more.
    pub(super) fn ensure_started(&self, shared: &Arc<Shared>) {
        if !shared.idle.load(SeqCst) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let mut flight = self.flight.lock();
        // One that came to grief is not begun anew at every request.
        if flight.is_recent(self.jwks.policy.cooldown) || !shared.idle.swap(false, SeqCst) {
            return;
        }
        flight.flies = true;
        drop(flight);
        let task = task::Task {
            shared: Arc::downgrade(shared),
            fetcher: Fetcher::new(&self.jwks),
            policy: self.jwks.policy,
            wake: Arc::clone(&self.wake),
        };
        runtime.spawn(task.run());
    }

    fn begin(&self) {
        let mut flight = self.flight.lock();
        flight.flies = true;
        flight.last = Some(Instant::now());
    }

    /// The keys that are there are what the issuer publishes now.
    fn loaded(&self) {
        self.flight.lock().loaded = Some(Instant::now());
    }

    /// Has no request begin a fetch for so long.
    fn rest(&self, wait: Duration) {
        self.flight.lock().rests_until = Instant::now().checked_add(wait);
    }

    fn end(&self) {
        let mut flight = self.flight.lock();
        flight.flies = false;
        // Under the lock: nobody who joins the next flight is told of the end of this one.
        self.ended.send_replace(());
    }

    /// The task is gone: by a panic, or with its runtime. Then another may begin at once, on another
    /// runtime.
    fn stopped(&self, shared: &Shared, by_panic: bool) {
        let mut flight = self.flight.lock();
        if !by_panic {
            flight.last = None;
        }
        flight.flies = false;
        // Under the lock: what was this one's is not taken for the next one's, nor that for over.
        shared.idle.store(true, SeqCst);
        self.ended.send_replace(());
        drop(flight);
        shared.put.notify_waiters();
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // The task finds nobody left.
        self.wake.notify_one();
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("jwks", &self.jwks).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::hint::spin_loop;
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;

    use super::*;

    /// A fetch ends while somebody has the next one begun: many times over, since it is about a
    /// moment.
    #[test]
    fn the_end_of_one_fetch_is_not_taken_for_that_of_the_next() {
        let nobody = tower::service_fn(async |_: Request<Full<Bytes>>| {
            Err::<Response<Full<Bytes>>, std::io::Error>(std::io::Error::other("nobody"))
        });
        let jwks = Jwks::new(HttpClient::new(nobody), "https://id.test/keys").unwrap();
        let keys = Keys::build(None, Some(Remote::new(jwks)));
        let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        keys.replace_jwks(set).unwrap();
        let remote = keys.0.remote.as_ref().unwrap();
        // As if there were a task.
        keys.0.idle.store(false, SeqCst);
        const ROUNDS: u64 = 5_000;
        let (round, mut misled) = (AtomicU64::new(0), 0);
        let await_round = |number| {
            while round.load(SeqCst) < number {
                spin_loop();
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..ROUNDS {
                    await_round(2 * number + 1);
                    remote.end();
                    round.fetch_add(1, SeqCst);
                }
            });
            for number in 0..ROUNDS {
                remote.flight.lock().flies = true;
                round.fetch_add(1, SeqCst);
                while remote.flight.lock().flies {
                    spin_loop();
                }
                let next = remote.join(&keys.0).unwrap();
                await_round(2 * number + 2);
                misled += u64::from(next.0.has_changed().unwrap());
            }
        });
        assert_eq!(misled, 0, "nothing has ended since they joined");
    }
}
