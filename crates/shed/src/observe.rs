//! Every metric and event of this room.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bartizan_core::{Counter, Metric, Snapshot, Timestamp};

use crate::Reason;
use crate::shared::Shared;

static BASE: Metric = Metric::gauge(
    "bartizan_shed_base_latency_seconds",
    "What a call takes when nothing waits inside the service.",
);
static IN_FLIGHT: Metric =
    Metric::gauge("bartizan_shed_in_flight_exchanges", "Exchanges in flight.");
static LIMIT: Metric =
    Metric::gauge("bartizan_shed_limit_exchanges", "Exchanges that may be in flight.");
static REFUSALS: Metric =
    Metric::counter("bartizan_shed_refusals_total", "Requests refused, by reason.");
static REQUESTS: Metric =
    Metric::counter("bartizan_shed_requests_total", "Requests by what became of them.");
static SHARE: Metric = Metric::gauge(
    "bartizan_shed_refused_share",
    "Share of the requests since the last look, a second ago or more, that were refused.",
);
static WAITING: Metric =
    Metric::gauge("bartizan_shed_waiting_requests", "Requests that wait for a slot.");

/// The room's counters.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    refused: [Counter; Reason::ALL.len()],
    pub(crate) shadow_refused: Counter,
    look: Mutex<Look>,
}

/// What was seen when somebody last looked.
#[derive(Debug, Default)]
struct Look {
    at: Timestamp,
    refused: u64,
    admitted: u64,
    share: f64,
}

/// Looks that are closer together see the same share.
const LOOK: Duration = Duration::from_secs(1);

impl Counts {
    pub(crate) fn refused(&self, reason: Reason) {
        if let Some(count) = self.refused.get(reason as usize) {
            count.add(1);
        }
    }

    pub(crate) fn all_refused(&self) -> u64 {
        self.refused.iter().map(Counter::get).sum()
    }

    /// Those for whom there was no room: an operator's wish and a caller's haste say nothing about that.
    pub(crate) fn refused_for_room(&self) -> u64 {
        let counts = Reason::ALL.iter().zip(&self.refused);
        let for_room =
            counts.filter(|(reason, _)| !matches!(reason, Reason::Forced | Reason::Deadline));
        for_room.map(|(_, count)| count.get()).sum()
    }

    /// The share of the requests that was refused since the last look.
    fn share(&self, now: Timestamp, admitted: u64) -> f64 {
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_since(look.at) >= LOOK {
            let refused = self.all_refused();
            let new = refused.saturating_sub(look.refused) as f64;
            let all = new + admitted.saturating_sub(look.admitted) as f64;
            *look = Look { at: now, refused, admitted, share: new / all.max(1.0) };
        }
        look.share
    }

    pub(crate) fn describe(&self, snapshot: Snapshot, shared: &Shared) -> Snapshot {
        let gate = &shared.lobby.gate;
        let (admitted, in_flight) = gate.count();
        let mut snapshot = snapshot
            .sample(&REQUESTS, "admitted", admitted as f64)
            .sample(&REQUESTS, "refused", self.all_refused() as f64)
            .sample(&REQUESTS, "shadow_refused", self.shadow_refused.get() as f64)
            .sample(&LIMIT, "", gate.limit().into())
            .sample(&IN_FLIGHT, "", in_flight.into())
            .sample(&WAITING, "", gate.waiting().into())
            .sample(&BASE, "", shared.base().as_secs_f64())
            .sample(&SHARE, "", self.share(shared.clock.now(), admitted));
        for (reason, count) in Reason::ALL.iter().zip(&self.refused) {
            snapshot = snapshot.sample(&REFUSALS, reason.as_str(), count.get() as f64);
        }
        snapshot
    }
}

pub(crate) fn refused(name: &str, reason: Reason) {
    tracing::debug!(target: "bartizan::shed", name, reason = reason.as_str(), "request refused");
}

pub(crate) fn settings_changed(name: &str) {
    tracing::info!(target: "bartizan::shed", name, "settings changed");
}
