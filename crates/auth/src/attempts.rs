use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bartizan_core::Key;

/// Counts credentials that prove nothing, and says for how long to take no more: what a rate
/// limiter plugs into, so that nobody guesses at leisure.
///
/// Failures are counted under the client's address (as [`key::ip`](bartizan_core::key::ip) finds
/// it, if it does) and under the part of the credential that is no secret, such as the id of an API
/// key or the name of a user ([`Scheme::id`](crate::Scheme::id)). Either is enough to turn a caller
/// away, with 429 and `Retry-After`, before the credential is looked at. Only what may be a guess
/// counts: not an expired token, not a token for another audience, and not a failure to check; but an
/// opaque token that its issuer calls inactive, since it does not say whether it ever was active. Of
/// several credentials that are wanted at once, the one that failed counts.
///
/// With the rate limiter of Bartizan, `failures`:
///
/// ```ignore
/// let asked = failures.clone();
/// let auth = auth.attempts(Attempts::new(
///     move |key| asked.peek(key).retry_after,
///     move |key| failures.charge(key),
/// ));
/// ```
#[derive(Clone)]
#[must_use]
pub struct Attempts {
    wait: Arc<dyn Fn(Key) -> Option<Duration> + Send + Sync>,
    failed: Arc<dyn Fn(Key) + Send + Sync>,
}

impl Attempts {
    /// Asks `wait` for how long a key is to be turned away (`None`: it is not), and tells `failed`
    /// of each failure. Both are called within requests, and must not block.
    pub fn new(
        wait: impl Fn(Key) -> Option<Duration> + Send + Sync + 'static,
        failed: impl Fn(Key) + Send + Sync + 'static,
    ) -> Self {
        Self { wait: Arc::new(wait), failed: Arc::new(failed) }
    }

    pub(crate) fn wait(&self, key: Key) -> Option<Duration> {
        (self.wait)(key)
    }

    pub(crate) fn failed(&self, key: Key) {
        (self.failed)(key);
    }
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts").finish_non_exhaustive()
    }
}
