//! Additive increase, multiplicative decrease (Chiu and Jain, 1989), on latency.

use bartizan_core::Timestamp;

use crate::Settings;

/// What is left of the limit after an overload.
const BACKOFF: f64 = 0.9;

/// The limit and what moves it.
#[derive(Debug)]
pub(crate) struct Aimd {
    limit: f64,
    last_decrease: Option<Timestamp>,
}

impl Aimd {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { limit: f64::from(settings.initial()), last_decrease: None }
    }

    /// The number of exchanges that may be in flight.
    pub(crate) fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// Brings the limit within new settings.
    pub(crate) fn fit(&mut self, settings: &Settings) {
        self.limit = self.limit.clamp(settings.min().into(), settings.max().into());
    }

    /// An answer came in time. `in_flight` counts the exchanges when it was admitted.
    pub(crate) fn in_time(&mut self, in_flight: u32, settings: &Settings) {
        // A limit that is not used is not proven: an idle service must not raise it.
        if f64::from(in_flight) * 2.0 >= self.limit {
            self.limit = (self.limit + 1.0 / self.limit).min(settings.max().into());
        }
    }

    /// An answer came late, or not at all for as long.
    pub(crate) fn late(&mut self, now: Timestamp, settings: &Settings) {
        // The calls that were in flight at one overload all come late: it counts once.
        let settled =
            self.last_decrease.is_none_or(|last| now.saturating_since(last) >= settings.target());
        if settled {
            self.limit = (self.limit * BACKOFF).max(settings.min().into());
            self.last_decrease = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn grows_by_one_per_round_only_while_used() {
        let settings = Settings::default().limits(1, 10, 20);
        let mut aimd = Aimd::new(&settings);
        for _ in 0..11 {
            aimd.in_time(10, &settings);
        }
        assert_eq!(aimd.limit(), 11);
        for _ in 0..1000 {
            aimd.in_time(5, &settings);
        }
        assert_eq!(aimd.limit(), 11);
    }

    #[test]
    fn one_overload_counts_once() {
        let settings = Settings::default().limits(1, 100, 100);
        let mut aimd = Aimd::new(&settings);
        for _ in 0..100 {
            aimd.late(at(1000), &settings);
        }
        assert_eq!(aimd.limit(), 90);
        aimd.late(at(1250), &settings);
        assert_eq!(aimd.limit(), 81);
    }

    proptest! {
        #[test]
        fn stays_within_its_limits(events in prop::collection::vec((any::<bool>(), 0_u32..200, 0_u64..500), 0..5000)) {
            let settings = Settings::default().limits(3, 20, 60);
            let mut aimd = Aimd::new(&settings);
            let mut now = 0;
            for (late, in_flight, step) in events {
                now += step;
                if late { aimd.late(at(now), &settings) } else { aimd.in_time(in_flight, &settings) }
                prop_assert!((3..=60).contains(&aimd.limit()));
            }
        }
    }
}
