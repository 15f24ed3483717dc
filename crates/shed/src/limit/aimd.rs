use std::time::Duration;

use bartizan_core::Timestamp;

use super::{Bounds, Limit, Sample};

/// What is left of the limit after an overload.
const BACKOFF: f64 = 0.9;

/// Additive increase, multiplicative decrease (Chiu and Jain, 1989), on a latency target.
///
/// It grows by one per round of calls while it is used and they come in time, and shrinks by a
/// tenth, at most once per target, when one does not. It has to be told the target, and it rides
/// at it: calls take as long as they are allowed to.
#[derive(Clone, Copy, Debug)]
pub struct Aimd {
    target: Duration,
    bounds: Bounds,
    limit: f64,
    decreased: Option<Timestamp>,
}

impl Aimd {
    /// Creates the limit. A call that takes longer than `target` is one too many.
    #[must_use]
    pub fn new(initial: u32, target: Duration) -> Self {
        let bounds = Bounds { min: 1, max: u32::MAX };
        Self { target, bounds, limit: f64::from(initial), decreased: None }
    }
}

impl Limit for Aimd {
    fn record(&mut self, sample: &Sample) {
        if sample.latency <= self.target && !sample.is_overload {
            // A limit that is not used is not proven.
            if f64::from(sample.in_flight) * 2.0 >= self.limit {
                self.limit = self.bounds.clamp(self.limit + 1.0 / self.limit);
            }
            return;
        }
        // The calls that were in flight at one overload all come late: it counts once.
        let since = |last| sample.now.saturating_since(last) >= self.target;
        if self.decreased.is_none_or(since) {
            self.limit = self.bounds.clamp(self.limit * BACKOFF);
            self.decreased = Some(sample.now);
        }
    }

    fn limit(&self) -> u32 {
        self.limit as u32
    }

    fn bound(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        self.limit = bounds.clamp(self.limit);
    }
}
