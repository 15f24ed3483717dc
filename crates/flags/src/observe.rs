//! Every figure of this room.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bartizan_core::{Counter, Engine, Metric, Snapshot};

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
    evaluations: [Evaluations; STRIPES],
    applied: Counter,
    refused: Counter,
}

/// Among how many counters threads are divided, so that evaluating on one core does not hold up
/// another.
const STRIPES: usize = 16;

/// Evaluations by reason; on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Evaluations([Counter; Reason::ALL.len()]);

thread_local! {
    /// The thread's own, once it has one.
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[cold]
fn new_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let stripe = NEXT.fetch_add(1, Relaxed) % STRIPES;
    // In a thread that is about to end, any will do.
    let _ = STRIPE.try_with(|own| own.set(stripe));
    stripe
}

impl Counts {
    #[inline]
    pub(crate) fn evaluated(&self, reason: Reason) {
        let stripe = match STRIPE.try_with(Cell::get) {
            Ok(stripe) if stripe < STRIPES => stripe,
            _ => new_stripe(),
        };
        let of_thread = self.evaluations.get(stripe);
        if let Some(counter) = of_thread.and_then(|stripe| stripe.0.get(reason as usize)) {
            counter.add(1);
        }
    }

    fn evaluations(&self, reason: Reason) -> u64 {
        let of = |stripe: &Evaluations| stripe.0.get(reason as usize).map_or(0, Counter::get);
        self.evaluations.iter().map(of).sum()
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
            snapshot =
                snapshot.sample(&EVALUATIONS, reason.as_str(), self.evaluations(reason) as f64);
        }
        snapshot
    }
}
