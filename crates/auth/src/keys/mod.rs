use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

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
use self::remote::{Refresh, Remote};
pub use self::set::KeySet;

/// A [`KeySet`] that can be replaced while it is in use, by hand or from an issuer ([`Jwks`]).
/// Clones share it.
#[derive(Clone)]
pub struct Keys(Arc<Shared>);

/// Keys that may come after those that are there.
pub(crate) enum After {
    /// They are there already, by this number.
    Now(u64),
    Later(Refresh),
}

struct Shared {
    set: Live<Option<KeySet>>,
    /// Goes up after each change of the set.
    generation: AtomicU64,
    /// Told after each change.
    put: Notify,
    /// True if a task is to fetch them and there is none.
    idle: AtomicBool,
    remote: Option<Remote>,
}

impl Keys {
    fn build(set: Option<KeySet>, remote: Option<Remote>) -> Self {
        let (set, generation, put) = (Live::new(set), AtomicU64::new(0), Notify::new());
        let idle = AtomicBool::new(remote.is_some());
        Self(Arc::new(Shared { set, generation, put, idle, remote }))
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
        loop {
            // Before the look: what is put in after it is told, and so is the end of the task.
            let put = self.0.put.notified();
            if self.0.set.load().is_some() {
                return;
            }
            self.ensure_fetched();
            put.await;
        }
    }

    #[cold]
    fn ensure_fetched(&self) {
        if let Some(remote) = &self.0.remote {
            remote.ensure_started(&self.0);
        }
    }

    /// Lets `f` see the set, if there is one.
    pub(crate) fn with<T>(&self, f: impl FnOnce(Option<&KeySet>) -> T) -> T {
        f((**self.0.set.load()).as_ref())
    }

    /// True if an issuer is asked for them.
    pub(crate) fn is_fetched(&self) -> bool {
        self.0.remote.is_some()
    }

    /// The number of changes so far. Whoever asks has them fetched, if nobody does any more.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        if self.0.idle.load(Relaxed) {
            self.ensure_fetched();
        }
        self.0.generation.load(SeqCst)
    }

    /// Where keys may come from that set number `generation` does not have: another one by now, or
    /// a fetch that is under way or may be started.
    pub(crate) fn after(&self, generation: u64) -> Option<After> {
        let newer = || Some(self.generation()).filter(|now| *now != generation).map(After::Now);
        let fetch = || self.0.remote.as_ref()?.join(&self.0).map(After::Later);
        // Once more, since what is fetched is put in before its flight ends.
        newer().or_else(fetch).or_else(newer)
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

#[cfg(test)]
mod tests {
    use super::*;

    const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    #[test]
    fn a_set_that_came_meanwhile_is_looked_at_without_a_wait() {
        let keys = Keys::pending();
        let seen = keys.generation();
        assert!(keys.after(seen).is_none());
        // Between a look at the old set and the question what comes after it.
        keys.replace_jwks(JWKS).unwrap();
        let Some(After::Now(newer)) = keys.after(seen) else { panic!("it is there") };
        assert!(newer != seen && keys.after(newer).is_none());
    }
}
