use std::time::Duration;

use bartizan_core::Timestamp;

use super::{BandwidthDelay, ERROR, GROWTH, HEADROOM, LONGEST_REST, Next, Phase, Probe, SPARE};
use crate::limit::{Sample, Window, seconds};

/// Halving the limit has made calls faster if they take less than this share of what they took.
const FASTER: f64 = 0.75;
/// Three standard errors, of this probe and of what it is held against: within them, the base is
/// what it was, and the two are averaged.
const TRUST: f64 = 0.7;
const BLEND: f64 = 0.3;
/// How deep the first step of a probe goes: on trust, or to find the base in the first place.
const SHALLOW: f64 = 0.6;
const DEEP: f64 = 0.5;
/// It made no difference at all, so that both measurements are of the same, above this share.
const ALIKE: f64 = 0.9;
/// The time between probes, in the calls that one takes, …
const REST: f64 = 40.0;
/// … if the base rests on as many calls as so many probes have, and less if it rests on fewer, down
/// to this.
const ENOUGH: f64 = 3.0;
const SHORT_REST: f64 = 4.0;
/// But not less than this, nor more than [`LONGEST_REST`].
const SHORTEST_REST: Duration = Duration::from_millis(500);
/// The longest that a probe waits for calls of before it to end, in seconds, unless calls usually take longer.
const LONGEST_SETTLE: f64 = 1.0;
/// The longest that a probe waits for the calls in flight to be no more than its limit, unless one took
/// longer.
const PATIENCE: Duration = Duration::from_secs(5);

impl BandwidthDelay {
    pub(super) fn is_probe_due(&self, sample: &Sample) -> bool {
        let since = sample.now.saturating_since(self.probe_at).as_secs_f64();
        sample.now >= self.probe_at
            && (sample.completed >= self.probe_after || since > LONGEST_REST)
    }

    pub(super) fn begin_probe(&mut self, window: &Window, now: Timestamp) {
        let depth = if self.is_sure { SHALLOW } else { DEEP };
        let probe = Probe { limit: self.limit, before: window.mean(), is_first: true };
        self.step_down(depth, window.longest, now, probe);
    }

    fn step_down(&mut self, depth: f64, longest: f64, now: Timestamp, probe: Probe) {
        self.set((self.limit * depth).round());
        self.longest = longest.min(LONGEST_SETTLE.max(probe.before));
        let settle = self.longest;
        let until = now.saturating_add(seconds(settle));
        self.phase = Phase::Settle { until, then: Next::Probe(probe) };
    }

    pub(super) fn patience(&self) -> Duration {
        PATIENCE.max(seconds(self.longest))
    }

    pub(super) fn probed(&mut self, probe: Probe, window: &Window, sample: &Sample) {
        let latency = window.mean();
        self.probed_at = sample.now;
        if window.full_share() < 0.5 {
            // The overload is over: what there is can be served with this limit, and the one from
            // before may have been too high for it.
            if self.is_sure {
                let target = HEADROOM * window.rate(sample) * self.base + SPARE;
                self.set(self.limit.max(target.min(probe.limit)));
            } else {
                self.base = self.base.min(latency);
            }
            self.proven = self.limit;
            self.phase = Phase::Follow;
            self.streak = 0;
            return;
        }
        self.rate = self.rate.max(window.rate(sample));
        let calls = f64::from(window.calls);
        if self.is_sure && (TRUST..1.0 / TRUST).contains(&(latency / self.base)) {
            self.base_calls += calls;
            self.base += BLEND.max(calls / self.base_calls) * (latency - self.base);
            return self.end_probe(probe, window, sample);
        }
        let is_faster = latency < FASTER * probe.before;
        if self.limit > self.least() && (is_faster || probe.is_first) {
            if probe.is_first {
                // Calls wait where none should: the rate, or the base, is not what it was.
                self.rate = window.rate(sample);
            }
            let next = Probe { before: latency, is_first: false, ..probe };
            return self.step_down(DEEP, window.longest, sample.now, next);
        }
        // A lower limit made no difference: nothing waits in there any more.
        let is_alike = latency > ALIKE * probe.before;
        self.base = if is_alike { (latency + probe.before) / 2.0 } else { latency };
        self.base_calls = calls;
        self.is_sure = true;
        self.end_probe(probe, window, sample);
    }

    fn end_probe(&mut self, probe: Probe, window: &Window, sample: &Sample) {
        self.moments.learn(window);
        // The fewer calls the base rests on, the sooner it is looked at again.
        let enough = ENOUGH * self.moments.variation() / (ERROR * ERROR);
        let rest = (REST * (self.base_calls / enough).min(1.0)).max(SHORT_REST);
        let calls = window.completed(sample) as f64;
        self.probe_after = sample.completed + (rest * calls) as u64;
        self.probe_at = sample.now.saturating_add(SHORTEST_REST);
        self.set(self.target().min(GROWTH * probe.limit));
        self.proven = self.limit;
        let until = sample.now.saturating_add(seconds(self.base));
        self.phase = Phase::Settle { until, then: Next::Follow };
    }
}
