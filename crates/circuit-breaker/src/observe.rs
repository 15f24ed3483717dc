//! Every metric and event of this room.

use bartizan_core::{Counter, Metric, Outcome, Snapshot};

use crate::State;

static CALLS: Metric =
    Metric::counter("bartizan_circuit_breaker_calls_total", "Calls by what became of them.");
static STATE: Metric = Metric::gauge(
    "bartizan_circuit_breaker_state",
    "Where the breaker stands: 0 closed, 1 half-open, 2 open.",
);

/// The room's counters.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    success: Counter,
    failure: Counter,
    ignored: Counter,
    pub(crate) refused: Counter,
    pub(crate) shadow_refused: Counter,
}

impl Counts {
    pub(crate) fn ended(&self, outcome: Outcome) {
        match outcome {
            Outcome::Success => self.success.add(1),
            Outcome::Failure => self.failure.add(1),
            _ => self.ignored.add(1),
        }
    }

    pub(crate) fn describe(&self, snapshot: Snapshot, state: State) -> Snapshot {
        let state = match state {
            State::Closed => 0.0,
            State::HalfOpen => 1.0,
            State::Open => 2.0,
        };
        snapshot
            .sample(&CALLS, "success", self.success.get() as f64)
            .sample(&CALLS, "failure", self.failure.get() as f64)
            .sample(&CALLS, "ignored", self.ignored.get() as f64)
            .sample(&CALLS, "refused", self.refused.get() as f64)
            .sample(&CALLS, "shadow_refused", self.shadow_refused.get() as f64)
            .sample(&STATE, "", state)
    }
}

pub(crate) fn refused(name: &str) {
    tracing::debug!(target: "bartizan::circuit_breaker", name, "call refused");
}

pub(crate) fn transition(name: &str, from: State, to: State) {
    tracing::info!(target: "bartizan::circuit_breaker", name, ?from, ?to, "state changed");
}

pub(crate) fn settings_changed(name: &str) {
    tracing::info!(target: "bartizan::circuit_breaker", name, "settings changed");
}
