use std::time::Duration;

use bartizan_core::Timestamp;

use crate::limit::{Base, Bounds, HEADROOM, Limit, SPARE, Sample};
use crate::queue::Budget;
use crate::refusals::Refusals;
use crate::settings::Settings;

/// So many calls per second are told to the limit, at the most; of more, a part is.
const MOST_TOLD: f64 = 10_000.0;
const LEAST_TOLD: f64 = MOST_TOLD / 4.0;
const MOST_MASK: u64 = 1023;
/// How often that is looked at, in calls told, …
const ROUND: u32 = 128;
/// … and at the least: a service of which few calls are told, and that can do next to nothing all at once, must not
/// have to wait for so many.
const LONGEST_ROUND: Duration = Duration::from_millis(250);
/// How often what was learned is put to use, in calls told; a new limit is at once.
const NEWS: u32 = 16;

/// Latencies are averaged over about so many calls told.
const MEMORY: f64 = 256.0;

/// What waits may cost at the verge of overload, in base latencies over the number of places: a queue
/// of time W turns away about (1 + c²)·S / 2·N·W of the calls there (Kingman's bound), so small
/// services need longer ones, and those whose calls differ much; and these can afford it, since some
/// of their calls take as long anyway.
const PLAIN_WAIT: f64 = 3.6;
const WAIT: f64 = 4.75;
const MOST_SPREAD: f64 = 6.0;
/// A queue that stands is cut to this share of it.
const STANDING: f64 = 0.25;
/// But not below the time in which so many are served.
const READY: f64 = 8.0;
/// A queue stands that has not been empty for so many of the longest waits.
const INTERVAL: u32 = 16;
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Who comes before others may wait so many times as long as the others may in a queue that does not
/// stand.
const PATIENCE: u32 = 4;
/// But not below so many base latencies: where all calls take the same time their slots are free all at
/// once, and who cannot wait for that moment has to come at it by chance.
const ROUND_TRIP: f64 = 1.5;
/// What the longest wait loses of itself with the share that is refused.
const VAIN: f64 = 1.25;

/// What the engine has learned, and what it concludes.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) limit: Box<dyn Limit>,
    meter: Meter,
    pub(crate) refusals: Refusals,
    round: Round,
    /// A call is told if its hash has none of these bits.
    pub(crate) mask: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    /// In seconds; 0 before the first call.
    mean: f64,
    variance: f64,
    /// The median of the time to the response's head, in seconds.
    typical: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Round {
    start: Timestamp,
    calls: u32,
}

impl Control {
    pub(crate) fn new(limit: Box<dyn Limit>) -> Self {
        Self {
            limit,
            meter: Meter::default(),
            refusals: Refusals::default(),
            round: Round::default(),
            mask: 0,
        }
    }

    /// Takes note of a call. `head` is its time to the response's head, if that came. Returns whether
    /// there is something new to act by.
    pub(crate) fn record(&mut self, sample: &Sample, head: Option<Duration>) -> bool {
        let before = self.limit.limit();
        self.meter.add(sample.latency.as_secs_f64(), head.map(|time| time.as_secs_f64()));
        self.limit.record(sample);
        self.thin_out(sample.now);
        self.round.calls.is_multiple_of(NEWS) || self.limit.limit() != before
    }

    /// Adapts how many calls are told of to how many there are.
    fn thin_out(&mut self, now: Timestamp) {
        self.round.calls += 1;
        let elapsed = now.saturating_since(self.round.start);
        if self.round.calls < ROUND && elapsed < LONGEST_ROUND {
            return;
        }
        let told = f64::from(self.round.calls) / elapsed.as_secs_f64().max(1e-9);
        if !(LEAST_TOLD..=MOST_TOLD).contains(&told) {
            let one_in = told * (self.mask + 1) as f64 / MOST_TOLD;
            self.mask = ((one_in.ceil() as u64).next_power_of_two() - 1).min(MOST_MASK);
        }
        self.round = Round { start: now, calls: 0 };
    }

    /// What a call takes when nothing waits inside the service, as far as is known.
    pub(crate) fn base(&self) -> Base {
        self.limit.base().unwrap_or_else(|| self.meter.base())
    }

    /// What takes less, and fails, says nothing of what calls take. While the base is not known, it is held against
    /// half of the average: where all are given up after the same time, each takes as long as all others do.
    pub(crate) fn telling(&self) -> Duration {
        let half = || Duration::from_secs_f64(self.meter.mean / 2.0);
        self.limit.base().map_or_else(half, |base| base.latency)
    }

    /// Half of the calls are answered sooner.
    pub(crate) fn typical(&self) -> Duration {
        Duration::from_secs_f64(self.meter.typical)
    }

    /// How long requests may wait; `None` as long as nothing is known.
    pub(crate) fn budget(&self, settings: &Settings) -> Option<Budget> {
        let Base { latency, spread } = self.base();
        if latency.is_zero() {
            return None;
        }
        // A limit that knows no base has only an average, and whatever waits inside is in it.
        let latency = if self.limit.base().is_some() { latency } else { latency / 2 };
        let places = ((f64::from(self.limit.settled()) - SPARE) / HEADROOM).max(1.0);
        let spread = spread.min(MOST_SPREAD).powf(0.75);
        let calm = latency.mul_f64(PLAIN_WAIT / places + WAIT * spread / places.sqrt());
        let calm = calm.min(settings.max_wait());
        // Not below what it takes to have somebody there when a place is free.
        let ready = latency.mul_f64(READY / places);
        let standing = calm.mul_f64(STANDING).max(ready).min(calm);
        let interval = SHORTEST_INTERVAL.max(INTERVAL * calm);
        // Bursts are what waiting is for. The more is refused anyway, the less is gained by it.
        let use_of_it = (1.0 - VAIN * self.refusals.share()).max(0.0);
        let calm = calm.mul_f64(use_of_it).max(standing);
        let patient = (PATIENCE * calm).max(latency.mul_f64(ROUND_TRIP));
        let budget = Budget { calm, patient, standing, interval };
        Some(budget.within(settings.max_wait()))
    }

    pub(crate) fn bound(&mut self, bounds: Bounds) {
        self.limit.bound(bounds);
    }
}

impl Meter {
    fn base(&self) -> Base {
        let square = self.mean * self.mean;
        let spread = if square > 0.0 { self.variance / square } else { 0.0 };
        Base { latency: Duration::from_secs_f64(self.mean), spread }
    }

    fn add(&mut self, latency: f64, head: Option<f64>) {
        if self.mean == 0.0 {
            *self = Self { mean: latency, variance: latency * latency, typical: latency };
        }
        let off = latency - self.mean;
        self.mean += off / MEMORY;
        self.variance += (off * off - self.variance) / MEMORY;
        // The median by small steps: up as often as down.
        if let Some(head) = head {
            self.typical *= if head > self.typical { 1.01 } else { 1.0 / 1.01 };
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::limit::Fixed;

    /// Tells of a second's calls of which there are so many; returns how many were told.
    fn second(control: &mut Control, now: &mut u64, calls: u64) -> u64 {
        let mut told = 0;
        for call in 0..calls {
            *now += 1_000_000_000 / calls;
            if call & control.mask == 0 {
                let sample = Sample {
                    now: Timestamp::from_nanos(*now),
                    latency: Duration::from_millis(1),
                    in_flight: 1,
                    is_full: false,
                    is_overload: false,
                    completed: call,
                };
                control.record(&sample, None);
                told += 1;
            }
        }
        told
    }

    #[test]
    fn of_many_calls_some_are_told_and_of_few_all_within_a_moment() {
        let mut control = Control::new(Box::new(Fixed::new(9)));
        let mut now = 1_000_000_000_000;
        second(&mut control, &mut now, 1_000_000);
        let told = second(&mut control, &mut now, 1_000_000);
        assert!((LEAST_TOLD as u64..=MOST_TOLD as u64).contains(&told), "{told}");
        // The next call that is told may be a while away.
        second(&mut control, &mut now, 300);
        second(&mut control, &mut now, 300);
        assert_eq!(second(&mut control, &mut now, 300), 300);
    }
}
