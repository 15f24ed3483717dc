//! Every metric and event of this room.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bartizan_core::{ConfigError, Counter, Counters, Metric, Snapshot};

use crate::audit::{AuditDecision, AuditEvent};
use crate::hooks::Hooks;
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
static INTROSPECTIONS: Metric = Metric::counter(
    "bartizan_auth_introspections_total",
    "Tokens that an issuer was to be asked about, by what came of it.",
);
static AUDIT: Metric =
    Metric::counter("bartizan_auth_audit_total", "Audit events by what became of them.");
static DENYLIST: Metric =
    Metric::gauge("bartizan_auth_denylist", "What is revoked, and whether news of it is late.");
static DENYLIST_MISSED: Metric = Metric::counter(
    "bartizan_auth_denylist_missed_total",
    "Revocations that found no room in the denylist, and are not in force.",
);

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

/// The figures of tokens that an issuer is asked about.
#[derive(Debug, Default)]
pub(crate) struct IntrospectionFigures {
    pub(crate) failed: Counter,
    pub(crate) good: Counter,
    pub(crate) refused: Counter,
    pub(crate) unasked: Counter,
}

impl IntrospectionFigures {
    pub(crate) fn describe(&self, part: &str, snapshot: Snapshot) -> Snapshot {
        snapshot
            .sample_of(&INTROSPECTIONS, part, "failed", self.failed.get() as f64)
            .sample_of(&INTROSPECTIONS, part, "good", self.good.get() as f64)
            .sample_of(&INTROSPECTIONS, part, "refused", self.refused.get() as f64)
            .sample_of(&INTROSPECTIONS, part, "unasked", self.unasked.get() as f64)
    }
}

/// What nearly every request comes to.
#[derive(Clone, Copy)]
pub(crate) enum Passed {
    Anonymous,
    Authenticated,
    Guard,
}

/// The room's counters.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    passed: Counters<3>,
    pub(crate) preflight: Counter,
    pub(crate) refused: Counter,
    pub(crate) shadow_refused: Counter,
    pub(crate) guard_refused: Counter,
    pub(crate) guard_shadow_refused: Counter,
    ambiguous: Counter,
    missing: Counter,
    throttled: Counter,
    faults: [Counter; Fault::ALL.len()],
}

impl Counts {
    #[inline]
    pub(crate) fn passed(&self, how: Passed) {
        self.passed.add(how as usize);
    }

    pub(crate) fn denied(&self, denial: Denial) {
        match denial {
            Denial::Ambiguous => self.ambiguous.add(1),
            Denial::Missing => self.missing.add(1),
            Denial::Throttled(_) => self.throttled.add(1),
            Denial::Invalid(fault) => {
                if let Some(counter) = self.faults.get(fault as usize) {
                    counter.add(1);
                }
            }
        }
    }

    pub(crate) fn describe(&self, snapshot: Snapshot) -> Snapshot {
        let passed = |how| self.passed.get(how as usize) as f64;
        let snapshot = snapshot
            .sample(&REQUESTS, "anonymous", passed(Passed::Anonymous))
            .sample(&REQUESTS, "authenticated", passed(Passed::Authenticated))
            .sample(&REQUESTS, "preflight", self.preflight.get() as f64)
            .sample(&REQUESTS, "refused", self.refused.get() as f64)
            .sample(&REQUESTS, "shadow_refused", self.shadow_refused.get() as f64)
            .sample(&GUARDED, "allowed", passed(Passed::Guard))
            .sample(&GUARDED, "refused", self.guard_refused.get() as f64)
            .sample(&GUARDED, "shadow_refused", self.guard_shadow_refused.get() as f64)
            .sample(&DENIALS, "ambiguous", self.ambiguous.get() as f64)
            .sample(&DENIALS, "missing", self.missing.get() as f64)
            .sample(&DENIALS, "throttled", self.throttled.get() as f64);
        Fault::ALL.into_iter().zip(&self.faults).fold(snapshot, |snapshot, (fault, counter)| {
            snapshot.sample(&DENIALS, fault.as_str(), counter.get() as f64)
        })
    }
}

/// What the hooks that are there have to tell.
pub(crate) fn hooks(hooks: &Hooks, now: Duration, snapshot: Snapshot) -> Snapshot {
    let snapshot = match &hooks.audit {
        Some(audit) => {
            let (recorded, dropped) = audit.counts();
            snapshot.sample(&AUDIT, "recorded", recorded as f64).sample(
                &AUDIT,
                "dropped",
                dropped as f64,
            )
        }
        None => snapshot,
    };
    match &hooks.denylist {
        Some(denylist) => snapshot
            .sample(&DENYLIST, "revoked", denylist.len() as f64)
            .sample(&DENYLIST, "stale", f64::from(u8::from(denylist.is_stale(now))))
            .sample(&DENYLIST_MISSED, "", denylist.missed() as f64),
        None => snapshot,
    }
}

pub(crate) fn refused(name: &str, denial: Denial) {
    let reason = denial.as_str();
    tracing::debug!(target: "bartizan::auth", name, reason, "request refused");
}

pub(crate) fn forbidden(name: &str, reason: &'static str) {
    tracing::debug!(target: "bartizan::auth", name, reason, "caller lacks what is required");
}

pub(crate) fn audit_failed(error: &std::io::Error) {
    tracing::error!(target: "bartizan::auth", %error, "no audit trail: its thread did not start");
}

pub(crate) fn audited(event: &AuditEvent) {
    let AuditEvent { at, engine, stage, decision, reason, scheme, method, path, .. } = event;
    let (stage, decision) = (stage.as_str(), decision.as_str());
    let (at, method) = (at.as_secs_f64(), method.as_str());
    let caller = event.principal.as_ref();
    let subject = caller.map(bartizan_core::Principal::subject);
    let issuer = caller.and_then(bartizan_core::Principal::issuer);
    let tenant = caller.and_then(bartizan_core::Principal::tenant);
    let (requirement, request_id) = (event.requirement.as_deref(), event.request_id.as_deref());
    if event.decision == AuditDecision::Allowed {
        tracing::info!(
            target: "bartizan::audit",
            at, engine, stage, decision, reason, scheme, subject, issuer, tenant, requirement, method,
            path, request_id,
        );
    } else {
        tracing::warn!(
            target: "bartizan::audit",
            at, engine, stage, decision, reason, scheme, subject, issuer, tenant, requirement, method,
            path, request_id,
        );
    }
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
    tracing::warn!(target: "bartizan::auth", host, reason, "issuer does not tell of tokens");
}

pub(crate) fn introspected_again(host: &str) {
    tracing::info!(target: "bartizan::auth", host, "issuer tells of tokens again");
}
