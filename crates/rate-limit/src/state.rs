//! The generic cell rate algorithm (ITU-T I.371, virtual scheduling), over one number per key.
//!
//! That number is the theoretical arrival time: when the key will be as if it had never asked. All
//! times are nanoseconds on one clock; `now` is an argument.

use crate::Quota;

/// A quota in the algorithm's terms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Rate {
    /// What one unit of cost moves the arrival time on by.
    interval: u64,
    /// How far ahead of now the arrival time may lie: the burst, in time.
    capacity: u64,
    /// How far ahead is near the limit: four fifths of the capacity.
    near: u64,
    /// The capacity of the longest quota that shares this one's arrival times; at least its own.
    longest: u64,
    burst: u32,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// It costs more than can ever be there at once.
    Never,
    /// It can be admitted after so many nanoseconds, if nothing else is spent meanwhile.
    Wait(u64),
}

/// A century and a half, and no further: however many processes divide a quota, sums of times stay
/// numbers.
const fn furthest(time: u64) -> u64 {
    const MOST: u64 = 1 << 62;
    if time > MOST { MOST } else { time }
}

impl Rate {
    pub(crate) const fn new(quota: Quota) -> Self {
        Self::of(quota.interval().as_nanos() as u64, quota.burst_size())
    }

    /// By its interval, in nanoseconds, and its burst; both at least 1.
    pub(crate) const fn of(interval: u64, burst: u32) -> Self {
        let interval = furthest(interval);
        let capacity = furthest(interval.saturating_mul(burst as u64));
        Self { interval, capacity, near: capacity / 5 * 4, longest: capacity, burst }
    }

    /// The same, beside quotas of which the longest has a capacity of `longest`.
    pub(crate) const fn beside(self, longest: u64) -> Self {
        let longest = if longest > self.capacity { longest } else { self.capacity };
        Self { longest, ..self }
    }

    /// The share of one of `nodes` that count apart: at least one unit at once.
    pub(crate) const fn divided(&self, nodes: u32) -> Self {
        let nodes = if nodes == 0 { 1 } else { nodes };
        let burst = self.burst / nodes;
        let burst = if burst == 0 { 1 } else { burst };
        let share = Self::of(self.interval.saturating_mul(nodes as u64), burst);
        // A share that was rounded up to one unit is up to so many times as long.
        share.beside(furthest(self.longest.saturating_mul(nodes as u64)))
    }

    pub(crate) const fn burst(&self) -> u32 {
        self.burst
    }

    pub(crate) const fn interval(&self) -> u64 {
        self.interval
    }

    /// How far ahead of now an exhausted key's arrival time lies.
    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity
    }

    /// How far ahead of now any arrival time may lie that this rate comes upon.
    pub(crate) const fn longest(&self) -> u64 {
        self.longest
    }

    /// When the latest arrival time is that this rate believes.
    #[inline]
    pub(crate) const fn latest(&self, now: u64) -> u64 {
        now + self.longest
    }

    /// An arrival time as this rate takes it: nobody waits longer than an exhausted key does, though
    /// a stricter quota may have written the time, or a clock that has since gone back. What another
    /// tier's key may owe stays owed.
    #[inline]
    pub(crate) const fn bounded(&self, arrival: u64, now: u64) -> u64 {
        let latest = self.latest(now);
        if arrival > latest { latest } else { arrival }
    }

    /// The arrival time after `cost` more, if that is within the quota.
    #[inline]
    pub(crate) const fn take(&self, arrival: u64, now: u64, cost: u32) -> Result<u64, Refusal> {
        if cost > self.burst {
            return Err(Refusal::Never);
        }
        let arrival = self.bounded(arrival, now);
        let start = if arrival > now { arrival } else { now };
        let next = start + self.interval * cost as u64;
        let latest = now + self.capacity;
        // What is free is within every quota, though a longer one may have been exhausted.
        if next <= latest || cost == 0 { Ok(next) } else { Err(Refusal::Wait(next - latest)) }
    }

    /// The arrival time after `cost` more, within the quota or not; an exhausted key stays there.
    pub(crate) const fn charge(&self, arrival: u64, now: u64, cost: u32) -> u64 {
        let arrival = self.bounded(arrival, now);
        let start = if arrival > now { arrival } else { now };
        let next = start.saturating_add(self.interval.saturating_mul(cost as u64));
        let exhausted = now.saturating_add(self.capacity);
        let next = if next > exhausted { exhausted } else { next };
        if next > arrival { next } else { arrival }
    }

    /// The arrival time after `cost` has been given back.
    pub(crate) const fn refund(&self, arrival: u64, cost: u32) -> u64 {
        arrival.saturating_sub(self.interval.saturating_mul(cost as u64))
    }

    /// How many units could be spent at once.
    #[inline]
    pub(crate) const fn left(&self, arrival: u64, now: u64) -> u32 {
        let owed = self.bounded(arrival, now).saturating_sub(now);
        // At most the burst, which is 32 bits.
        (self.capacity.saturating_sub(owed) / self.interval) as u32
    }

    /// True if four fifths of the quota, or more, are spent: time to look at it.
    #[inline]
    pub(crate) const fn is_near(&self, arrival: u64, now: u64) -> bool {
        arrival.saturating_sub(now) >= self.near
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn rate(quota: &str) -> Rate {
        Rate::new(quota.parse().unwrap())
    }

    /// A bucket that is filled drop by drop: the same thing said naively, in drops of a nanosecond.
    struct Bucket {
        interval: u128,
        burst: u128,
        level: u128,
        now: u128,
    }

    impl Bucket {
        fn new(rate: Rate) -> Self {
            let (interval, burst) = (u128::from(rate.interval), u128::from(rate.burst));
            Self { interval, burst, level: interval * burst, now: 0 }
        }

        fn take(&mut self, now: u64, cost: u32) -> bool {
            let passed = u128::from(now) - self.now;
            self.now = now.into();
            self.level = (self.level + passed).min(self.interval * self.burst);
            let drops = self.interval * u128::from(cost);
            let enough = self.level >= drops;
            if enough {
                self.level -= drops;
            }
            enough
        }
    }

    proptest! {
        #[test]
        fn decides_as_a_bucket_does(
            quota in "[1-9][0-9]{0,2}/(s|min|7ms);burst=[1-9][0-9]?",
            steps in prop::collection::vec((0..3_000_000_000_u64, 1..5_u32), 500),
            haste in 1..2_000_u64,
        ) {
            let rate = rate(&quota);
            let (mut bucket, mut arrival, mut now) = (Bucket::new(rate), 0, 0);
            for (step, cost) in steps {
                now += step / haste;
                let taken = rate.take(arrival, now, cost);
                prop_assert_eq!(taken.is_ok(), bucket.take(now, cost));
                match taken {
                    Ok(next) => arrival = next,
                    Err(Refusal::Never) => prop_assert!(cost > rate.burst),
                    // Exactly then, and not a nanosecond sooner.
                    Err(Refusal::Wait(wait)) => {
                        prop_assert!(rate.take(arrival, now + wait - 1, cost).is_err());
                        prop_assert!(rate.take(arrival, now + wait, cost).is_ok());
                    }
                }
                let left = u128::from(rate.left(arrival, now));
                prop_assert_eq!(left, bucket.level / bucket.interval);
            }
        }

        #[test]
        fn a_strict_quota_holds_in_any_window(
            limit in 1..200_u32,
            burst in 1..200_u32,
            gaps in prop::collection::vec(0..2_000_000_000_u64, 1000),
        ) {
            let window = 60 * 1_000_000_000_u64;
            let strict = Quota::strict(limit, Duration::from_nanos(window)).unwrap();
            let quota = strict.burst(burst).unwrap_or(strict);
            let rate = Rate::new(quota);
            let (mut arrival, mut now, mut admitted) = (0, 0, Vec::new());
            for gap in gaps {
                // As greedy as can be, with a pause now and then.
                now += if gap < 1_900_000_000 { gap % (rate.interval / 2 + 2) } else { gap * 20 };
                if let Ok(next) = rate.take(arrival, now, 1) {
                    arrival = next;
                    admitted.push(now);
                }
            }
            // A window that starts with a request holds as many as any.
            for (first, start) in admitted.iter().enumerate() {
                let within = admitted[first..].iter().take_while(|at| **at - start < window).count();
                prop_assert!(within <= limit as usize, "{within} of {limit} in a window");
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out() {
        let rate = rate("60/min;burst=5");
        let later = 1_000_000 * 1_000_000_000;
        let arrival = rate.charge(0, later, 5);
        // Exhausted, as then, but not for eleven days.
        let Err(Refusal::Wait(wait)) = rate.take(arrival, 0, 1) else { panic!("not exhausted") };
        assert_eq!(wait, rate.interval);
        assert_eq!(rate.left(arrival, 0), 0);
    }

    #[test]
    fn what_a_longer_quota_is_owed_stays_owed() {
        let long = rate("1/s;burst=60");
        let short = rate("1/s;burst=5").beside(long.capacity());
        let arrival = long.charge(0, 0, 40);
        let second = long.interval;
        assert_eq!(short.take(arrival, 0, 1), Err(Refusal::Wait(36 * second)));
        assert_eq!((short.left(arrival, 0), short.take(arrival, 0, 0)), (0, Ok(arrival)));
        assert_eq!(short.charge(arrival, 0, 3), arrival);
        assert_eq!(short.bounded(100 * second, 0), 60 * second);
        assert_eq!(short.bounded(arrival, 0), arrival);
    }

    #[test]
    fn a_share_of_next_to_nothing_can_still_be_reckoned_with() {
        let rate = rate("1/day").divided(u32::MAX);
        let now = 1 << 61;
        let arrival = rate.take(0, now, 1).unwrap();
        assert!(matches!(rate.take(arrival, now, 1), Err(Refusal::Wait(_))));
        assert_eq!(rate.bounded(u64::MAX, now), rate.latest(now));
    }

    #[test]
    fn a_cost_beyond_the_burst_can_never_be() {
        let rate = rate("60/min;burst=5");
        assert_eq!(rate.take(0, 0, 6), Err(Refusal::Never));
        assert!(rate.take(0, 0, 5).is_ok());
    }

    #[test]
    fn what_is_given_back_can_be_spent_again() {
        let rate = rate("60/min;burst=5");
        let arrival = rate.take(0, 0, 5).unwrap();
        assert_eq!(rate.left(rate.refund(arrival, 2), 0), 2);
        // Never more than the burst.
        assert_eq!(rate.left(rate.refund(arrival, u32::MAX), 0), 5);
        assert_eq!(rate.left(rate.charge(arrival, 0, u32::MAX), 0), 0);
    }

    #[test]
    fn near_is_four_fifths() {
        let rate = rate("10/s");
        assert!(!rate.is_near(rate.charge(0, 0, 7), 0));
        assert!(rate.is_near(rate.charge(0, 0, 8), 0));
    }
}
