//! Every metric and event of this room.

use bartizan_core::{Counter, Metric, Snapshot};

use crate::status::Forward;

static REQUESTS: Metric =
    Metric::counter("bartizan_cache_requests_total", "Requests, by what was decided.");
static FILLS: Metric = Metric::counter(
    "bartizan_cache_fills_total",
    "Responses that were to be stored, by what became of them.",
);
static VALIDATIONS: Metric = Metric::counter(
    "bartizan_cache_validations_total",
    "Stored responses that the service was asked about, by its answer.",
);
static INVALIDATIONS: Metric = Metric::counter(
    "bartizan_cache_invalidations_total",
    "Stored resources that unsafe requests or operators made invalid.",
);
static PURGES: Metric =
    Metric::counter("bartizan_cache_purges_total", "Purges by operators, hard or soft.");
static STORE: Metric = Metric::counter(
    "bartizan_cache_store_total",
    "Reads from and writes to the store behind memory, by how they went.",
);
static RESOURCES: Metric = Metric::gauge("bartizan_cache_stored_resources", "Resources stored.");
static BYTES: Metric = Metric::gauge("bartizan_cache_stored_bytes", "Bytes stored.");
static STORE_AWAY: Metric = Metric::gauge(
    "bartizan_cache_store_away",
    "Whether the store behind memory is left alone for a while, since it failed.",
);
static FILLING: Metric =
    Metric::gauge("bartizan_cache_filling_bytes", "Bytes held of bodies that are on their way.");

/// What was decided about a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// Answered with another request's answer.
    Collapsed,
    Forward(Forward),
    /// Answered from the store behind memory.
    FurtherHit,
    Hit,
    Refused,
    ShadowHit,
    /// Answered with a stale response, while a fresh one is fetched.
    StaleHit,
    /// A request that was forwarded, and answered with a stale response for the service failed.
    StoodIn,
}

/// What became of a response that was to be stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// The client went away.
    Abandoned,
    /// An error, or not the length that was declared.
    Broken,
    /// Too long, or too much on its way at once, or followed by trailers.
    Oversized,
    /// The resource was changed while the response was on its way.
    Overtaken,
    Stored,
}

/// What became of a read from, or a write to, the store behind memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StoreOutcome {
    Corrupt,
    Done,
    Late,
    /// The store is left alone, or too much is on its way to it.
    Skipped,
    Unavailable,
}

/// The room's counters.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    bypass: Counter,
    collapsed: Counter,
    hit: Counter,
    method: Counter,
    partial: Counter,
    refused: Counter,
    request: Counter,
    shadow_hit: Counter,
    stale: Counter,
    stale_hit: Counter,
    stood_in: Counter,
    uri_miss: Counter,
    vary_miss: Counter,
    abandoned: Counter,
    broken: Counter,
    oversized: Counter,
    overtaken: Counter,
    stored: Counter,
    confirmed: Counter,
    replaced: Counter,
    invalidated: Counter,
    purged: Counter,
    purged_softly: Counter,
    further_hit: Counter,
    store_corrupt: Counter,
    store_done: Counter,
    store_late: Counter,
    store_skipped: Counter,
    store_unavailable: Counter,
}

impl Counts {
    pub(crate) fn request(&self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::Collapsed => &self.collapsed,
            Verdict::FurtherHit => &self.further_hit,
            Verdict::Hit => &self.hit,
            Verdict::Refused => &self.refused,
            Verdict::ShadowHit => &self.shadow_hit,
            Verdict::StaleHit => &self.stale_hit,
            Verdict::StoodIn => &self.stood_in,
            Verdict::Forward(reason) => match reason {
                Forward::Bypass => &self.bypass,
                Forward::Method => &self.method,
                Forward::Request => &self.request,
                Forward::Stale => &self.stale,
                Forward::UriMiss => &self.uri_miss,
                Forward::VaryMiss => &self.vary_miss,
                Forward::Partial => &self.partial,
            },
        };
        counter.add(1);
    }

    pub(crate) fn fill(&self, name: &str, fate: Fate) {
        let counter = match fate {
            Fate::Abandoned => &self.abandoned,
            Fate::Broken => &self.broken,
            Fate::Oversized => &self.oversized,
            Fate::Overtaken => &self.overtaken,
            Fate::Stored => &self.stored,
        };
        counter.add(1);
        if !matches!(fate, Fate::Stored) {
            tracing::debug!(target: "bartizan::cache", name, ?fate, "response not stored");
        }
    }

    pub(crate) fn validation(&self, confirmed: bool) {
        if confirmed { &self.confirmed } else { &self.replaced }.add(1);
    }

    pub(crate) fn invalidation(&self, name: &str) {
        self.invalidated.add(1);
        tracing::debug!(target: "bartizan::cache", name, "resource invalidated");
    }

    pub(crate) fn purge(&self, name: &str, soft: bool) {
        if soft { &self.purged_softly } else { &self.purged }.add(1);
        tracing::info!(target: "bartizan::cache", name, soft, "purged");
    }

    pub(crate) fn store(&self, name: &str, outcome: StoreOutcome, opened: bool) {
        match outcome {
            StoreOutcome::Corrupt => &self.store_corrupt,
            StoreOutcome::Done => &self.store_done,
            StoreOutcome::Late => &self.store_late,
            StoreOutcome::Skipped => &self.store_skipped,
            StoreOutcome::Unavailable => &self.store_unavailable,
        }
        .add(1);
        if opened {
            tracing::warn!(target: "bartizan::cache", name, ?outcome, "store is left alone");
        }
    }

    pub(crate) fn describe(
        &self,
        snapshot: Snapshot,
        (resources, bytes): (u64, u64),
        filling: u64,
        store_is_away: bool,
    ) -> Snapshot {
        // Figures are doubles by the exposition format; exact to 2^53.
        let requests = [
            ("bypass", &self.bypass),
            ("collapsed", &self.collapsed),
            ("further_hit", &self.further_hit),
            ("hit", &self.hit),
            ("method", &self.method),
            ("partial", &self.partial),
            ("refused", &self.refused),
            ("request", &self.request),
            ("shadow_hit", &self.shadow_hit),
            ("stale", &self.stale),
            ("stale_hit", &self.stale_hit),
            ("stood_in", &self.stood_in),
            ("uri_miss", &self.uri_miss),
            ("vary_miss", &self.vary_miss),
        ];
        let fills = [
            ("abandoned", &self.abandoned),
            ("broken", &self.broken),
            ("oversized", &self.oversized),
            ("overtaken", &self.overtaken),
            ("stored", &self.stored),
        ];
        let validations = [("confirmed", &self.confirmed), ("replaced", &self.replaced)];
        let store = [
            ("corrupt", &self.store_corrupt),
            ("done", &self.store_done),
            ("late", &self.store_late),
            ("skipped", &self.store_skipped),
            ("unavailable", &self.store_unavailable),
        ];
        let purges = [("hard", &self.purged), ("soft", &self.purged_softly)];
        let all = requests
            .into_iter()
            .map(|figure| (&REQUESTS, figure))
            .chain(fills.into_iter().map(|figure| (&FILLS, figure)))
            .chain(validations.into_iter().map(|figure| (&VALIDATIONS, figure)))
            .chain(store.into_iter().map(|figure| (&STORE, figure)))
            .chain(purges.into_iter().map(|figure| (&PURGES, figure)))
            .chain([(&INVALIDATIONS, ("", &self.invalidated))]);
        all.fold(snapshot, |snapshot, (metric, (outcome, counter))| {
            snapshot.sample(metric, outcome, counter.get() as f64)
        })
        .sample(&RESOURCES, "", resources as f64)
        .sample(&BYTES, "", bytes as f64)
        .sample(&FILLING, "", filling as f64)
        .sample(&STORE_AWAY, "", f64::from(u8::from(store_is_away)))
    }
}

pub(crate) fn settings_changed(name: &str) {
    tracing::info!(target: "bartizan::cache", name, "settings changed");
}

pub(crate) fn cleared(name: &str) {
    tracing::info!(target: "bartizan::cache", name, "store emptied");
}
