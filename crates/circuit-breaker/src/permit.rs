use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{Outcome, Watch};

use crate::circuit::Circuit;
use crate::token::Token;

/// Leave to make one call. Tell it by [`Watch::settle`] how the call ended.
///
/// Dropped untold, the call counts as abandoned, or as failed if the thread is panicking. A probe
/// frees its slot either way.
#[must_use = "a permit that is dropped counts as an abandoned call"]
pub struct Permit(Option<Held>);

struct Held {
    circuit: Arc<Circuit>,
    token: Token,
}

impl Permit {
    #[inline]
    pub(crate) const fn new(circuit: Arc<Circuit>, token: Token) -> Self {
        Self(Some(Held { circuit, token }))
    }

    /// A permit whose outcome nobody counts.
    pub(crate) const fn uncounted() -> Self {
        Self(None)
    }
}

impl Watch for Permit {
    /// The service asked not to be called for so long. If the breaker opens in the period of this
    /// call, it stays open for at least that time, up to the longest that the settings allow.
    fn retry_after(&self, wait: Duration) {
        if let Some(Held { circuit, token }) = &self.0 {
            circuit.heed(*token, wait);
        }
    }

    #[inline(always)]
    fn settle(mut self, outcome: Outcome) {
        if let Some(Held { circuit, token }) = self.0.take() {
            circuit.settle(token, outcome);
        }
    }
}

impl Permit {
    #[cold]
    #[inline(never)]
    fn abandon(&mut self) {
        if let Some(Held { circuit, token }) = self.0.take() {
            // A panic is the service's failure; anything else is a caller that went away.
            let panicked = std::thread::panicking();
            circuit.settle_any(token, if panicked { Outcome::Failure } else { Outcome::Abandoned });
        }
    }
}

impl Drop for Permit {
    #[inline(always)]
    fn drop(&mut self) {
        if self.0.is_some() {
            self.abandon();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("counted", &self.0.is_some()).finish()
    }
}
