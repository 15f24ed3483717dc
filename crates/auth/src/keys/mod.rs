use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bartizan_core::{ConfigError, Live, Snapshot};
use tokio::sync::Notify;

mod algorithm;
mod backend;
mod jwk;
mod remote;
mod roca;
mod set;
mod small_order;

pub use self::algorithm::Algorithm;
pub use self::backend::Backend;
pub(crate) use self::jwk::VerifyKey;
pub use self::remote::Jwks;
pub(crate) use self::remote::Refresh;
use self::remote::Remote;
pub use self::set::KeySet;

/// A [`KeySet`] that can be replaced while it is in use, by hand or from an issuer ([`Jwks`]).
/// Clones share it.
#[derive(Clone)]
pub struct Keys(Arc<Shared>);

struct Shared {
    set: Live<Option<KeySet>>,
    /// Goes up after each change of the set.
    generation: AtomicU64,
    /// Told after each change.
    put: Notify,
    remote: Option<Remote>,
}

impl Keys {
    fn build(set: Option<KeySet>, remote: Option<Remote>) -> Self {
        let (set, generation, put) = (Live::new(set), AtomicU64::new(0), Notify::new());
        Self(Arc::new(Shared { set, generation, put, remote }))
    }

    /// Starts with `set`.
    #[must_use]
    pub fn new(set: KeySet) -> Self {
        Self::build(Some(set), None)
    }

    /// Starts with nothing: until a set is there, tokens are answered with 503, not 401.
    #[must_use]
    pub fn pending() -> Self {
        Self::build(None, None)
    }

    /// Replaces the set. Tokens that were verified by the old one are verified anew.
    pub fn replace(&self, set: KeySet) {
        self.0.put(Some(set));
    }

    /// Replaces the set by what a JWKS document of public keys says.
    ///
    /// # Errors
    ///
    /// As [`KeySet::from_jwks`]; the old set stays.
    pub fn replace_jwks(&self, json: &str) -> Result<(), ConfigError> {
        self.replace(KeySet::from_jwks(json)?);
        Ok(())
    }

    /// Waits until there is a set.
    pub async fn ready(&self) {
        if let Some(remote) = &self.0.remote {
            remote.ensure_started(&self.0);
        }
        loop {
            // Before the look: what is put in after it is told.
            let put = self.0.put.notified();
            if self.0.set.load().is_some() {
                return;
            }
            put.await;
        }
    }

    /// Lets `f` see the set, if there is one.
    pub(crate) fn with<T>(&self, f: impl FnOnce(Option<&KeySet>) -> T) -> T {
        f((**self.0.set.load()).as_ref())
    }

    /// The number of changes so far.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(SeqCst)
    }

    /// The fetch that may bring a key which is not there, if one is under way or may be started.
    pub(crate) fn refresh(&self, kid: Option<&str>) -> Option<Refresh> {
        let remote = self.0.remote.as_ref()?;
        remote.refresh(&self.0, kid)
    }

    /// Notes that a key is not there although the issuer was asked just now.
    pub(crate) fn miss(&self, kid: Option<&str>) {
        if let Some(remote) = &self.0.remote {
            remote.miss(kid);
        }
    }

    pub(crate) fn describe(&self, part: &str, snapshot: Snapshot) -> Snapshot {
        match &self.0.remote {
            Some(remote) => remote.figures().describe(part, snapshot),
            None => snapshot,
        }
    }
}

impl Shared {
    fn put(&self, set: Option<KeySet>) {
        self.set.store(set);
        self.generation.fetch_add(1, SeqCst);
        self.put.notify_waiters();
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("set", &*self.0.set.load())
            .field("remote", &self.0.remote.is_some())
            .finish_non_exhaustive()
    }
}

impl From<KeySet> for Keys {
    fn from(set: KeySet) -> Self {
        Self::new(set)
    }
}
