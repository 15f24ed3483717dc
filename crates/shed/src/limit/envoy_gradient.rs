use std::time::Duration;

use bartizan_core::Timestamp;

use super::{Bounds, Limit, Sample};

const BASE_CALLS: usize = 50;
const PROBE_LIMIT: f64 = 3.0;
const BUFFER: f64 = 1.25;
const INTERVAL: Duration = Duration::from_millis(100);
const BASE_INTERVAL: Duration = Duration::from_secs(60);
/// After so many windows at the minimum, the base is measured anew.
const AT_MINIMUM: u32 = 5;
/// A window keeps no more than so many latencies.
const MOST_CALLS: usize = 4096;

/// The gradient controller of Envoy's `adaptive_concurrency` filter.
///
/// Every minute the limit drops to 3 until 50 calls have told the base latency (their median); then
/// L := L·g + √(L·g) with g = 1.25·base / latency, each 100 ms. Fifty calls are few: the base
/// is off by a fifth, and where it is too low, a large service is held low.
#[derive(Clone, Debug)]
pub struct EnvoyGradient {
    bounds: Bounds,
    limit: f64,
    /// The base in seconds, 0 before the first measurement.
    base: f64,
    measured: Option<Timestamp>,
    /// While the base is measured: only calls that began after it count.
    probe_start: Option<Timestamp>,
    before_probe: f64,
    at_minimum: u32,
    start: Option<Timestamp>,
    is_full: bool,
    latencies: Vec<f64>,
}

impl EnvoyGradient {
    /// Creates the limit. It starts with a measurement, at 3.
    #[must_use]
    pub fn new(initial: u32) -> Self {
        Self {
            bounds: Bounds { min: 1, max: u32::MAX },
            limit: PROBE_LIMIT,
            base: 0.0,
            measured: None,
            probe_start: None,
            before_probe: f64::from(initial),
            at_minimum: 0,
            start: None,
            is_full: false,
            latencies: Vec::new(),
        }
    }

    fn median(&mut self) -> f64 {
        let middle = self.latencies.len() / 2;
        *self.latencies.select_nth_unstable_by(middle, f64::total_cmp).1
    }

    fn measure_base(&mut self, sample: &Sample) {
        let start = *self.probe_start.get_or_insert(sample.now);
        let began = sample.now.as_nanos().saturating_sub(sample.latency.as_nanos() as u64);
        if began < start.as_nanos() {
            return;
        }
        self.latencies.push(sample.latency.as_secs_f64());
        if self.latencies.len() < BASE_CALLS {
            return;
        }
        self.base = self.median();
        self.measured = Some(sample.now);
        self.probe_start = None;
        self.at_minimum = 0;
        self.limit = self.bounds.clamp(self.before_probe);
        self.begin(sample.now);
    }

    fn begin(&mut self, now: Timestamp) {
        self.start = Some(now);
        self.is_full = false;
        self.latencies.clear();
    }

    fn close(&mut self, now: Timestamp) {
        let latency = self.median();
        // Envoy itself lets the limit drift up where it is not used.
        if self.is_full {
            let gradient = (BUFFER * self.base / latency).clamp(0.5, 2.0);
            let limit = self.limit * gradient;
            self.limit = self.bounds.clamp((limit + limit.sqrt()).max(PROBE_LIMIT));
            let is_low = self.limit <= PROBE_LIMIT.max(self.bounds.min.into());
            self.at_minimum = if is_low { self.at_minimum + 1 } else { 0 };
        }
        let is_stale = self.measured.is_some_and(|at| now.saturating_since(at) >= BASE_INTERVAL);
        if self.is_full && (is_stale || self.at_minimum >= AT_MINIMUM) {
            self.before_probe = self.limit;
            self.measured = None;
            self.limit = self.bounds.clamp(PROBE_LIMIT);
        }
        self.begin(now);
    }
}

impl Limit for EnvoyGradient {
    fn record(&mut self, sample: &Sample) {
        if self.measured.is_none() {
            return self.measure_base(sample);
        }
        let start = *self.start.get_or_insert(sample.now);
        self.is_full |= sample.is_full;
        if self.latencies.len() < MOST_CALLS {
            self.latencies.push(sample.latency.as_secs_f64());
        }
        if sample.now.saturating_since(start) >= INTERVAL {
            self.close(sample.now);
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
