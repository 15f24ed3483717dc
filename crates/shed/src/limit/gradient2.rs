use super::{Bounds, Limit, Sample, Window};

const CALLS: u32 = 100;
const LEAST_CALLS: u32 = 10;
/// The long average is over so many windows.
const LONG: f64 = 600.0;
const TOLERANCE: f64 = 1.5;
const SMOOTHING: f64 = 0.2;
const QUEUE: f64 = 4.0;

/// Netflix' Gradient2, over windows: the short latency against a long average of it.
///
/// Under a constant overload the average learns that as the norm, and the limit climbs.
#[derive(Clone, Debug)]
pub struct Gradient2 {
    bounds: Bounds,
    limit: f64,
    long: f64,
    windows: f64,
    window: Option<Window>,
}

impl Gradient2 {
    /// Creates the limit.
    #[must_use]
    pub fn new(initial: u32) -> Self {
        let bounds = Bounds { min: 1, max: u32::MAX };
        Self { bounds, limit: f64::from(initial), long: 0.0, windows: 0.0, window: None }
    }

    fn close(&mut self, window: &Window) {
        let short = window.mean();
        self.windows += 1.0;
        // The first ten are plainly averaged.
        let share = if self.windows <= 10.0 { 1.0 / self.windows } else { 2.0 / (LONG + 1.0) };
        self.long += share * (short - self.long);
        // After a long overload, come down faster.
        if self.long / short > 2.0 {
            self.long *= 0.95;
        }
        if f64::from(window.most_in_flight) < self.limit / 2.0 || window.full_share() == 0.0 {
            return;
        }
        let gradient = (TOLERANCE * self.long / short).clamp(0.5, 1.0);
        let limit = self.limit * gradient + QUEUE;
        self.limit = self.bounds.clamp(self.limit * (1.0 - SMOOTHING) + limit * SMOOTHING);
    }
}

impl Limit for Gradient2 {
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
