use std::time::Duration;

use bartizan_core::Timestamp;

use super::Sample;

/// What a stretch of time held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    start: Timestamp,
    completed: u64,
    pub(crate) calls: u32,
    pub(crate) overloads: u32,
    full: u32,
    time: f64,
    squares: f64,
    pub(crate) longest: f64,
    pub(crate) most_in_flight: u32,
}

impl Window {
    pub(crate) const fn new(start: Timestamp, completed: u64) -> Self {
        Self {
            start,
            completed,
            calls: 0,
            overloads: 0,
            full: 0,
            time: 0.0,
            squares: 0.0,
            longest: 0.0,
            most_in_flight: 0,
        }
    }

    pub(crate) fn add(&mut self, sample: &Sample) {
        let seconds = sample.latency.as_secs_f64();
        self.calls += 1;
        self.overloads += u32::from(sample.is_overload);
        self.full += u32::from(sample.is_full);
        self.time += seconds;
        self.squares += seconds * seconds;
        self.longest = self.longest.max(seconds);
        self.most_in_flight = self.most_in_flight.max(sample.in_flight);
    }

    /// In seconds.
    pub(crate) fn elapsed(&self, now: Timestamp) -> f64 {
        now.saturating_since(self.start).as_secs_f64()
    }

    /// Calls that ended well, told or not.
    pub(crate) fn completed(&self, sample: &Sample) -> u64 {
        sample.completed.saturating_sub(self.completed)
    }

    /// The same, per second, with as many of those that did not end well as there are others: they have
    /// taken up room as well. That most do not is a sign that there is too little of it.
    pub(crate) fn rate(&self, sample: &Sample) -> f64 {
        let calls = f64::from(self.calls.max(1));
        let well = (calls - f64::from(self.overloads)).max(calls / 2.0);
        self.completed(sample) as f64 * (calls / well) / self.elapsed(sample.now).max(1e-9)
    }

    /// The mean latency in seconds.
    pub(crate) fn mean(&self) -> f64 {
        self.time / f64::from(self.calls.max(1))
    }

    pub(crate) fn square(&self) -> f64 {
        self.squares / f64::from(self.calls.max(1))
    }

    /// The square of the latencies' coefficient of variation.
    pub(crate) fn variation(&self) -> f64 {
        let mean = self.mean();
        let variance = self.squares / f64::from(self.calls.max(1)) - mean * mean;
        if mean > 0.0 { (variance / (mean * mean)).max(0.0) } else { 0.0 }
    }

    /// Which share of the calls ended at the limit.
    pub(crate) fn full_share(&self) -> f64 {
        f64::from(self.full) / f64::from(self.calls.max(1))
    }
}

/// Collects calls into windows of `most` calls, or of a second if that held at least `least`.
/// Returns the window that this call ends.
pub(crate) fn collect(
    open: &mut Option<Window>,
    sample: &Sample,
    most: u32,
    least: u32,
) -> Option<Window> {
    let window = open.get_or_insert(Window::new(sample.now, sample.completed));
    window.add(sample);
    let is_over =
        window.calls >= most || window.calls >= least && window.elapsed(sample.now) >= 1.0;
    if is_over { open.take() } else { None }
}

/// A figure in seconds as a time: a latency that somebody made up may be longer than any.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
