//! What one process knows of one key: a state machine without a clock or a store.
//!
//! All times are nanoseconds. A lease is debited at the store before anything of it is spent, so that
//! no number of processes ever spends more than there is.

/// A lease is as large as what the key asked for in about so long.
const HORIZON: u64 = 100_000_000;
/// Over how long the rate of a key is averaged.
const MEMORY: u64 = 500_000_000;
/// When a lease ends, and what the store said is forgotten. Far longer than what a lease is meant to
/// last, so that little of it comes back.
pub(crate) const LIFE: u64 = 1_000_000_000;
/// At most by so many times does a process wait longer than a lease takes to come into being.
const PATIENCE: u32 = 8;

/// A quota: what a unit costs, how much there can be at once, and how much any tier of its policy can
/// owe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Quota {
    pub(crate) interval: u64,
    pub(crate) capacity: u64,
    pub(crate) longest: u64,
}

impl Quota {
    /// What so many units move an arrival time on by: below 0 if they are given back.
    pub(crate) fn change(self, units: i64) -> i64 {
        i64::try_from(self.interval).unwrap_or(i64::MAX).saturating_mul(units)
    }
}

/// What to do about a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// Ask the store, for so many units; the lease is told the answer if it `leads`.
    Ask { units: u32, leads: bool },
    /// It is refused; the arrival time is so far ahead.
    Refused(u64),
    /// It is spent of the lease; the arrival time is so far ahead.
    Spent(u64),
}

/// How the store answered for one key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Grant {
    /// The lease was given, and the request is spent of it.
    Lease,
    /// The request was refused.
    None,
    /// The request alone was spent, since there was too little for the lease; or it was not judged,
    /// since another policy refused.
    Request,
}

/// A key's lease, and what the store last said.
#[derive(Debug)]
pub(crate) struct Lease {
    quota: Quota,
    left: u32,
    ends: u64,
    /// How far ahead the arrival time was at the store, and when: with all of the lease spent.
    ahead: u64,
    told: u64,
    /// Until when requests of at least so many units are refused without asking.
    refused_until: u64,
    refused_cost: u32,
    /// How often in a row there was less than hoped for.
    misses: u32,
    /// Whether a lease is on its way.
    asked: bool,
    /// Units asked for by requests: averaged over [`MEMORY`], and since then.
    average: f64,
    averaged: u64,
    since: u32,
}

impl Lease {
    pub(crate) const fn new(quota: Quota, now: u64) -> Self {
        Self {
            quota,
            left: 0,
            ends: now.saturating_add(LIFE),
            ahead: 0,
            told: now,
            refused_until: 0,
            refused_cost: 0,
            misses: 0,
            asked: false,
            average: 0.0,
            averaged: now,
            since: 0,
        }
    }

    /// Decides on a request of `cost` units, or says how many to ask the store for: at most `most`,
    /// unless the request itself costs more.
    pub(crate) fn ask(&mut self, now: u64, cost: u32, most: u32) -> Answer {
        self.since = self.since.saturating_add(cost);
        if self.left >= cost && now < self.ends {
            self.left -= cost;
            return Answer::Spent(self.ahead(now));
        }
        let Quota { interval, capacity, .. } = self.quota;
        let mut wait = 0;
        if now < self.told.saturating_add(LIFE) {
            // The store knew this much; others can only have spent since, or given back a little.
            let next = self.store_ahead(now).saturating_add(interval.saturating_mul(cost.into()));
            let until = if cost >= self.refused_cost { self.refused_until } else { 0 };
            wait = next.saturating_sub(capacity).max(until.saturating_sub(now));
        }
        // What is free is within every quota.
        if wait > 0 && cost > 0 {
            // Said so that whoever reads it waits for as long, though no longer than the exhausted.
            let spent = interval.saturating_mul(cost.into());
            let ahead = capacity.saturating_add(wait).saturating_sub(spent);
            return Answer::Refused(ahead.min(capacity.max(self.store_ahead(now))));
        }
        if self.asked {
            // One lease at a time; meanwhile requests fend for themselves.
            return Answer::Ask { units: cost, leads: false };
        }
        self.asked = true;
        Answer::Ask { units: self.size(now, most).max(cost), leads: true }
    }

    /// How many units make a lease: what this process needs for a while, but no more than comes back
    /// in that while, and never most of what there can be.
    fn size(&mut self, now: u64, most: u32) -> u32 {
        let passed = now.saturating_sub(self.averaged);
        let faded = (-(passed as f64) / MEMORY as f64).exp();
        self.average = self.average.mul_add(faded, f64::from(self.since));
        self.averaged = now;
        self.since = 0;
        let need = self.average * (HORIZON as f64 / MEMORY as f64);
        let comes = HORIZON / self.quota.interval;
        let room = self.quota.capacity / self.quota.interval / 4;
        let most = u64::from(most).min(comes).min(room).max(1);
        // Both are at most `most`, which was 32 bits.
        (need as u64).clamp(1, most) as u32
    }

    /// Takes note of the store's answer to [`Answer::Ask`]: what was asked for, what was given, and
    /// how far ahead the arrival time is now. `chance` is one from 0 to 1.
    pub(crate) fn told(
        &mut self,
        now: u64,
        (cost, lease): (u32, u32),
        grant: Grant,
        ahead: u64,
        chance: f64,
    ) {
        self.asked = false;
        self.overheard(now, ahead);
        match grant {
            Grant::Lease => {
                self.left = self.left.saturating_add(lease - cost);
                self.ends = now.saturating_add(LIFE);
                // Not forgotten at once, or who is lucky asks so often that others never are.
                self.misses /= 2;
                self.refused_until = 0;
            }
            Grant::Request if lease == cost => self.misses /= 2,
            Grant::None | Grant::Request => {
                // When there will be a whole lease, if nobody else takes it. Others may well: with
                // each miss the wait grows, by chance, so that a fleet hardly asks oftener than it
                // is given, and each process has its share.
                let whole = ahead.saturating_add(self.quota.interval.saturating_mul(lease.into()));
                let short = whole.saturating_sub(self.quota.capacity);
                let wait = short as f64 * (1.0 + f64::from(self.misses.min(PATIENCE)) * chance);
                self.misses = self.misses.saturating_add(1);
                self.refused_until = now.saturating_add(wait as u64);
                self.refused_cost = if grant == Grant::None { cost } else { 1 };
            }
        }
    }

    /// Takes note of how far ahead the store has told another request.
    pub(crate) const fn overheard(&mut self, now: u64, ahead: u64) {
        self.ahead = ahead;
        self.told = now;
    }

    /// The store did not answer, or it was not asked after all.
    pub(crate) const fn untold(&mut self) {
        self.asked = false;
    }

    /// Puts units back that a request was to spend.
    pub(crate) const fn put_back(&mut self, cost: u32) {
        self.left = self.left.saturating_add(cost);
    }

    /// Takes note of a correction at the store, in nanoseconds: below 0 if units were given back.
    pub(crate) const fn corrected(&mut self, by: i64) {
        self.ahead = self.ahead.saturating_add_signed(by);
        if by < 0 {
            self.refused_until = 0;
        }
    }

    /// How far ahead the arrival time is, for whoever holds the lease.
    pub(crate) const fn ahead(&self, now: u64) -> u64 {
        let lease = self.quota.interval.saturating_mul(self.left as u64);
        self.store_ahead(now).saturating_sub(lease)
    }

    const fn store_ahead(&self, now: u64) -> u64 {
        self.ahead.saturating_sub(now.saturating_sub(self.told))
    }

    pub(crate) const fn quota(&self) -> Quota {
        self.quota
    }

    /// When there is nothing left to know; `None` while an answer is awaited.
    pub(crate) const fn forgotten(&self) -> Option<u64> {
        let told = self.told.saturating_add(LIFE);
        match self.asked {
            true => None,
            false if self.ends > told => Some(self.ends),
            false => Some(told),
        }
    }

    /// Ends the lease if it is time, and returns what is unspent of it.
    pub(crate) const fn end(&mut self, now: u64) -> u32 {
        if now < self.ends { 0 } else { self.take() }
    }

    /// Ends the lease, and returns what is unspent of it.
    pub(crate) const fn take(&mut self) -> u32 {
        std::mem::replace(&mut self.left, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;
    /// A thousand a second, a hundred at once.
    const QUOTA: Quota = Quota { interval: MILLI, capacity: 100 * MILLI, longest: 100 * MILLI };

    /// A key that has been asked for `rate` times a second for a while.
    fn lease(rate: u64) -> (Lease, u64) {
        let (mut lease, mut now) = (Lease::new(QUOTA, 0), 0);
        for _ in 0..2 * rate {
            now += 1_000_000_000 / rate;
            if let Answer::Ask { units, .. } = lease.ask(now, 1, 1) {
                lease.told(now, (1, units), Grant::Lease, 0, 0.5);
            }
        }
        (lease, now)
    }

    const fn one(units: u32) -> Answer {
        Answer::Ask { units, leads: true }
    }

    #[test]
    fn a_lease_is_a_tenth_of_a_second_of_its_keys_own_rate() {
        let (mut slow, now) = lease(3);
        assert_eq!(slow.ask(now, 1, 10), one(1));
        let (mut usual, now) = lease(60);
        let Answer::Ask { units, .. } = usual.ask(now, 1, 10) else { panic!("nothing is left") };
        assert!((5..=7).contains(&units), "{units}");
        let (mut fast, now) = lease(900);
        assert_eq!(fast.ask(now, 1, 10), one(10));
        // Never most of what there can be, however fast.
        let (mut fast, now) = lease(900);
        assert_eq!(fast.ask(now, 1, 1_000), one(25));
        // A request that costs more than a lease asks for itself.
        let (mut slow, now) = lease(3);
        assert_eq!(slow.ask(now, 4, 10), one(4));
    }

    #[test]
    fn a_lease_is_spent_here_and_one_is_asked_for_at_a_time() {
        let (mut lease, now) = lease(900);
        assert_eq!(lease.ask(now, 1, 3), one(3));
        assert_eq!(lease.ask(now, 1, 3), Answer::Ask { units: 1, leads: false });
        lease.told(now, (1, 3), Grant::Lease, 3 * MILLI, 0.5);
        // Of three units one was for the request; what is left counts as not spent.
        assert_eq!(lease.ahead(now), MILLI);
        assert_eq!(lease.ask(now, 1, 3), Answer::Spent(2 * MILLI));
        assert_eq!(lease.ask(now, 1, 3), Answer::Spent(3 * MILLI));
        assert_eq!(lease.ask(now, 1, 3), one(3));
    }

    #[test]
    fn what_is_unspent_is_returned_when_the_lease_ends() {
        let (mut lease, now) = lease(900);
        assert_eq!(lease.ask(now, 1, 5), one(5));
        lease.told(now, (1, 5), Grant::Lease, 5 * MILLI, 0.5);
        lease.ask(now, 1, 5);
        lease.put_back(1);
        assert_eq!(lease.end(now + LIFE - 1), 0);
        assert_eq!(lease.end(now + LIFE), 4);
        assert_eq!(lease.end(now + LIFE), 0);
    }

    #[test]
    fn nobody_asks_for_what_cannot_be_there() {
        let (mut lease, now) = lease(900);
        assert_eq!(lease.ask(now, 1, 10), one(10));
        lease.told(now, (1, 10), Grant::None, 100 * MILLI, 0.5);
        // Ten milliseconds until there are ten; the wait that is told is that.
        assert_eq!(lease.ask(now, 1, 10), Answer::Refused(100 * MILLI));
        assert_eq!(lease.ask(now + 10 * MILLI - 1, 1, 10), Answer::Refused(99 * MILLI + 1));
        assert!(matches!(lease.ask(now + 10 * MILLI, 1, 10), Answer::Ask { .. }));
        // If others took them, it is up to twice as long, and then longer still.
        lease.told(now, (1, 10), Grant::None, 100 * MILLI, 1.0);
        assert!(matches!(lease.ask(now + 20 * MILLI - 1, 1, 10), Answer::Refused(_)));
        assert_eq!(lease.ask(now + 20 * MILLI, 1, 10), one(10));
        // The request alone was there.
        lease.told(now, (1, 10), Grant::Request, 95 * MILLI, 0.5);
        assert!(matches!(lease.ask(now + 10 * MILLI - 1, 1, 10), Answer::Refused(_)));
        assert_eq!(lease.ask(now + 10 * MILLI, 1, 10), one(10));
    }

    #[test]
    fn a_costly_refusal_is_none_of_the_cheap() {
        let mut lease = Lease::new(QUOTA, 0);
        assert_eq!(lease.ask(0, 50, 10), one(50));
        lease.told(0, (50, 50), Grant::None, 60 * MILLI, 0.5);
        assert!(matches!(lease.ask(0, 50, 10), Answer::Refused(_)));
        assert!(matches!(lease.ask(0, 1, 10), Answer::Ask { .. }));
    }

    #[test]
    fn what_the_store_said_is_forgotten() {
        // One a day: it may have been refunded elsewhere, or the store emptied.
        let day = 86_400_000_000_000;
        let mut lease = Lease::new(Quota { interval: day, capacity: day, longest: day }, 0);
        assert_eq!(lease.ask(0, 1, 10), one(1));
        lease.told(0, (1, 1), Grant::None, day, 0.5);
        assert!(matches!(lease.ask(LIFE - 1, 1, 10), Answer::Refused(_)));
        assert_eq!(lease.ask(LIFE, 1, 10), one(1));
        lease.untold();
        lease.corrected(-(day as i64));
        assert_eq!(lease.ask(1, 1, 10), one(1));
    }
}
