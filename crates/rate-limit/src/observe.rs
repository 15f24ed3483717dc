use bartizan_core::{Counter, Metric, Snapshot};

pub(crate) static DECISIONS: Metric =
    Metric::counter("bartizan_rate_limit_decisions_total", "Requests, by what was decided.");
pub(crate) static KEYS: Metric =
    Metric::gauge("bartizan_rate_limit_keys", "Keys that are kept apart.");
pub(crate) static OVERFLOW: Metric = Metric::counter(
    "bartizan_rate_limit_overflow_total",
    "Decisions on the bucket that new keys share at the cap.",
);

/// What was decided about a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    Admitted,
    NoKey,
    Refused,
    ShadowRefused,
}

#[derive(Debug, Default)]
pub(crate) struct Figures {
    admitted: Counter,
    no_key: Counter,
    refused: Counter,
    shadow_refused: Counter,
}

impl Figures {
    #[inline]
    pub(crate) fn count(&self, name: &str, verdict: Verdict) {
        match verdict {
            Verdict::Admitted => self.admitted.add(1),
            Verdict::NoKey => self.no_key.add(1),
            Verdict::Refused => {
                self.refused.add(1);
                tracing::debug!(target: "bartizan::rate_limit", name, "request refused");
            }
            Verdict::ShadowRefused => {
                self.shadow_refused.add(1);
                tracing::debug!(target: "bartizan::rate_limit", name, "request would be refused");
            }
        }
    }

    pub(crate) fn add_to(&self, snapshot: Snapshot) -> Snapshot {
        // Figures are doubles by the exposition format; exact to 2^53.
        [
            ("admitted", &self.admitted),
            ("no_key", &self.no_key),
            ("refused", &self.refused),
            ("shadow_refused", &self.shadow_refused),
        ]
        .into_iter()
        .fold(snapshot, |snapshot, (outcome, counter)| {
            snapshot.sample(&DECISIONS, outcome, counter.get() as f64)
        })
    }
}
