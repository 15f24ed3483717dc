use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bartizan_core::{Key, Principal, Snapshot};
use http::{HeaderName, HeaderValue};

use crate::Fault;

mod all_of;

pub use self::all_of::{AllOf, Way};
pub(crate) use self::all_of::{Failure, Trial, Tried};

/// A way to prove who one is.
///
/// It reads no clock: `now` is handed to it. `Debug` must not show secrets.
pub trait Scheme: fmt::Debug + Send + Sync + 'static {
    /// The request field that holds the credential.
    fn field(&self) -> &HeaderName;

    /// The credential in the field, if it is of this scheme. Does not look whether it is valid.
    fn credential<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]>;

    /// What credentials of this scheme alone begin with, as `acme_live_`. Whatever begins so, good or
    /// not, is shown to no other scheme in the same field, such as one that would send it away to ask
    /// about it. By default there is no such thing. It is asked for once.
    fn prefix(&self) -> Option<&str> {
        None
    }

    /// The part of the credential that says which secret it should be, and is no secret itself, as
    /// the id of an API key, by its hash ([`Key::of`]): [`Attempts`](crate::Attempts) are counted
    /// under it. By default there is none.
    fn id(&self, credential: &[u8]) -> Option<Key> {
        let _ = credential;
        None
    }

    /// Tells who proves to be who by `credential` at `now`, the time since 1970: at once, or
    /// later if someone else has to be asked.
    fn verify(&self, credential: &[u8], now: Duration) -> Verdict;

    /// The scheme's name in challenges (RFC 9110 §11.1).
    fn name(&self) -> &'static str;

    /// Adds figures of its own, as those of a cache, to the authenticator's. `part` is its place
    /// among the schemes, from 0, and what figures of several schemes are told apart by.
    fn describe(&self, part: &str, snapshot: Snapshot) -> Snapshot {
        let _ = part;
        snapshot
    }
}

/// What a [`Scheme`] says of a credential: who it proves to be, or why it proves nothing.
#[must_use]
#[allow(clippy::exhaustive_enums, reason = "there is no third time to answer at")]
pub enum Verdict {
    /// It knows.
    Now(Result<Principal, Fault>),
    /// It has to wait. Dropping the future must leave nothing behind.
    Later(Later<Result<Principal, Fault>>),
}

/// What takes its time, with its type forgotten.
pub(crate) type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Verdict {
    /// Has to wait for `answer`.
    pub fn later(answer: impl Future<Output = Result<Principal, Fault>> + Send + 'static) -> Self {
        Self::Later(Box::pin(answer))
    }

    /// The answer, however long it takes.
    ///
    /// # Errors
    ///
    /// As the scheme says.
    pub async fn settled(self) -> Result<Principal, Fault> {
        match self {
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }
}

impl From<Result<Principal, Fault>> for Verdict {
    fn from(answer: Result<Principal, Fault>) -> Self {
        Self::Now(answer)
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(answer) => f.debug_tuple("Now").field(answer).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}
