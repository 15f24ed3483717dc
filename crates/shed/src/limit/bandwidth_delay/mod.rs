mod probe;

use std::time::Duration;

use bartizan_core::Timestamp;

use super::moments::Moments;
use super::{Base, Bounds, Limit, Sample, Window, seconds};

/// The limit over what the service works on at once. Without loss for a service with workers and
/// a queue it may lie anywhere from 1 on, and for one that thrashes up to about 2: the middle of
/// both, by ratio.
pub(crate) const HEADROOM: f64 = 1.3;
/// And two more, which matter to a small service.
pub(crate) const SPARE: f64 = 2.0;

/// A window is over when the standard error of its mean latency is this share of the mean, …
const ERROR: f64 = 0.12;
/// … or this, while the base is not known, …
const START_ERROR: f64 = 0.2;
/// … within so many calls.
const LEAST_CALLS: f64 = 32.0;
const MOST_CALLS: f64 = 1000.0;
/// A probe that looks at a known base goes on until the error is this, or for so many calls, or, if
/// neither comes soon, so many seconds: what it finds is built upon for long, and where calls are many
/// it is cheap.
const FINE_ERROR: f64 = 0.05;
const MOST_PROBE_CALLS: f64 = 3000.0;
const LONG_PROBE: f64 = 1.0;
/// While the base is not known there are at least so many, so that rare long calls are among them.
const START_CALLS: f64 = 100.0;
/// And not before so many times the latency of its calls: where all take the same time they end in
/// bursts, and a burst more or less must not matter.
const LEAST_ROUNDS: f64 = 4.0;

/// How much a window counts in the rate: usually little, since rates of few calls differ; much if the
/// limit has just been raised by more than such differences do, and is still on its way up.
const STEADY: f64 = 0.15;
const CLIMBING: f64 = 0.5;
const CLIMB: f64 = 1.07;
/// Or if the limit has only just come to be in the way, for so many windows.
const NEW: u32 = 3;

/// Up by no more than this per window.
const GROWTH: f64 = 1.5;
/// Down by no more than this per window; where the limit would be less than the square of this of what it
/// was, a probe looks first.
const DECAY: f64 = 0.8;

/// A rate that is so many standard errors below what it was is another one.
const SUDDEN: f64 = 3.5;

/// At the start, calls take longer than before if they take so many times as long.
const LONGER: f64 = 1.4;
/// After so many windows in which the limit was in the way now and then, and the base still not known,
/// a probe looks for it.
const MOST_UNSURE: u32 = 10;
/// A limit that has not been in the way for so many windows has room to spare, however little.
const CALM: u32 = 10;
/// How much a window of calls that did not wait counts in the base, at the least.
const REST_GAIN: f64 = 0.1;

/// A service that has just got more than it can take may be rid of it soon: it is probed after so long.
const FIRST_PROBE: Duration = Duration::from_secs(2);
/// But not again within so long: a limit that is in the way by turns has to be looked at as well, if no
/// more often than that.
const SPARED: Duration = Duration::from_secs(10);
/// The longest time between probes, in seconds.
const LONGEST_REST: f64 = 120.0;

/// The limit that needs no telling: what the service works on at once (its rate times the latency
/// of a call that does not wait, by Little's law), three tenths more, and two.
///
/// The rate is measured while the limit is in the way. The base latency is measured by probes: the
/// limit is lowered for a moment, and as long as that makes calls faster, lowered further. As with
/// BBR (Cardwell et al., 2016), where bandwidth and delay cannot be seen at once either, probes are
/// rare: where they find what they expect, they take a fortieth of the calls and cost a fraction of
/// that. A service that is not saturated is not probed; what its calls take is its base latency.
///
/// Averages are over windows that are as long as the spread of latencies asks for: some 32 calls of
/// equal length, 70 of exponentially distributed ones, 400 where one in ten takes forty times as
/// long as the others.
#[derive(Clone, Debug)]
pub struct BandwidthDelay {
    bounds: Bounds,
    limit: f64,
    /// The highest limit since the last probe.
    proven: f64,
    /// In seconds; 0 while nothing is known.
    base: f64,
    /// Whether the base is known, by a probe or by calls that did not wait.
    is_sure: bool,
    /// Calls per second at saturation; 0 while nothing is known.
    rate: f64,
    /// Calls per second while the limit is in the way now and then.
    busy_rate: f64,
    /// How many calls the base rests on.
    base_calls: f64,
    moments: Moments,
    /// The longest call before the last step of a probe, in seconds.
    longest: f64,
    is_climbing: bool,
    /// How many windows the limit has been in the way for.
    streak: u32,
    /// How many windows it has not been for.
    calm: u32,
    window: Option<Window>,
    phase: Phase,
    /// When an overload was last spared a probe.
    spared_at: Timestamp,
    /// When the last probe ended.
    probed_at: Timestamp,
    /// The next probe is due then, …
    probe_at: Timestamp,
    /// … if so many calls have ever ended well.
    probe_after: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The limit follows rate and base.
    Follow,
    /// The limit was changed: calls from before have to end first, until then.
    Settle { until: Timestamp, then: Next },
    /// The latency at a lowered limit is measured.
    Probe(Probe),
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Follow,
    Probe(Probe),
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    /// The limit before.
    limit: f64,
    /// The latency at the limit of the step before, in seconds.
    before: f64,
    /// Whether this is the first step.
    is_first: bool,
}

impl BandwidthDelay {
    /// Creates the limit, which starts at `initial`.
    #[must_use]
    pub fn new(initial: u32) -> Self {
        Self {
            bounds: Bounds { min: 1, max: u32::MAX },
            limit: f64::from(initial.max(1)),
            proven: 0.0,
            base: 0.0,
            is_sure: false,
            rate: 0.0,
            busy_rate: 0.0,
            base_calls: 0.0,
            moments: Moments::default(),
            longest: 0.0,
            is_climbing: true,
            streak: 0,
            calm: 0,
            window: None,
            phase: Phase::Follow,
            spared_at: Timestamp::default(),
            probed_at: Timestamp::default(),
            probe_at: Timestamp::default(),
            probe_after: 0,
        }
    }

    /// Whether the window's mean is known well enough.
    fn is_over(&self, window: &Window, now: Timestamp) -> bool {
        let elapsed = window.elapsed(now);
        let rounds = LEAST_ROUNDS * window.mean();
        if !matches!(self.phase, Phase::Probe(_)) {
            let error = if self.is_sure { ERROR } else { START_ERROR };
            return self.is_within(error, window, MOST_CALLS) && elapsed >= rounds;
        }
        // After the limit was lowered all begin at once, and the short calls end first.
        self.is_within(ERROR, window, MOST_CALLS)
            && elapsed >= self.longest.max(rounds)
            && (!self.is_sure
                || elapsed >= LONG_PROBE
                || self.is_within(FINE_ERROR, window, MOST_PROBE_CALLS))
    }

    fn is_within(&self, error: f64, window: &Window, most: f64) -> bool {
        let least = if self.is_sure { LEAST_CALLS } else { START_CALLS };
        let calls = f64::from(window.calls);
        if calls < least {
            return false;
        }
        calls >= (self.variation(window) / (error * error)).clamp(least, most)
    }

    fn variation(&self, window: &Window) -> f64 {
        // A window without a rare long call looks steadier than it is.
        self.moments.variation().max(window.variation())
    }

    /// The standard error of the window's mean, as a share of it.
    fn error(&self, window: &Window) -> f64 {
        (self.variation(window) / f64::from(window.calls.max(1))).sqrt()
    }

    /// What the limit should be.
    fn target(&self) -> f64 {
        HEADROOM * self.rate * self.base + SPARE
    }

    fn follow(&mut self, window: &Window, sample: &Sample) {
        let (rate, latency) = (window.rate(sample), window.mean());
        let share = window.full_share();
        if share == 0.0 {
            self.streak = 0;
            self.calm = self.calm.saturating_add(1);
            // The limit was not in the way. If there was room to spare, nothing waited.
            if f64::from(window.most_in_flight) < 0.75 * self.limit || self.calm >= CALM {
                self.rest(window, sample.now);
            }
            return;
        }
        self.calm = 0;
        if !self.is_sure {
            return self.start(window, sample);
        }
        if share <= 0.5 {
            self.streak = 0;
            // The service keeps up most of the time: there may be room for more, not for less.
            self.busy_rate = averaged(self.busy_rate, rate, STEADY);
            let target = HEADROOM * self.busy_rate * self.base + SPARE;
            self.raise(target);
            return;
        }
        self.streak = self.streak.saturating_add(1);
        let weight = match () {
            // Nothing waits inside, so the rate is what the limit makes it.
            () if latency < self.base * self.idle_bound(window) => 1.0,
            () if self.is_climbing || self.streak <= NEW => CLIMBING,
            // Not by chance: it does less at once now, or each call takes longer.
            () if rate < self.rate * (1.0 - SUDDEN * self.error(window).max(ERROR)) => CLIMBING,
            () => STEADY,
        };
        self.rate = averaged(self.rate, rate, weight);
        if self.streak == 1 && sample.now.saturating_since(self.spared_at) >= SPARED {
            self.spared_at = sample.now;
            let soon = sample.now.saturating_add(FIRST_PROBE);
            self.probe_at = self.probe_at.max(soon);
        }
        let is_by_turns = self.streak <= NEW;
        let is_recent = sample.now.saturating_since(self.probed_at) < SPARED;
        if self.is_probe_due(sample) && !(is_by_turns && is_recent) {
            return self.begin_probe(window, sample.now);
        }
        let (target, before) = (self.target(), self.limit);
        self.is_climbing = false;
        if target >= self.limit {
            self.raise(target);
            self.is_climbing = self.limit > CLIMB * before;
        } else if target < DECAY * DECAY * self.proven && self.limit > 2.0 {
            // Either it does less at once now, or each call takes longer: only a probe can tell.
            self.rate = rate;
            self.begin_probe(window, sample.now);
        } else {
            self.set(target.max(DECAY * self.limit));
        }
    }

    /// Learns from calls of which none waited.
    fn rest(&mut self, window: &Window, now: Timestamp) {
        self.moments.learn(window);
        let (latency, calls) = (window.mean(), f64::from(window.calls));
        let gain = REST_GAIN.max(calls / self.moments.calls());
        let most = if self.base == 0.0 { latency } else { 1.3 * self.base };
        self.base = averaged(self.base, latency.min(most), gain);
        self.base_calls += calls;
        if !self.is_sure && self.moments.calls() >= START_CALLS {
            self.is_sure = true;
            self.probe_at = now;
        }
    }

    /// While nothing is known: grows as long as calls do not take longer for it, and then looks for the
    /// base.
    fn start(&mut self, window: &Window, sample: &Sample) {
        self.streak = self.streak.saturating_add(1);
        let latency = window.mean();
        if self.streak == 1 {
            // The first calls that end are the short ones.
        } else if window.overloads * 2 > window.calls {
            // Calls are given up or fail: whatever they take, that is no reason for more.
            self.begin_probe(window, sample.now);
        } else if self.base == 0.0 || latency < self.longer(window) && self.limit < self.most() {
            let calls = f64::from(window.calls);
            self.base_calls += calls;
            self.base += calls / self.base_calls * (latency - self.base);
            let is_in_the_way = window.full_share() > 0.5;
            // Now and then: room for what is there is enough.
            let target = HEADROOM * window.rate(sample) * latency + SPARE;
            self.raise(if is_in_the_way { GROWTH * self.limit } else { target });
        } else if window.full_share() > 0.5 || self.streak > MOST_UNSURE {
            self.begin_probe(window, sample.now);
        }
    }

    /// A mean latency above this is longer than before: by a standard error at least.
    fn longer(&self, window: &Window) -> f64 {
        let error = (window.variation() / f64::from(window.calls.max(1))).sqrt();
        LONGER * self.base * (1.0 + error)
    }

    fn most(&self) -> f64 {
        f64::from(self.bounds.max)
    }

    /// A mean latency below so many times the base is none at which calls wait, as they do where the
    /// limit has its headroom: by more than two standard errors, of the window and of the base.
    fn idle_bound(&self, window: &Window) -> f64 {
        let per_call = 1.0 / f64::from(window.calls.max(1)) + 1.0 / self.base_calls.max(1.0);
        let error = (self.moments.variation() * per_call).sqrt();
        (HEADROOM * (1.0 - 2.2 * error)).min(1.1)
    }

    fn raise(&mut self, target: f64) {
        if target > self.limit {
            self.set(target.min(GROWTH * self.limit + SPARE));
            self.proven = self.proven.max(self.limit);
        }
    }

    fn least(&self) -> f64 {
        self.bounds.clamp(0.0)
    }

    fn set(&mut self, limit: f64) {
        self.limit = self.bounds.clamp(limit);
    }
}

/// The average with a new figure in it; the figure itself, if there was none.
fn averaged(known: f64, new: f64, weight: f64) -> f64 {
    if known == 0.0 { new } else { known + weight * (new - known) }
}

impl Limit for BandwidthDelay {
    fn record(&mut self, sample: &Sample) {
        let now = sample.now;
        if let Phase::Settle { until, then } = self.phase {
            let is_settled = f64::from(sample.in_flight) <= 1.25 * self.limit + 1.0;
            self.phase = match then {
                _ if now < until => return,
                Next::Probe(probe) if is_settled => Phase::Probe(probe),
                // Nobody heeds the limit, as in shadow mode: there is nothing to be learned so.
                Next::Probe(probe) if now.saturating_since(until) > self.patience() => {
                    self.set(probe.limit);
                    self.probe_at = now.saturating_add(Duration::from_secs_f64(LONGEST_REST));
                    Phase::Follow
                }
                Next::Probe(_) => return,
                Next::Follow => Phase::Follow,
            };
            self.window = None;
        }
        self.window.get_or_insert(Window::new(now, sample.completed)).add(sample);
        let Some(window) = self.window.filter(|window| self.is_over(window, now)) else { return };
        self.window = None;
        match self.phase {
            Phase::Probe(probe) => self.probed(probe, &window, sample),
            Phase::Follow | Phase::Settle { .. } => self.follow(&window, sample),
        }
    }

    fn limit(&self) -> u32 {
        self.limit as u32
    }

    fn settled(&self) -> u32 {
        match self.phase {
            Phase::Probe(probe) | Phase::Settle { then: Next::Probe(probe), .. } => {
                probe.limit as u32
            }
            Phase::Follow | Phase::Settle { .. } => self.limit(),
        }
    }

    fn bound(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        self.limit = bounds.clamp(self.limit);
    }

    fn base(&self) -> Option<Base> {
        let latency = seconds(self.base);
        (self.base > 0.0).then_some(Base { latency, spread: self.moments.variation() })
    }
}
