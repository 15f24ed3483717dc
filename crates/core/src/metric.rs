use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a metric is called, what it means and how it moves.
#[derive(Debug, Eq, PartialEq)]
pub struct Metric {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only up.
    Counter,
    /// Up and down.
    Gauge,
}

impl Metric {
    /// Describes a counter.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricKind::Counter }
    }

    /// Describes a gauge.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricKind::Gauge }
    }

    /// `bartizan_<room>_<what>_<unit>`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it means, in a sentence.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        self.help
    }

    /// How it moves.
    #[must_use]
    pub const fn kind(&self) -> MetricKind {
        self.kind
    }
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// What is measured.
    pub metric: &'static Metric,
    /// Which part of the engine, as a policy; empty if it has none.
    pub part: String,
    /// Which kind of event; empty if the metric has no kinds.
    pub outcome: &'static str,
    /// The figure.
    pub value: f64,
}

impl Sample {
    pub(crate) fn new(
        metric: &'static Metric,
        part: &str,
        outcome: &'static str,
        value: f64,
    ) -> Self {
        Self { metric, part: part.to_owned(), outcome, value }
    }
}

/// Counts events, from any thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Creates a counter at 0.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
