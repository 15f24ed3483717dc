use std::fmt;
use std::sync::Arc;

use bartizan_core::{Outcome, Watch};

use crate::engine::Shared;
use crate::state::Token;

/// Leave to make one call. Tell it by [`Watch::settle`] how the call ended.
///
/// Dropped untold, the call counts as abandoned, or as failed if the thread is panicking.
#[must_use = "a permit that is dropped counts as an abandoned call"]
pub struct Permit(Option<Held>);

struct Held {
    shared: Arc<Shared>,
    token: Token,
}

impl Permit {
    pub(crate) const fn new(shared: Arc<Shared>, token: Token) -> Self {
        Self(Some(Held { shared, token }))
    }

    /// A permit whose outcome nobody counts.
    pub(crate) const fn uncounted() -> Self {
        Self(None)
    }

    #[inline]
    fn end(&mut self, outcome: Outcome) {
        if let Some(Held { shared, token }) = self.0.take() {
            shared.settle(token, outcome);
        }
    }
}

impl Watch for Permit {
    #[inline]
    fn settle(mut self, outcome: Outcome) {
        self.end(outcome);
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_some() {
            // A panic is the service's failure; anything else is a caller that went away.
            let panicked = std::thread::panicking();
            self.end(if panicked { Outcome::Failure } else { Outcome::Abandoned });
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("counted", &self.0.is_some()).finish()
    }
}
