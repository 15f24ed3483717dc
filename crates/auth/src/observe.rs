//! Every metric and event of this room.

use bartizan_core::{Counter, Metric, Snapshot};

use crate::{Denial, Fault};

static REQUESTS: Metric =
    Metric::counter("bartizan_auth_requests_total", "Requests by what became of them.");
static DENIALS: Metric =
    Metric::counter("bartizan_auth_denials_total", "Why requests did not prove who calls.");
static GUARDED: Metric = Metric::counter(
    "bartizan_auth_guarded_total",
    "Requests at scope and role guards by what became of them.",
);

/// The room's counters.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) anonymous: Counter,
    pub(crate) authenticated: Counter,
    pub(crate) preflight: Counter,
    pub(crate) refused: Counter,
    pub(crate) shadow_refused: Counter,
    pub(crate) guard_allowed: Counter,
    pub(crate) guard_refused: Counter,
    pub(crate) guard_shadow_refused: Counter,
    ambiguous: Counter,
    missing: Counter,
    faults: [Counter; Fault::ALL.len()],
}

impl Counts {
    pub(crate) fn denied(&self, denial: Denial) {
        match denial {
            Denial::Ambiguous => self.ambiguous.add(1),
            Denial::Missing => self.missing.add(1),
            Denial::Invalid(fault) => {
                if let Some(counter) = self.faults.get(fault as usize) {
                    counter.add(1);
                }
            }
        }
    }

    pub(crate) fn describe(&self, snapshot: Snapshot) -> Snapshot {
        let snapshot = snapshot
            .sample(&REQUESTS, "anonymous", self.anonymous.get() as f64)
            .sample(&REQUESTS, "authenticated", self.authenticated.get() as f64)
            .sample(&REQUESTS, "preflight", self.preflight.get() as f64)
            .sample(&REQUESTS, "refused", self.refused.get() as f64)
            .sample(&REQUESTS, "shadow_refused", self.shadow_refused.get() as f64)
            .sample(&GUARDED, "allowed", self.guard_allowed.get() as f64)
            .sample(&GUARDED, "refused", self.guard_refused.get() as f64)
            .sample(&GUARDED, "shadow_refused", self.guard_shadow_refused.get() as f64)
            .sample(&DENIALS, "ambiguous", self.ambiguous.get() as f64)
            .sample(&DENIALS, "missing", self.missing.get() as f64);
        Fault::ALL.into_iter().zip(&self.faults).fold(snapshot, |snapshot, (fault, counter)| {
            snapshot.sample(&DENIALS, fault.as_str(), counter.get() as f64)
        })
    }
}

pub(crate) fn refused(name: &str, denial: Denial) {
    let reason = match denial {
        Denial::Ambiguous => "ambiguous",
        Denial::Invalid(fault) => fault.as_str(),
        Denial::Missing => "missing",
    };
    tracing::debug!(target: "bartizan::auth", name, reason, "request refused");
}

pub(crate) fn forbidden(name: &str) {
    tracing::debug!(target: "bartizan::auth", name, "caller lacks a scope or role");
}

pub(crate) fn settings_changed(name: &str) {
    tracing::info!(target: "bartizan::auth", name, "settings changed");
}
