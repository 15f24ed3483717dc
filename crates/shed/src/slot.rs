use std::fmt;
use std::sync::Arc;

use bartizan_core::{Outcome, Timestamp, Watch};

use crate::shared::Shared;

/// A place among the exchanges in flight, given back on drop.
#[must_use = "the slot is given back when it is dropped"]
pub struct Slot(Option<Held>);

pub(crate) struct Held {
    pub(crate) shared: Arc<Shared>,
    /// When it was taken; `None` for a call that nothing is learned from.
    pub(crate) start: Option<Timestamp>,
    /// When the response's head, or an error, came, if anybody needs to know.
    pub(crate) head: Option<Timestamp>,
    /// Whether it is one of those beyond the limit.
    pub(crate) is_extra: bool,
    pub(crate) outcome: Outcome,
}

impl Slot {
    /// A slot for a request that is not counted.
    pub(crate) const fn uncounted() -> Self {
        Self(None)
    }

    pub(crate) const fn held(held: Held) -> Self {
        Self(Some(held))
    }

    /// The response's head, or an error, is there: the latency that deadlines are held against is known.
    #[inline]
    pub fn answered(&mut self) {
        if let Some(held) = &mut self.0
            && held.start.is_some()
            && held.shared.times_heads()
        {
            held.head = Some(held.shared.clock.now());
        }
    }

    /// Gives the slot back now.
    pub(crate) fn release(self, outcome: Outcome) {
        self.settle(outcome);
    }
}

impl Watch for Slot {
    #[inline]
    fn settle(mut self, outcome: Outcome) {
        if let Some(held) = &mut self.0 {
            held.outcome = outcome;
        }
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        self.shared.give_back(self);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("counted", &self.0.is_some()).finish_non_exhaustive()
    }
}
