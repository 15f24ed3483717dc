//! Processes that share one limit, in virtual time: what leases save, and that they never admit more
//! than there is.

use crate::lease::{Answer, Grant, Lease, Quota};

const SECOND: u64 = 1_000_000_000;
/// In virtual time.
const SECONDS: u64 = 60;
pub(crate) const LIMIT: u64 = 1_000;
pub(crate) const BURST: u64 = 100;
const CAPACITY: u64 = SECOND / LIMIT * BURST;
const QUOTA: Quota = Quota { interval: SECOND / LIMIT, capacity: CAPACITY, longest: CAPACITY };

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) trips_per_decision: f64,
    /// Over what the limit and one burst allow; at most 1.
    pub(crate) admitted_of_allowed: f64,
    /// Over what was offered.
    pub(crate) admitted_of_offered: f64,
    pub(crate) worst_second: u64,
    /// What the process with the smallest share admitted, over what each should have.
    pub(crate) smallest_share: f64,
}

/// The script, naively.
struct Store {
    arrival: u64,
}

impl Store {
    fn take(&mut self, now: u64, cost: u64, lease: u64) -> (Grant, u64) {
        let fits = |units: u64| {
            let next = self.arrival.max(now) + QUOTA.interval * units;
            (next <= now + QUOTA.capacity).then_some(next)
        };
        let (grant, next) = match (fits(lease), fits(cost)) {
            (Some(next), _) => (Grant::Lease, next),
            (None, Some(next)) => (Grant::Request, next),
            (None, None) => (Grant::None, self.arrival.max(now)),
        };
        self.arrival = next;
        (grant, next - now)
    }
}

/// Offers so many requests a second, at random times, to random ones of the processes.
pub(crate) fn run(nodes: usize, offered: f64, most: u32, seed: u64) -> Run {
    let mut shares = vec![0_u64; nodes];
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut store = Store { arrival: 0 };
    let mut leases: Vec<_> = (0..nodes).map(|_| Lease::new(QUOTA, 0)).collect();
    let (mut now, mut trips, mut decisions, mut admitted) = (SECOND, 0_u64, 0_u64, Vec::new());
    while now < SECOND * (SECONDS + 1) {
        now += (-(1.0 - rng.f64()).ln() * SECOND as f64 / offered) as u64;
        for lease in &mut leases {
            let unspent = u64::from(lease.end(now));
            store.arrival = store.arrival.saturating_sub(QUOTA.interval * unspent);
        }
        decisions += 1;
        let node = rng.usize(..nodes);
        let lease = &mut leases[node];
        let spent = match lease.ask(now, 1, most) {
            Answer::Spent(_) => true,
            Answer::Refused(_) => false,
            Answer::Ask { units, .. } => {
                trips += 1;
                let (grant, ahead) = store.take(now, 1, units.into());
                lease.told(now, (1, units), grant, ahead, rng.f64());
                grant != Grant::None
            }
        };
        if spent {
            admitted.push(now);
            shares[node] += 1;
        }
    }
    let allowed = LIMIT * SECONDS + BURST;
    let smallest = shares.into_iter().min().unwrap_or(0);
    Run {
        smallest_share: (smallest * nodes as u64) as f64 / admitted.len() as f64,
        trips_per_decision: trips as f64 / decisions as f64,
        admitted_of_allowed: admitted.len() as f64 / allowed as f64,
        admitted_of_offered: admitted.len() as f64 / decisions as f64,
        worst_second: worst_second(&admitted),
    }
}

fn worst_second(admitted: &[u64]) -> u64 {
    let mut first = 0;
    let within = admitted.iter().enumerate().map(|(last, at)| {
        while admitted[first] + SECOND <= *at {
            first += 1;
        }
        last - first + 1
    });
    within.max().unwrap_or(0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers so many times the limit, with leases of so many units, to processes of that number;
    /// and says how many trips that may take for each decision.
    #[test]
    fn leases_save_trips_and_admit_no_more_than_there_is() {
        for (nodes, times, most, trips) in [
            (10, 0.5, 10, 0.25),
            (10, 0.9, 1, 1.0),
            (10, 0.9, 10, 0.15),
            (10, 0.9, 50, 0.15),
            (10, 1.2, 10, 0.25),
            (10, 2.0, 10, 0.25),
            (10, 2.0, 50, 0.25),
            (10, 10.0, 10, 0.25),
            (2, 2.0, 10, 0.25),
            (2, 100.0, 10, 0.25),
        ] {
            for seed in 0..3 {
                let run = run(nodes, times * LIMIT as f64, most, seed);
                let case =
                    format!("{nodes} with leases of {most} at {times} times the limit: {run:?}");
                assert!(run.trips_per_decision <= trips, "{case}");
                assert!(run.admitted_of_allowed <= 1.0, "{case}");
                assert!(run.worst_second <= LIMIT + BURST, "{case}");
                // Nor do they turn away what could have been admitted, nor starve one of them.
                assert!(run.admitted_of_offered >= 0.98 * (1.0 / times).min(1.0), "{case}");
                assert!(run.smallest_share >= 0.7, "{case}");
            }
        }
    }
}
