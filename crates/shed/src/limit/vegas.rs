use super::{Bounds, Limit, Sample, Window};

/// Windows end after so many calls, or sooner if the second is over.
const CALLS: u32 = 100;
const LEAST_CALLS: u32 = 10;
/// The base latency is measured anew after about 30 times the limit calls, in windows.
const ROUNDS: f64 = 30.0;

/// TCP Vegas (Brakmo and Peterson, 1995) as Netflix' concurrency-limits has it, over windows.
///
/// The queue inside the service is estimated as L·(1 − base / latency); the limit grows while that
/// is short and shrinks while it is long, by steps of log10 L. The base is the least mean of a window;
/// by single calls it would sink with the spread of service times. It is slow on large services: a
/// few places per window.
#[derive(Clone, Debug)]
pub struct Vegas {
    bounds: Bounds,
    limit: f64,
    base: f64,
    seen: f64,
    window: Option<Window>,
}

impl Vegas {
    /// Creates the limit.
    #[must_use]
    pub fn new(initial: u32) -> Self {
        let bounds = Bounds { min: 1, max: u32::MAX };
        Self { bounds, limit: f64::from(initial), base: 0.0, seen: 0.0, window: None }
    }

    fn close(&mut self, window: &Window) {
        let latency = window.mean();
        self.seen += f64::from(window.calls);
        let is_stale = self.seen >= ROUNDS * self.limit.max(f64::from(CALLS));
        if self.base == 0.0 || latency < self.base || is_stale {
            self.base = latency;
            self.seen = 0.0;
        }
        let step = self.limit.log10().floor().max(1.0);
        let queue = (self.limit * (1.0 - self.base / latency)).ceil();
        let limit = if window.overloads > 0 {
            self.limit - step
        } else if window.full_share() == 0.0 || queue > 3.0 * step && queue <= 6.0 * step {
            self.limit
        } else if queue <= step {
            self.limit + 6.0 * step
        } else if queue < 3.0 * step {
            self.limit + step
        } else {
            self.limit - step
        };
        self.limit = self.bounds.clamp(limit);
    }
}

impl Limit for Vegas {
    fn record(&mut self, sample: &Sample) {
        if let Some(window) = super::window::collect(&mut self.window, sample, CALLS, LEAST_CALLS) {
            self.close(&window);
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
