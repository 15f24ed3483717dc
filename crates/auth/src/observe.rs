//! Every metric and event of this room.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bartizan_core::{ConfigError, Counter, Metric, Snapshot};

use crate::verified::Verified;
use crate::{Denial, Fault};

static REQUESTS: Metric =
    Metric::counter("bartizan_auth_requests_total", "Requests by what became of them.");
static DENIALS: Metric =
    Metric::counter("bartizan_auth_denials_total", "Why requests did not prove who calls.");
static GUARDED: Metric = Metric::counter(
    "bartizan_auth_guarded_total",
    "Requests at scope and role guards by what became of them.",
);
static VERIFIED: Metric = Metric::counter(
    "bartizan_auth_verifications_total",
    "Credentials that proved good, by whether that was known already.",
);
static REMEMBERED: Metric = Metric::gauge(
    "bartizan_auth_remembered_bytes",
    "What remembered credentials take, by the cache's own reckoning.",
);
static KEY_FETCHES: Metric = Metric::counter(
    "bartizan_auth_key_fetches_total",
    "Times that an issuer was asked for its keys, by what came of it.",
);
static KEYS: Metric =
    Metric::gauge("bartizan_auth_keys", "Keys of an issuer's document, used and left out.");

/// The figures of what is remembered.
pub(crate) fn verified(verified: &Verified, part: &str, snapshot: Snapshot) -> Snapshot {
    snapshot
        .sample_of(&VERIFIED, part, "known", verified.hits.get() as f64)
        .sample_of(&VERIFIED, part, "first", verified.misses.get() as f64)
        .sample_of(&REMEMBERED, part, "", verified.held() as f64)
}

/// The figures of keys that are fetched.
#[derive(Debug, Default)]
pub(crate) struct KeyFigures {
    changed: Counter,
    unchanged: Counter,
    failed: Counter,
    used: AtomicU64,
    skipped: AtomicU64,
}

impl KeyFigures {
    /// Counts an answer, with the number of keys and of those left out if it was another document.
    pub(crate) fn fetched(&self, changed: Option<(usize, usize)>) {
        let Some((used, skipped)) = changed else { return self.unchanged.add(1) };
        self.changed.add(1);
        self.used.store(used as u64, Relaxed);
        self.skipped.store(skipped as u64, Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.add(1);
    }

    pub(crate) fn describe(&self, part: &str, snapshot: Snapshot) -> Snapshot {
        snapshot
            .sample_of(&KEY_FETCHES, part, "changed", self.changed.get() as f64)
            .sample_of(&KEY_FETCHES, part, "unchanged", self.unchanged.get() as f64)
            .sample_of(&KEY_FETCHES, part, "failed", self.failed.get() as f64)
            .sample_of(&KEYS, part, "used", self.used.load(Relaxed) as f64)
            .sample_of(&KEYS, part, "left_out", self.skipped.load(Relaxed) as f64)
    }
}

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

pub(crate) fn keys_changed(host: &str, used: usize, left_out: usize) {
    tracing::info!(target: "bartizan::auth", host, used, left_out, "keys changed");
}

pub(crate) fn keys_not_fetched(host: &str, reason: &str, kept: bool) {
    tracing::warn!(target: "bartizan::auth", host, reason, kept, "issuer gives no keys");
}

pub(crate) fn keys_expired(host: &str) {
    tracing::warn!(target: "bartizan::auth", host, "last good keys are too old, and dropped");
}

pub(crate) fn keys_not_read(error: &ConfigError) {
    tracing::warn!(target: "bartizan::auth", %error, "file of API keys is not taken, the last good one stays");
}

pub(crate) fn not_introspected(host: &str, reason: &str) {
    tracing::warn!(target: "bartizan::auth", host, reason, "issuer does not tell of a token");
}
