//! The limits against a service that is a formula: so many workers, and a queue before them.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
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
    /// The share of the calls that fail, though they take as long as the others.
    failing: f64,
    failures: f64,
    now: f64,
    completed: u64,
}

impl Model {
    fn new(workers: f64, service: f64) -> Self {
        Self { workers, service, failing: 0.0, failures: 0.0, now: 1000.0, completed: 0 }
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
            self.failures += self.failing;
            let is_overload = self.failures >= 1.0;
            self.failures -= f64::from(is_overload);
            self.completed += u64::from(!is_overload);
            let latency = self.service * (inside / self.workers).max(1.0);
            limit.record(&Sample { is_overload, ..self.sample(latency, inside as u32, true) });
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
fn calls_that_fail_as_slowly_as_others_end_well_take_no_room_from_them() {
    for workers in [16.0, 64.0] {
        for failing in [0.1, 0.25, 0.35, 0.45] {
            let (mut limit, mut model) = (BandwidthDelay::new(8), Model::new(workers, 0.01));
            model.failing = failing;
            let found = f64::from(model.saturate(&mut limit, 100_000));
            let expected = workers..=1.5 * workers + 3.0;
            assert!(expected.contains(&found), "{failing} of {workers}: {found}");
        }
    }
}

/// A service whose calls begin and end one by one: those that are inside stay there until they are done.
struct Workers {
    count: usize,
    service: Duration,
    now: Duration,
    completed: u64,
    /// When those that are worked on will be done, and when they came.
    busy: BinaryHeap<Reverse<(Duration, Duration)>>,
    waiting: VecDeque<Duration>,
}

impl Workers {
    fn new(count: usize, service: Duration) -> Self {
        let (busy, waiting) = (BinaryHeap::new(), VecDeque::new());
        Self { count, service, now: Duration::from_secs(1000), completed: 0, busy, waiting }
    }

    fn begin(&mut self, came: Duration) {
        // No two take the same time to the nanosecond.
        let odd = Duration::from_nanos(self.completed * 7919 % 1000);
        self.busy.push(Reverse((self.now + self.service + odd, came)));
    }

    /// Lets so many calls end, while others take each slot that there is.
    fn saturate(&mut self, limit: &mut dyn Limit, calls: usize) {
        for _ in 0..calls {
            while self.busy.len() + self.waiting.len() < limit.limit() as usize {
                match self.busy.len() < self.count {
                    true => self.begin(self.now),
                    false => self.waiting.push_back(self.now),
                }
            }
            let inside = self.busy.len() + self.waiting.len();
            let Reverse((done, came)) = self.busy.pop().unwrap();
            self.now = done;
            self.completed += 1;
            if self.busy.len() < self.count
                && let Some(came) = self.waiting.pop_front()
            {
                self.begin(came);
            }
            limit.record(&Sample {
                now: Timestamp::from_nanos(self.now.as_nanos() as u64),
                latency: self.now - came,
                in_flight: inside as u32,
                is_full: inside >= limit.limit() as usize,
                is_overload: false,
                completed: self.completed,
            });
        }
    }
}

#[test]
fn calls_may_take_as_long_as_they_like() {
    for millis in [10, 100, 1_000, 3_000, 10_000, 30_000] {
        for initial in [8, 100] {
            let mut limit = BandwidthDelay::new(initial);
            let mut workers = Workers::new(16, Duration::from_millis(millis));
            workers.saturate(&mut limit, 20_000);
            assert!((16..=32).contains(&limit.settled()), "{millis} from {initial}: {limit:?}");
            // Whoever is there goes on.
            workers.count = 4;
            workers.saturate(&mut limit, 20_000);
            assert!((4..=12).contains(&limit.settled()), "{millis}, fewer: {limit:?}");
        }
    }
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
