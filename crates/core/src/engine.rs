use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use crate::{ConfigError, Metric, MetricKind, Mode, Sample, Switch};

/// What an operator sees of every layer, and can set while it runs.
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// The name that tells it from others of its kind.
    fn name(&self) -> &str;

    /// The room: `rate_limit`, `cache`, ….
    fn kind(&self) -> &'static str;

    /// The switch that every service of this engine reads.
    fn switch(&self) -> &Switch;

    /// The figures as they stand.
    fn snapshot(&self) -> Snapshot;

    /// The settings in force, in the form that [`apply`](Self::apply) takes: what an operator changes one
    /// of.
    fn current_settings(&self) -> Value;

    /// Replaces the settings, and keeps the state.
    ///
    /// # Errors
    ///
    /// Names the field that is wrong and the fix; the old settings stay.
    fn apply(&self, settings: Value) -> Result<(), ConfigError>;
}

/// An engine's figures at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    name: String,
    kind: &'static str,
    mode: Mode,
    samples: Vec<Sample>,
}

impl Snapshot {
    /// Creates a snapshot without figures.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: &'static str, mode: Mode) -> Self {
        Self { name: name.into(), kind, mode, samples: Vec::new() }
    }

    /// Adds a figure.
    #[must_use]
    pub fn sample(self, metric: &'static Metric, outcome: &'static str, value: f64) -> Self {
        self.sample_of(metric, "", outcome, value)
    }

    /// Adds a figure of a part of the engine: one of few, by a name from its configuration.
    #[must_use]
    pub fn sample_of(
        mut self,
        metric: &'static Metric,
        part: &str,
        outcome: &'static str,
        value: f64,
    ) -> Self {
        self.samples.push(Sample::new(metric, part, outcome, value));
        self
    }

    /// The engine's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The engine's room.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// The mode that the engine was in.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The figures.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The figure of a metric by name and outcome: of the first part, if the engine has several.
    #[must_use]
    pub fn value(&self, metric: &str, outcome: &str) -> Option<f64> {
        self.samples
            .iter()
            .find(|sample| sample.metric.name() == metric && sample.outcome == outcome)
            .map(|sample| sample.value)
    }

    /// The figure of a metric by name, part and outcome.
    #[must_use]
    pub fn value_of(&self, metric: &str, part: &str, outcome: &str) -> Option<f64> {
        let of_part = |sample: &&Sample| sample.metric.name() == metric && sample.part == part;
        let mut samples = self.samples.iter().filter(of_part);
        samples.find(|sample| sample.outcome == outcome).map(|sample| sample.value)
    }
}

/// The engines of a process, by room and name. Clones share.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<RwLock<Engines>>);

type Engines = BTreeMap<(&'static str, String), Arc<dyn Engine>>;

impl Registry {
    /// Creates an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an engine. It takes the place of one of the same room and name, which is then neither
    /// shown nor found: a warning says so. Give each a name of its own.
    pub fn register(&self, engine: impl Engine) {
        let (kind, name) = (engine.kind(), engine.name().to_owned());
        let key = (kind, name.clone());
        let engine: Arc<dyn Engine> = Arc::new(engine);
        let replaced = self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, engine);
        if replaced.is_some() {
            tracing::warn!(target: "bartizan::core", kind, name, "engine replaced by one of its name");
        }
    }

    /// The engine of that room and name.
    #[must_use]
    pub fn get(&self, kind: &str, name: &str) -> Option<Arc<dyn Engine>> {
        self.engines().into_iter().find(|engine| engine.kind() == kind && engine.name() == name)
    }

    /// All engines, by room and name.
    #[must_use]
    pub fn engines(&self) -> Vec<Arc<dyn Engine>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// All figures in Prometheus' text format.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let snapshots: Vec<_> = self.engines().iter().map(|engine| engine.snapshot()).collect();
        // A metric's lines must stand together, whichever engines they come from.
        let mut metrics: BTreeMap<&str, (&Metric, String)> = BTreeMap::new();
        for snapshot in &snapshots {
            for sample in &snapshot.samples {
                let (_, lines) = metrics
                    .entry(sample.metric.name())
                    .or_insert_with(|| (sample.metric, String::new()));
                // Writing to a string cannot fail.
                let _ = write!(
                    lines,
                    "{}{{name=\"{}\",mode=\"{}\"",
                    sample.metric.name(),
                    escaped(&snapshot.name),
                    snapshot.mode
                );
                if !sample.part.is_empty() {
                    let _ = write!(lines, ",part=\"{}\"", escaped(&sample.part));
                }
                if !sample.outcome.is_empty() {
                    let _ = write!(lines, ",outcome=\"{}\"", sample.outcome);
                }
                let _ = writeln!(lines, "}} {}", sample.value);
            }
        }
        let mut text = String::new();
        for (name, (metric, lines)) in metrics {
            let kind = match metric.kind() {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
            };
            let _ = write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n{lines}", metric.help());
        }
        text
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    static CALLS: Metric = Metric::counter("bartizan_test_calls_total", "Calls.");

    #[derive(Debug)]
    struct Fake(&'static str, Switch);

    impl Engine for Fake {
        fn name(&self) -> &str {
            self.0
        }
        fn kind(&self) -> &'static str {
            "test"
        }
        fn switch(&self) -> &Switch {
            &self.1
        }
        fn snapshot(&self) -> Snapshot {
            Snapshot::new(self.0, "test", self.1.setting().0)
                .sample(&CALLS, "admitted", 2.0)
                .sample_of(&CALLS, "x", "admitted", 3.0)
        }
        fn current_settings(&self) -> Value {
            Value::Null
        }

        fn apply(&self, _: Value) -> Result<(), ConfigError> {
            Ok(())
        }
    }

    #[test]
    fn an_engine_that_takes_anothers_place_is_told_of() {
        let log = bartizan_testing::Log::default();
        let _listening = log.listen();
        let registry = Registry::new();
        registry.register(Fake("a", Switch::default()));
        registry.register(Fake("b", Switch::default()));
        assert_eq!(log.text(), "");
        registry.register(Fake("b", Switch::new(Mode::Off)));
        assert!(log.text().contains("WARN") && log.text().contains("name=\"b\""), "{}", log.text());
        assert_eq!(registry.engines().len(), 2);
        assert_eq!(registry.get("test", "b").unwrap().switch().setting().0, Mode::Off);
    }

    #[test]
    fn engines_are_found_switched_and_shown() {
        let registry = Registry::new();
        registry.register(Fake("b", Switch::default()));
        registry.clone().register(Fake("a\"", Switch::default()));
        registry.get("test", "b").unwrap().switch().set(Mode::Off);
        assert!(registry.get("test", "c").is_none());
        assert_eq!(
            registry.to_prometheus(),
            "# HELP bartizan_test_calls_total Calls.\n# TYPE bartizan_test_calls_total counter\n\
             bartizan_test_calls_total{name=\"a\\\"\",mode=\"enforce\",outcome=\"admitted\"} 2\n\
             bartizan_test_calls_total{name=\"a\\\"\",mode=\"enforce\",part=\"x\",outcome=\"admitted\"} 3\n\
             bartizan_test_calls_total{name=\"b\",mode=\"off\",outcome=\"admitted\"} 2\n\
             bartizan_test_calls_total{name=\"b\",mode=\"off\",part=\"x\",outcome=\"admitted\"} 3\n"
        );
    }
}
