//! Every metric and event of this crate.

use bartizan_core::{Counter, Metric, Snapshot};

use crate::client::Fault;

static AWAY: Metric =
    Metric::gauge("bartizan_redis_away", "1 while the server is not asked since it is away.");
static CORRECTIONS: Metric = Metric::counter(
    "bartizan_redis_corrections_total",
    "Refunds, charges and unspent leases, by whether they reached the server.",
);
static TRIPS: Metric =
    Metric::counter("bartizan_redis_trips_total", "Questions to the server, by how they ended.");

#[derive(Debug, Default)]
pub(crate) struct Figures {
    answered: Counter,
    garbled: Counter,
    late: Counter,
    unreachable: Counter,
    pub(crate) corrected: Counter,
    pub(crate) dropped: Counter,
}

impl Figures {
    pub(crate) fn count(&self, fault: Option<Fault>) {
        match fault {
            None => self.answered.add(1),
            Some(Fault::Garbled) => self.garbled.add(1),
            Some(Fault::Late) => self.late.add(1),
            Some(Fault::Unreachable) => self.unreachable.add(1),
        }
    }

    pub(crate) fn add_to(&self, snapshot: Snapshot, away: bool) -> Snapshot {
        // Figures are doubles by the exposition format; exact to 2^53.
        snapshot
            .sample(&AWAY, "", f64::from(u8::from(away)))
            .sample(&CORRECTIONS, "dropped", self.dropped.get() as f64)
            .sample(&CORRECTIONS, "sent", self.corrected.get() as f64)
            .sample(&TRIPS, "answered", self.answered.get() as f64)
            .sample(&TRIPS, "garbled", self.garbled.get() as f64)
            .sample(&TRIPS, "late", self.late.get() as f64)
            .sample(&TRIPS, "unreachable", self.unreachable.get() as f64)
    }
}

pub(crate) fn away(name: &str, fault: Fault) {
    tracing::warn!(
        target: "bartizan::redis", name, last = ?fault,
        "the server does not answer, and is left alone until it does"
    );
}

/// `why` is one of the client library's fixed words.
pub(crate) fn unconnected(name: &str, why: &str) {
    tracing::warn!(
        target: "bartizan::redis", name, why,
        "the server cannot be connected to, and is left alone until it can"
    );
}

pub(crate) fn back(name: &str) {
    tracing::info!(target: "bartizan::redis", name, "the server is back");
}

pub(crate) fn deaf(name: &str) {
    tracing::warn!(
        target: "bartizan::redis", name,
        "the connection that tells of purges is lost, and is made anew"
    );
}

pub(crate) fn missed(name: &str) {
    tracing::info!(
        target: "bartizan::redis", name,
        "purges may have been missed, so all that is in memory is dropped"
    );
}

pub(crate) fn feed_lost(name: &str) {
    tracing::warn!(
        target: "bartizan::redis", name,
        "the connection that tells of changes is lost, and is made anew"
    );
}

pub(crate) fn unread(name: &str) {
    tracing::warn!(target: "bartizan::redis", name, "what cannot be read is passed over");
}

pub(crate) fn flags_unheard(name: &str) {
    tracing::warn!(
        target: "bartizan::redis", name,
        "the flag document cannot be asked for, the last good one stays"
    );
}

pub(crate) fn flags_heard(name: &str) {
    tracing::info!(target: "bartizan::redis", name, "the flag document is followed");
}

pub(crate) fn flags_absent(name: &str) {
    tracing::warn!(
        target: "bartizan::redis", name,
        "the server has no flag document, the last good one stays"
    );
}

pub(crate) fn applied(name: &str) {
    tracing::info!(target: "bartizan::redis", name, "settings applied");
}
