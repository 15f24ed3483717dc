//! The limits against a service that is a formula: so many workers, and a queue before them.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::time::Duration;

use bartizan_core::Timestamp;
use bartizan_shed::limit::{
    Aimd, BandwidthDelay, Bounds, EnvoyGradient, Fixed, Gradient2, Limit, Sample, Vegas,
};
use proptest::prelude::*;

/// A service under as many calls as the limit lets in.
struct Model {
    workers: f64,
    /// What a call takes a worker, in seconds.
    service: f64,
    now: f64,
    completed: u64,
}

impl Model {
    fn new(workers: f64, service: f64) -> Self {
        Self { workers, service, now: 1000.0, completed: 0 }
    }

    /// Lets so many calls end while all slots are taken; returns what the limit mostly was in the
    /// last tenth: it may just be probing as they end.
    fn saturate(&mut self, limit: &mut dyn Limit, calls: u32) -> u32 {
        let mut lately = Vec::new();
        for call in 0..calls {
            if call >= calls / 10 * 9 {
                lately.push(limit.limit());
            }
            let inside = f64::from(limit.limit());
            self.now += self.service / inside.min(self.workers);
            self.completed += 1;
            let latency = self.service * (inside / self.workers).max(1.0);
            limit.record(&self.sample(latency, inside as u32, true));
        }
        lately.sort_unstable();
        lately[lately.len() / 2]
    }

    fn sample(&self, latency: f64, in_flight: u32, is_full: bool) -> Sample {
        Sample {
            now: Timestamp::from_nanos((self.now * 1e9) as u64),
            latency: Duration::from_secs_f64(latency),
            in_flight,
            is_full,
            is_overload: false,
            completed: self.completed,
        }
    }

    /// Lets so many calls end, of `inside` at a time.
    fn rest(&mut self, limit: &mut dyn Limit, inside: u32, calls: u32) -> u32 {
        for _ in 0..calls {
            self.now += self.service / f64::from(inside);
            self.completed += 1;
            limit.record(&self.sample(self.service, inside, false));
        }
        limit.limit()
    }
}

#[test]
fn the_default_finds_services_of_any_size_from_any_start() {
    for workers in [1.0, 4.0, 16.0, 128.0, 1000.0] {
        for initial in [1, 8, 64, 3000] {
            let mut limit = BandwidthDelay::new(initial);
            let found = f64::from(Model::new(workers, 0.01).saturate(&mut limit, 300_000));
            let expected = workers..=1.5 * workers + 3.0;
            assert!(expected.contains(&found), "{workers} from {initial}: {found}");
        }
    }
}

#[test]
fn the_default_follows_a_service_that_loses_workers_or_becomes_slower() {
    let mut limit = BandwidthDelay::new(8);
    let mut model = Model::new(40.0, 0.01);
    model.saturate(&mut limit, 50_000);
    model.workers = 10.0;
    let fewer = model.saturate(&mut limit, 20_000);
    assert!((10..=18).contains(&fewer), "{fewer}");
    model.workers = 40.0;
    let more = model.saturate(&mut limit, 50_000);
    assert!((40..=60).contains(&more), "{more}");
    // Each call takes five times as long: that is no reason to let in fewer at once.
    model.service = 0.05;
    let slower = model.saturate(&mut limit, 50_000);
    assert!((40..=62).contains(&slower), "{slower}");
    assert!((limit.base().unwrap().latency.as_secs_f64() - 0.05).abs() < 0.01);
}

#[test]
fn the_default_does_not_go_back_to_the_rate_of_workers_that_are_gone() {
    let mut limit = BandwidthDelay::new(8);
    let mut model = Model::new(40.0, 0.01);
    model.saturate(&mut limit, 50_000);
    while limit.settled() == limit.limit() {
        model.saturate(&mut limit, 10);
    }
    // It has just begun to look, and does so until it is done with that.
    model.workers = 20.0;
    while limit.settled() != limit.limit() {
        model.saturate(&mut limit, 10);
    }
    assert!((20..=32).contains(&limit.limit()), "{limit:?}");
}

#[test]
fn a_limit_that_is_in_the_way_by_turns_is_looked_at_as_well() {
    let (mut limit, mut model) = (BandwidthDelay::new(8), Model::new(40.0, 0.01));
    model.saturate(&mut limit, 50_000);
    while limit.settled() != limit.limit() {
        model.saturate(&mut limit, 10);
    }
    let mut looked = 0;
    for _ in 0..500 {
        // A window or two each, all in all more than a minute.
        model.saturate(&mut limit, 400);
        looked += u32::from(limit.settled() != limit.limit());
        let inside = limit.limit() / 2;
        model.rest(&mut limit, inside, 100);
    }
    assert!(looked > 0);
}

#[test]
fn an_overload_that_ends_during_a_probe_brings_no_limit_back_that_was_too_high() {
    // 60 at once is far too many, so the base is looked for right away.
    let (mut limit, mut model) = (BandwidthDelay::new(60), Model::new(4.0, 0.01));
    while limit.settled() == limit.limit() {
        model.saturate(&mut limit, 10);
    }
    assert!(limit.settled() >= 60, "what a probe does for a moment is not settled: {limit:?}");
    let lowered = limit.limit();
    assert!(lowered <= limit.settled() / 2);
    model.rest(&mut limit, 3, 2_000);
    assert_eq!(limit.limit(), limit.settled());
    assert!(limit.limit() <= lowered, "{} after {lowered}", limit.limit());
}

#[test]
fn a_service_at_rest_moves_no_limit() {
    let limits: [Box<dyn Limit>; 6] = [
        Box::new(Aimd::new(20, Duration::from_millis(100))),
        Box::new(BandwidthDelay::new(20)),
        Box::new(EnvoyGradient::new(20)),
        Box::new(Fixed::new(20)),
        Box::new(Gradient2::new(20)),
        Box::new(Vegas::new(20)),
    ];
    for mut limit in limits {
        let mut model = Model::new(64.0, 0.01);
        // Envoy's begins by measuring.
        model.rest(&mut *limit, 2, 200);
        assert_eq!(model.rest(&mut *limit, 2, 20_000), 20, "{limit:?}");
    }
}

#[test]
fn a_service_whose_calls_all_fail_slowly_gets_fewer() {
    let mut limit = BandwidthDelay::new(100);
    let mut model = Model::new(16.0, 0.01);
    for _ in 0..20_000 {
        model.now += 0.25 / f64::from(limit.limit());
        let sample = model.sample(0.25, limit.limit(), true);
        limit.record(&Sample { is_overload: true, ..sample });
    }
    assert!(limit.limit() < 10, "{}", limit.limit());
}

#[test]
fn additive_increase_is_by_one_per_round_and_one_overload_counts_once() {
    let mut limit = Aimd::new(10, Duration::from_millis(50));
    let model = Model::new(16.0, 0.01);
    (0..11).for_each(|_| limit.record(&model.sample(0.01, 10, true)));
    assert_eq!(limit.limit(), 11);
    (0..100).for_each(|_| limit.record(&model.sample(0.06, 11, true)));
    assert_eq!(limit.limit(), 9);
}

proptest! {
    #[test]
    fn limits_stay_within_bounds_whatever_comes(
        events in prop::collection::vec(
            (0_u64..1_000_000_000, 0_u64..10_000_000_000, 0_u32..2000, any::<bool>(), any::<bool>()),
            0..3000,
        ),
        min in 1_u32..50,
        width in 0_u32..100,
    ) {
        let bounds = Bounds { min, max: min + width };
        let limits: [Box<dyn Limit>; 6] = [
            Box::new(Aimd::new(20, Duration::from_millis(100))),
            Box::new(BandwidthDelay::new(20)),
            Box::new(EnvoyGradient::new(20)),
            Box::new(Fixed::new(20)),
            Box::new(Gradient2::new(20)),
            Box::new(Vegas::new(20)),
        ];
        for mut limit in limits {
            limit.bound(bounds);
            let (mut now, mut completed) = (0, 0);
            for &(step, latency, in_flight, is_full, is_overload) in &events {
                now += step;
                completed += u64::from(!is_overload);
                limit.record(&Sample {
                    now: Timestamp::from_nanos(now),
                    latency: Duration::from_nanos(latency),
                    in_flight,
                    is_full,
                    is_overload,
                    completed,
                });
                let found = limit.limit();
                prop_assert!((bounds.min..=bounds.max).contains(&found), "{found} {limit:?}");
            }
        }
    }
}
