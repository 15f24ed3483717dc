use std::time::Duration;

use bartizan_core::Key;

use crate::ask::MAX_POLICIES;
use crate::grade::Grade;
use crate::reservation::Spent;
use crate::rules::Rules;
use crate::state::{Rate, Refusal};

/// What a limiter's policies said about one request: plain figures, to be put into words later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) now: u64,
    pub(crate) cost: u32,
    /// By the policy's place, as are the bits below.
    pub(crate) arrivals: [u64; MAX_POLICIES],
    /// Which of its grades each policy applied.
    pub(crate) grades: [u8; MAX_POLICIES],
    /// Among how many processes each policy's quota is divided; 0 where it is not.
    pub(crate) nodes: [u32; MAX_POLICIES],
    /// Policies that are in force for it.
    pub(crate) enforced: Places,
    /// Policies that it has spent of.
    pub(crate) taken: Places,
    /// Policies that it exceeds, in earnest or in shadow.
    pub(crate) exceeded: Places,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Admitted,
    /// The shared store is away, and a policy is closed then.
    Away,
    /// It costs more than a policy ever admits.
    Never,
    NoKey,
    /// For so many nanoseconds.
    Refused(u64),
}

/// A set of policies.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Places(u8);

impl Places {
    #[inline]
    pub(crate) const fn add(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    pub(crate) const fn remove(&mut self, place: usize) {
        self.0 &= !(1 << place);
    }

    #[inline]
    pub(crate) const fn has(self, place: usize) -> bool {
        self.0 & 1 << place != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_POLICIES).filter(move |place| self.has(*place))
    }
}

/// How one policy stands towards the request's key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) left: u32,
    /// If the policy refuses the request for now.
    pub(crate) wait: Option<Duration>,
}

impl Judgement {
    #[inline]
    pub(crate) const fn new(now: u64, cost: u32) -> Self {
        Self {
            verdict: Verdict::Admitted,
            now,
            cost,
            arrivals: [0; MAX_POLICIES],
            grades: [0; MAX_POLICIES],
            nodes: [0; MAX_POLICIES],
            enforced: Places(0),
            taken: Places(0),
            exceeded: Places(0),
        }
    }

    /// Takes note of which grade a policy applies, and whether in earnest.
    #[inline]
    pub(crate) const fn note(&mut self, place: usize, grade: u8, enforces: bool) {
        self.grades[place] = grade;
        if enforces {
            self.enforced.add(place);
        }
    }

    /// Takes note that the policy at `place` does not count the request after all.
    pub(crate) const fn forget(&mut self, place: usize) {
        self.enforced.remove(place);
    }

    /// Takes note that a policy refuses.
    pub(crate) fn exceed(&mut self, place: usize, refusal: Refusal) {
        self.exceeded.add(place);
        if !self.enforced.has(place) {
            return;
        }
        self.verdict = match (self.verdict, refusal) {
            (Verdict::Never, _) | (_, Refusal::Never) => Verdict::Never,
            (Verdict::Refused(other), Refusal::Wait(wait)) => Verdict::Refused(other.max(wait)),
            (_, Refusal::Wait(wait)) => Verdict::Refused(wait),
        };
    }

    /// Whether it was judged here, since the store is away.
    pub(crate) fn is_local(&self) -> bool {
        self.nodes != [0; MAX_POLICIES]
    }

    /// The rate by which the policy at `place` is judged: of its whole quota, or of a share of it.
    pub(crate) fn rate(&self, grade: &Grade, place: usize) -> Rate {
        match self.nodes[place] {
            0 => grade.rate,
            nodes => grade.rate.divided(nodes),
        }
    }

    /// What the request costs there. Of a share, what it costs of the whole quota may be more than
    /// there ever is: then it takes all.
    pub(crate) fn cost(&self, grade: &Grade, place: usize) -> u32 {
        let cost = grade.cost(self.cost);
        match self.nodes[place] {
            0 => cost,
            _ => cost.min(self.rate(grade, place).burst()),
        }
    }

    /// What it has spent of each policy; `keys` are those that it was counted under.
    pub(crate) fn spent(
        &self,
        rules: &[Rules],
        keys: &[Key; MAX_POLICIES],
    ) -> [Option<Spent>; MAX_POLICIES] {
        std::array::from_fn(|place| {
            self.taken.has(place).then(|| {
                let rate = self.rate(rules[place].at(self.grades[place]), place);
                Spent { key: keys[place], rate }
            })
        })
    }

    /// How the policy at `place` stands. A policy that refuses has nothing left for this request,
    /// even if there is something for a cheaper one.
    pub(crate) fn standing(&self, grade: &Grade, place: usize) -> Standing {
        let (rate, arrival) = (self.rate(grade, place), self.arrivals[place]);
        if self.exceeded.has(place) {
            let wait = match rate.take(arrival, self.now, self.cost(grade, place)) {
                Err(Refusal::Never) => None,
                Err(Refusal::Wait(wait)) => Some(Duration::from_nanos(wait)),
                // A shared store refused by less than can be told here.
                Ok(_) => Some(Duration::ZERO),
            };
            return Standing { left: 0, wait };
        }
        Standing { left: rate.left(arrival, self.now), wait: None }
    }
}
