//! Every metric and event of this room.

use bartizan_core::{Counter, Metric, Outcome, Snapshot};

use crate::state::Call;
use crate::{State, Transition};

static CALLS: Metric =
    Metric::counter("bartizan_circuit_breaker_calls_total", "Calls by what became of them.");
static HELD_BACK: Metric = Metric::counter(
    "bartizan_circuit_breaker_held_back_total",
    "Times that a breaker stayed closed because too many keys were open.",
);
static KEYS: Metric =
    Metric::gauge("bartizan_circuit_breaker_keys", "Keys that have a breaker of their own.");
static OPEN_KEYS: Metric =
    Metric::gauge("bartizan_circuit_breaker_open_keys", "Keys whose breaker is open or half-open.");
static SLOW: Metric =
    Metric::counter("bartizan_circuit_breaker_slow_calls_total", "Calls that took too long.");
static STATE: Metric = Metric::gauge(
    "bartizan_circuit_breaker_state",
    "Where the breaker stands: 0 closed, 1 half-open, 2 open.",
);
static TRANSITIONS: Metric = Metric::counter(
    "bartizan_circuit_breaker_transitions_total",
    "Changes of state by the state after.",
);

/// The room's counters.
///
/// The calls that a closed breaker records are counted by its window already, so that the success
/// of a call costs no counter of its own.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// What closed breakers had recorded that are no more.
    pub(crate) retired: Counter,
    /// Of the recorded calls.
    failures: Counter,
    given_up: Counter,
    /// Of probes.
    probe_successes: Counter,
    probe_failures: Counter,
    probes_given_up: Counter,
    slow: Counter,
    pub(crate) ignored: Counter,
    pub(crate) late: Counter,
    pub(crate) no_key: Counter,
    pub(crate) refused: Counter,
    pub(crate) shadow_refused: Counter,
    pub(crate) held_back: Counter,
    transitions: [Counter; 3],
}

impl Counts {
    /// A closed breaker has recorded a call.
    #[inline]
    pub(crate) fn recorded(&self, outcome: Outcome, call: Call) {
        if call.failed {
            self.failures.add(1);
        }
        if call.slow {
            self.slow.add(1);
            if outcome == Outcome::Abandoned {
                self.given_up.add(1);
            }
        }
    }

    /// A probe has ended that counts.
    pub(crate) fn probed(&self, outcome: Outcome, slow: bool) {
        match outcome {
            Outcome::Failure => self.probe_failures.add(1),
            Outcome::Success => self.probe_successes.add(1),
            _ => self.probes_given_up.add(1),
        }
        if slow {
            self.slow.add(1);
        }
    }

    pub(crate) fn changed_to(&self, state: State) {
        let [closed, half_open, open] = &self.transitions;
        match state {
            State::Closed => closed.add(1),
            State::HalfOpen => half_open.add(1),
            State::Open => open.add(1),
        }
    }

    /// The figures of one breaker or many. `recorded` is what the windows have recorded.
    pub(crate) fn describe(&self, snapshot: Snapshot, recorded: u64) -> Snapshot {
        let recorded = recorded + self.retired.get();
        let (failures, given_up) = (self.failures.get(), self.given_up.get());
        let successes = recorded.saturating_sub(failures + given_up) + self.probe_successes.get();
        let [closed, half_open, open] = &self.transitions;
        snapshot
            .sample(&CALLS, "success", successes as f64)
            .sample(&CALLS, "failure", (failures + self.probe_failures.get()) as f64)
            .sample(&CALLS, "given_up", (given_up + self.probes_given_up.get()) as f64)
            .sample(&CALLS, "ignored", self.ignored.get() as f64)
            .sample(&CALLS, "late", self.late.get() as f64)
            .sample(&CALLS, "refused", self.refused.get() as f64)
            .sample(&CALLS, "shadow_refused", self.shadow_refused.get() as f64)
            .sample(&SLOW, "", self.slow.get() as f64)
            .sample(&TRANSITIONS, "closed", closed.get() as f64)
            .sample(&TRANSITIONS, "half_open", half_open.get() as f64)
            .sample(&TRANSITIONS, "open", open.get() as f64)
    }
}

pub(crate) fn state(snapshot: Snapshot, state: State) -> Snapshot {
    let state = match state {
        State::Closed => 0.0,
        State::HalfOpen => 1.0,
        State::Open => 2.0,
    };
    snapshot.sample(&STATE, "", state)
}

pub(crate) fn keys(snapshot: Snapshot, counts: &Counts, keys: usize, open: usize) -> Snapshot {
    snapshot
        .sample(&CALLS, "no_key", counts.no_key.get() as f64)
        .sample(&HELD_BACK, "", counts.held_back.get() as f64)
        .sample(&KEYS, "", keys as f64)
        .sample(&OPEN_KEYS, "", open as f64)
}

pub(crate) fn refused(name: &str) {
    tracing::debug!(target: "bartizan::circuit_breaker", name, "call refused");
}

/// A key is not told: it may be a secret's hash.
pub(crate) fn transition(name: &str, transition: &Transition) {
    tracing::info!(
        target: "bartizan::circuit_breaker",
        name,
        from = transition.from.as_str(),
        to = transition.to.as_str(),
        reason = transition.reason.as_str(),
        calls = transition.calls,
        failures = transition.failures,
        slow = transition.slow,
        wait_ms = transition.wait.map(|wait| wait.as_millis() as u64),
        "state changed"
    );
}

pub(crate) fn settings_changed(name: &str) {
    tracing::info!(target: "bartizan::circuit_breaker", name, "settings changed");
}
