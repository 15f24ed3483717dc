//! Every figure of this room.

use std::time::Duration;

use bartizan_core::{Counter, Counters, Engine, Metric, Snapshot};

use crate::details::Reason;
use crate::engine::Flags;

static AGE: Metric = Metric::gauge(
    "bartizan_flags_age_seconds",
    "Time since the source was reached that has been silent longest.",
);
static EVALUATIONS: Metric =
    Metric::counter("bartizan_flags_evaluations_total", "Flag evaluations by reason.");
static RELOADS: Metric =
    Metric::counter("bartizan_flags_reloads_total", "Documents taken into force or refused.");
static BROKEN: Metric =
    Metric::gauge("bartizan_flags_broken", "Flags of the document in force that cannot be used.");
static STALE: Metric = Metric::gauge(
    "bartizan_flags_stale",
    "1 while a source has been silent for longer than it may be.",
);
static LOADED: Metric = Metric::gauge("bartizan_flags_loaded", "Flags in force.");

static EXPOSURES: Metric = Metric::counter(
    "bartizan_flags_exposures_total",
    "Exposures reported, or dropped for lack of room.",
);
pub(crate) static SPLIT_EXCHANGES: Metric =
    Metric::counter("bartizan_flags_split_exchanges_total", "Exchanges by variant and outcome.");
pub(crate) static SPLIT_DIVERTED: Metric = Metric::counter(
    "bartizan_flags_split_diverted_total",
    "Requests that stable served instead of a variant.",
);
pub(crate) static SPLIT_ROLLED_BACK: Metric =
    Metric::gauge("bartizan_flags_split_rolled_back", "Whether a variant was taken back: 0 or 1.");
pub(crate) static SPLIT_SHARE: Metric = Metric::gauge(
    "bartizan_flags_split_share",
    "The share of a variant's callers that the ramp lets through.",
);

/// What the engine counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// By reason.
    evaluations: Counters<{ Reason::ALL.len() }>,
    applied: Counter,
    refused: Counter,
}

impl Counts {
    #[inline]
    pub(crate) fn evaluated(&self, reason: Reason) {
        self.evaluations.add(reason as usize);
    }

    pub(crate) fn applied(&self) {
        self.applied.add(1);
    }

    pub(crate) fn refused(&self) {
        self.refused.add(1);
    }

    pub(crate) fn snapshot(
        &self,
        flags: &Flags,
        loaded: usize,
        broken: usize,
        age: Option<Duration>,
    ) -> Snapshot {
        let (mode, _) = flags.switch().setting();
        let mut snapshot = Snapshot::new(flags.name(), flags.kind(), mode)
            .sample(&AGE, "", age.unwrap_or_default().as_secs_f64())
            .sample(&STALE, "", f64::from(u8::from(flags.is_stale())))
            .sample(&LOADED, "", loaded as f64)
            .sample(&BROKEN, "", broken as f64)
            .sample(&RELOADS, "applied", self.applied.get() as f64)
            .sample(&RELOADS, "refused", self.refused.get() as f64);
        let (reported, dropped) =
            flags.sink().map_or((0, 0), |sink| (sink.reported.get(), sink.dropped.get()));
        snapshot = snapshot.sample(&EXPOSURES, "reported", reported as f64).sample(
            &EXPOSURES,
            "dropped",
            dropped as f64,
        );
        for reason in Reason::ALL {
            // What is stale is counted under the reason that it was found for.
            if reason == Reason::Stale {
                continue;
            }
            snapshot = snapshot.sample(
                &EVALUATIONS,
                reason.as_str(),
                self.evaluations.get(reason as usize) as f64,
            );
        }
        snapshot
    }
}
