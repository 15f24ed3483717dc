//! Ten processes that share one limit, in virtual time: what leases save, and that they never admit
//! more than there is.

use crate::lease::{Answer, Grant, Lease, Quota};

const SECOND: u64 = 1_000_000_000;
const NODES: usize = 10;
/// In virtual time.
const SECONDS: u64 = 60;
pub(crate) const LIMIT: u64 = 1_000;
pub(crate) const BURST: u64 = 100;
const QUOTA: Quota = Quota { interval: SECOND / LIMIT, capacity: SECOND / LIMIT * BURST };

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) trips_per_decision: f64,
    /// Over what the limit and one burst allow; at most 1.
    pub(crate) admitted_of_allowed: f64,
    /// Over what was offered.
    pub(crate) admitted_of_offered: f64,
    pub(crate) worst_second: u64,
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
pub(crate) fn run(offered: f64, most: u32, seed: u64) -> Run {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut store = Store { arrival: 0 };
    let mut leases: Vec<_> = (0..NODES).map(|_| Lease::new(QUOTA, 0)).collect();
    let (mut now, mut trips, mut decisions, mut admitted) = (SECOND, 0_u64, 0_u64, Vec::new());
    while now < SECOND * (SECONDS + 1) {
        now += (-(1.0 - rng.f64()).ln() * SECOND as f64 / offered) as u64;
        for lease in &mut leases {
            let unspent = u64::from(lease.end(now));
            store.arrival = store.arrival.saturating_sub(QUOTA.interval * unspent);
        }
        decisions += 1;
        let lease = &mut leases[rng.usize(..NODES)];
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
        }
    }
    let allowed = LIMIT * SECONDS + BURST;
    Run {
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

    /// Trips per decision are over a limit of a thousand a second, at so many times the limit.
    #[test]
    fn leases_save_trips_and_admit_no_more_than_there_is() {
        for (offered, most, trips) in [
            (0.5, 10, 0.25),
            (0.9, 1, 1.0),
            (0.9, 10, 0.15),
            (0.9, 50, 0.15),
            (1.2, 10, 0.25),
            (2.0, 10, 0.25),
            (2.0, 50, 0.25),
            (10.0, 10, 0.25),
        ] {
            for seed in 0..3 {
                let run = run(offered * LIMIT as f64, most, seed);
                let case = format!("{offered} times the limit, leases of {most}: {run:?}");
                assert!(run.trips_per_decision <= trips, "{case}");
                assert!(run.admitted_of_allowed <= 1.0, "{case}");
                assert!(run.worst_second <= LIMIT + BURST, "{case}");
                // Nor do they turn away what could have been admitted.
                assert!(run.admitted_of_offered >= 0.98 * (1.0 / offered).min(1.0), "{case}");
            }
        }
    }
}
