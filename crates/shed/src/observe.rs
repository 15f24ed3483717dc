//! Every metric and event of this room.

use bartizan_core::{Counter, Metric, Snapshot};

static REQUESTS: Metric =
    Metric::counter("bartizan_shed_requests_total", "Requests by what became of them.");
static LIMIT: Metric =
    Metric::gauge("bartizan_shed_limit_exchanges", "Exchanges that may be in flight.");
static IN_FLIGHT: Metric =
    Metric::gauge("bartizan_shed_in_flight_exchanges", "Exchanges in flight.");

/// The room's counters.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) admitted: Counter,
    pub(crate) refused: Counter,
    pub(crate) shadow_refused: Counter,
}

impl Counts {
    pub(crate) fn describe(&self, snapshot: Snapshot, limit: u32, in_flight: u32) -> Snapshot {
        snapshot
            .sample(&REQUESTS, "admitted", self.admitted.get() as f64)
            .sample(&REQUESTS, "refused", self.refused.get() as f64)
            .sample(&REQUESTS, "shadow_refused", self.shadow_refused.get() as f64)
            .sample(&LIMIT, "", limit.into())
            .sample(&IN_FLIGHT, "", in_flight.into())
    }
}

pub(crate) fn refused(name: &str) {
    tracing::debug!(target: "bartizan::shed", name, "request refused");
}

pub(crate) fn settings_changed(name: &str) {
    tracing::info!(target: "bartizan::shed", name, "settings changed");
}
