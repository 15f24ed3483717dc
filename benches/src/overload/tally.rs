use super::plan::{DEADLINE, Plan, SECOND};

/// The width of a bin, in nanoseconds.
const BIN: u64 = SECOND / 10;

/// What came of a run.
#[derive(Debug)]
pub struct Tally {
    plan: Plan,
    bins: Vec<Bin>,
    groups: [Group; 4],
    /// Times in milliseconds of what was served, by when it was sent.
    latencies: Vec<(u64, f32)>,
    is_sorted: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    /// By when they were sent.
    sent: u64,
    sent_good: u64,
    refused: u64,
    /// By when they were done, in nanoseconds of work.
    work: u64,
}

/// What came of one group's requests.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "benches read it")]
pub struct Group {
    /// How many were sent.
    pub sent: u64,
    /// How many were answered in time.
    pub good: u64,
}

impl Tally {
    pub(crate) fn new(plan: Plan) -> Self {
        let bins = vec![Bin::default(); (plan.to * SECOND / BIN) as usize + 1];
        Self { plan, bins, groups: Default::default(), latencies: Vec::new(), is_sorted: false }
    }

    fn bin(&mut self, time: u64) -> &mut Bin {
        let last = self.bins.len() - 1;
        &mut self.bins[last.min((time / BIN) as usize)]
    }

    fn is_measured(&self, sent: u64) -> bool {
        // What is sent at the end has no time to be answered.
        (self.plan.from * SECOND..self.plan.to * SECOND - DEADLINE).contains(&sent)
    }

    pub(crate) fn sent(&mut self, now: u64, group: u8) {
        self.bin(now).sent += 1;
        if self.is_measured(now) {
            self.groups[usize::from(group)].sent += 1;
        }
    }

    pub(crate) fn refused(&mut self, sent: u64) {
        self.bin(sent).refused += 1;
    }

    pub(crate) fn served(&mut self, sent: u64, now: u64, size: u64, group: u8) {
        let is_good = now - sent <= DEADLINE;
        if is_good {
            self.bin(now).work += size;
            self.bin(sent).sent_good += 1;
        }
        if self.is_measured(sent) {
            self.latencies.push((sent, (now - sent) as f32 / 1e6));
            self.groups[usize::from(group)].good += u64::from(is_good);
        }
    }

    /// The bins between two times in seconds.
    fn between(&self, from: f64, to: f64) -> &[Bin] {
        let at = |seconds: f64| (seconds * SECOND as f64 / BIN as f64).round() as usize;
        &self.bins[at(from)..at(to)]
    }

    /// Of the time that the workers had between two times in seconds, the share that they spent on
    /// what was answered in time. By time and not by calls, so that it does not depend on what happened to be
    /// drawn.
    #[must_use]
    pub fn work_share(&self, from: f64, to: f64) -> f64 {
        let work: u64 = self.between(from, to).iter().map(|bin| bin.work).sum();
        let first = (from * SECOND as f64) as u64;
        let workers = f64::from(self.plan.workers_at(first));
        work as f64 / SECOND as f64 / (workers * (to - from))
    }

    /// The share of requests sent between two times in seconds that was answered in time.
    #[must_use]
    pub fn good_share(&self, from: f64, to: f64) -> f64 {
        let bins = self.between(from, to);
        let good: u64 = bins.iter().map(|bin| bin.sent_good).sum();
        good as f64 / bins.iter().map(|bin| bin.sent).sum::<u64>().max(1) as f64
    }

    /// What was achieved of what could be: of the work while more is offered than there is time for,
    /// of the requests otherwise.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        let (from, to) = (self.plan.from as f64, self.plan.to as f64);
        if self.plan.load > 1.0 {
            self.work_share(from, to)
        } else {
            self.good_share(from, to - DEADLINE as f64 / SECOND as f64 - 0.05)
        }
    }

    /// The share of requests that was refused.
    #[must_use]
    pub fn shed_share(&self) -> f64 {
        let bins = self.between(self.plan.from as f64, self.plan.to as f64);
        let refused: u64 = bins.iter().map(|bin| bin.refused).sum();
        refused as f64 / bins.iter().map(|bin| bin.sent).sum::<u64>().max(1) as f64
    }

    /// What came of one group's requests.
    #[must_use]
    pub fn group(&self, group: usize) -> Group {
        self.groups[group]
    }

    /// A quantile of the times in milliseconds that served requests took.
    #[must_use]
    pub fn latency(&mut self, quantile: f64) -> f64 {
        if !self.is_sorted {
            self.latencies.sort_unstable_by(|a, b| a.1.total_cmp(&b.1));
            self.is_sorted = true;
        }
        let last = self.latencies.len().saturating_sub(1);
        let place = (quantile * last as f64).round() as usize;
        self.latencies.get(place).map_or(0.0, |latency| latency.1.into())
    }

    /// The same, of those sent between two times in seconds.
    #[must_use]
    pub fn latency_between(&self, quantile: f64, from: f64, to: f64) -> f64 {
        let span = (from * SECOND as f64) as u64..(to * SECOND as f64) as u64;
        let mut times: Vec<f32> = self
            .latencies
            .iter()
            .filter(|latency| span.contains(&latency.0))
            .map(|latency| latency.1)
            .collect();
        times.sort_unstable_by(f32::total_cmp);
        let place = (quantile * times.len().saturating_sub(1) as f64).round() as usize;
        times.get(place).map_or(0.0, |time| (*time).into())
    }

    /// The times in milliseconds that served requests took.
    pub fn latencies(&self) -> impl Iterator<Item = f32> {
        self.latencies.iter().map(|latency| latency.1)
    }
}
