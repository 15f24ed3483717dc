use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{Outcome, Timestamp, Watch};

use crate::shared::Shared;

/// A place among the exchanges in flight, given back when it is told by [`Watch::settle`] how the call
/// ended, or dropped.
///
/// Dropped untold, the call counts as given up: a limit that learns takes that for a sign of overload, if
/// it took as long as calls usually do.
#[must_use = "a slot that is dropped untold counts as a call that was given up"]
pub struct Slot(Option<Held>);

pub(crate) struct Held {
    pub(crate) shared: Arc<Shared>,
    times: Times,
}

/// What happened to an exchange. Two words, since it is moved with each response.
struct Times {
    /// When it began; at the clock's origin for a call that nothing is learned from.
    start: Timestamp,
    /// Microseconds to the response's head, or to an error; 0 if nobody needs to know.
    to_head: u32,
    /// Whether it is one of those beyond the limit.
    is_extra: bool,
    outcome: Outcome,
}

const ORIGIN: Timestamp = Timestamp::from_nanos(0);

impl Held {
    /// A place that was taken at `start`, if the call is one to learn from.
    #[inline]
    pub(crate) fn new(shared: Arc<Shared>, start: Option<Timestamp>, is_extra: bool) -> Self {
        let (start, outcome) = (start.unwrap_or(ORIGIN), Outcome::Abandoned);
        Self { shared, times: Times { start, to_head: 0, is_extra, outcome } }
    }

    /// When the slot was taken; `None` for a call that nothing is learned from.
    #[inline]
    pub(crate) fn start(&self) -> Option<Timestamp> {
        (self.times.start != ORIGIN).then_some(self.times.start)
    }

    /// The time to the response's head, or to an error, if anybody needs to know.
    pub(crate) fn to_head(&self) -> Option<Duration> {
        (self.times.to_head > 0).then(|| Duration::from_micros(self.times.to_head.into()))
    }

    #[inline]
    pub(crate) const fn is_extra(&self) -> bool {
        self.times.is_extra
    }

    #[inline]
    pub(crate) const fn outcome(&self) -> Outcome {
        self.times.outcome
    }
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
            && let Some(start) = held.start()
            && held.shared.times_heads()
        {
            let micros = held.shared.clock.now().saturating_since(start).as_micros();
            held.times.to_head = u32::try_from(micros + 1).unwrap_or(u32::MAX);
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
            held.times.outcome = outcome;
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
