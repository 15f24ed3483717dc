use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bartizan_core::{Counter, Metric, Snapshot};

use crate::StoreError;

pub(crate) static DECISIONS: Metric =
    Metric::counter("bartizan_rate_limit_decisions_total", "Requests, by what was decided.");
pub(crate) static KEYS: Metric =
    Metric::gauge("bartizan_rate_limit_keys", "Keys that have not all of their quota.");
pub(crate) static EVICTIONS: Metric = Metric::counter(
    "bartizan_rate_limit_evictions_total",
    "Keys that had to make room while they still owed something.",
);
pub(crate) static NEAR_LIMIT: Metric = Metric::counter(
    "bartizan_rate_limit_near_limit_total",
    "Admitted requests after which four fifths of a key's quota were spent.",
);

pub(crate) static STORE_FAILURES: Metric = Metric::counter(
    "bartizan_rate_limit_store_failures_total",
    "Requests that the shared store did not decide, by what was wrong with it.",
);

/// What a policy decided about a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    Admitted,
    /// Admitted, and given back since another policy refused.
    GivenBack,
    NoKey,
    Refused,
    ShadowRefused,
}

#[derive(Debug, Default)]
pub(crate) struct Figures {
    admitted: Counter,
    given_back: Counter,
    pub(crate) near_limit: Counter,
    no_key: Counter,
    refused: Counter,
    shadow_refused: Counter,
}

impl Figures {
    #[inline]
    pub(crate) fn count(&self, policy: &str, verdict: Verdict) {
        match verdict {
            Verdict::Admitted => self.admitted.add(1),
            Verdict::GivenBack => self.given_back.add(1),
            Verdict::NoKey => {
                if self.no_key.get() == 0 {
                    tracing::warn!(target: "bartizan::rate_limit", policy, "a request has no key; by address, the server has to tell the peer's");
                }
                self.no_key.add(1);
            }
            Verdict::Refused => {
                self.refused.add(1);
                tracing::debug!(target: "bartizan::rate_limit", policy, "request refused");
            }
            Verdict::ShadowRefused => {
                self.shadow_refused.add(1);
                tracing::debug!(target: "bartizan::rate_limit", policy, "request would be refused");
            }
        }
    }

    pub(crate) fn add_to(&self, snapshot: Snapshot, policy: &str) -> Snapshot {
        let near = self.near_limit.get() as f64;
        let snapshot = snapshot.sample_of(&NEAR_LIMIT, policy, "", near);
        // Figures are doubles by the exposition format; exact to 2^53.
        [
            ("admitted", &self.admitted),
            ("given_back", &self.given_back),
            ("no_key", &self.no_key),
            ("refused", &self.refused),
            ("shadow_refused", &self.shadow_refused),
        ]
        .into_iter()
        .fold(snapshot, |snapshot, (outcome, counter)| {
            snapshot.sample_of(&DECISIONS, policy, outcome, counter.get() as f64)
        })
    }
}

/// How the shared store does.
#[derive(Debug, Default)]
pub(crate) struct StoreFigures {
    garbled: Counter,
    late: Counter,
    unreachable: Counter,
    away: AtomicBool,
}

impl StoreFigures {
    /// Counts a failure, and warns of the first in a row.
    pub(crate) fn failed(&self, name: &str, error: StoreError) {
        match error {
            StoreError::Garbled => self.garbled.add(1),
            StoreError::Late => self.late.add(1),
            StoreError::Unreachable => self.unreachable.add(1),
        }
        if !self.away.swap(true, Relaxed) {
            tracing::warn!(target: "bartizan::rate_limit", name, %error, "shared store is away");
        }
    }

    pub(crate) fn answered(&self, name: &str) {
        if self.away.load(Relaxed) && self.away.swap(false, Relaxed) {
            tracing::info!(target: "bartizan::rate_limit", name, "shared store answers again");
        }
    }

    pub(crate) fn add_to(&self, snapshot: Snapshot) -> Snapshot {
        snapshot
            .sample(&STORE_FAILURES, "garbled", self.garbled.get() as f64)
            .sample(&STORE_FAILURES, "late", self.late.get() as f64)
            .sample(&STORE_FAILURES, "unreachable", self.unreachable.get() as f64)
    }
}
