use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{Outcome, Timestamp, Watch};

use crate::shared::Shared;

/// A place among the exchanges in flight, given back on drop.
#[must_use = "the slot is given back when it is dropped"]
pub struct Slot(Option<Held>);

pub(crate) struct Held {
    pub(crate) shared: Arc<Shared>,
    pub(crate) times: Times,
    /// Whether it is one of those beyond the limit.
    pub(crate) is_extra: bool,
    pub(crate) outcome: Outcome,
}

/// When things happened to an exchange. Two words, since it is moved with each response: what did not happen
/// is at the clock's origin.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    start: Timestamp,
    head: Timestamp,
}

impl Times {
    /// Of a call that nothing is learned from.
    pub(crate) const UNTIMED: Self = Self { start: ORIGIN, head: ORIGIN };

    pub(crate) const fn begun(now: Timestamp) -> Self {
        Self { start: now, head: ORIGIN }
    }

    /// When the slot was taken; `None` for a call that nothing is learned from.
    #[inline]
    pub(crate) fn start(self) -> Option<Timestamp> {
        (self.start != ORIGIN).then_some(self.start)
    }

    /// The time to the response's head, or to an error, if anybody needs to know.
    pub(crate) fn to_head(self) -> Option<Duration> {
        (self.head != ORIGIN).then(|| self.head.saturating_since(self.start))
    }
}

const ORIGIN: Timestamp = Timestamp::from_nanos(0);

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
            && held.shared.times_heads()
            && held.times.start().is_some()
        {
            held.times.head = held.shared.clock.now();
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
