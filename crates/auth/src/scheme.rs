use std::fmt;
use std::time::Duration;

use bartizan_core::Principal;
use http::{HeaderName, HeaderValue};

use crate::Fault;

/// A way to prove who one is.
///
/// Neither waits nor reads a clock, so that the same credential at the same time always gets the
/// same answer. `Debug` must not show secrets.
pub trait Scheme: fmt::Debug + Send + Sync + 'static {
    /// The request field that holds the credential.
    fn field(&self) -> &HeaderName;

    /// The credential in the field, if it is of this scheme. Does not look whether it is valid.
    fn credential<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]>;

    /// The part of the credential that says which secret it should be, and is no secret itself, as
    /// the id of an API key: [`Attempts`](crate::Attempts) are counted under it. By default there
    /// is none.
    fn id<'a>(&self, credential: &'a [u8]) -> Option<&'a [u8]> {
        let _ = credential;
        None
    }

    /// Tells who proves to be who by `credential` at `now`, the time since 1970.
    ///
    /// # Errors
    ///
    /// Says why it proves nothing.
    fn verify(&self, credential: &[u8], now: Duration) -> Result<Principal, Fault>;

    /// The scheme's name in challenges (RFC 9110 §11.1).
    fn name(&self) -> &'static str;
}
