use std::sync::Arc;

use bartizan_core::{Key, Live, Snapshot, Switch};

use crate::engine::Unkeyed;
use crate::grade::Grade;
use crate::judgement::{Judgement, Verdict};
use crate::observe::{self, Figures, Verdict as Count};
use crate::policy::Policy;
use crate::settings::PolicySettings;
use crate::state::{Rate, Refusal};
use crate::table::Table;

/// A policy at work: its keys, its rules, its figures.
pub(crate) struct Limit {
    pub(crate) name: Arc<str>,
    pub(crate) rules: Live<Rules>,
    pub(crate) switch: Switch,
    pub(crate) figures: Figures,
    table: Table,
    flat: bool,
    memory: usize,
}

/// What follows from a policy's settings.
pub(crate) struct Rules {
    base: Grade,
    tiers: Vec<(String, Grade)>,
}

/// The key of all requests that have none, where they share one.
pub(crate) const SHARED_KEY: Key = Key::GLOBAL;

impl Limit {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self {
            name: Arc::clone(&policy.name),
            rules: Live::new(Rules::new(&policy.name, &policy.settings)),
            switch: Switch::new(policy.settings.mode.unwrap_or_default()),
            figures: Figures::default(),
            table: Table::new(policy.memory),
            flat: policy.flat,
            memory: policy.memory,
        }
    }

    /// The policy, as it is set now.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            name: Arc::clone(&self.name),
            settings: self.settings(),
            memory: self.memory,
            flat: self.flat,
        }
    }

    pub(crate) fn settings(&self) -> PolicySettings {
        let rules = self.rules.load();
        PolicySettings {
            quota: rules.base.quota,
            tiers: rules.tiers.iter().map(|(tier, grade)| (tier.clone(), grade.quota)).collect(),
            mode: Some(self.switch.setting().0),
        }
    }

    pub(crate) fn rename(&mut self, name: &Arc<str>) {
        self.name = Arc::clone(name);
        self.rules.store(Rules::new(name, &self.settings()));
    }

    pub(crate) fn apply(&self, settings: &PolicySettings) {
        self.rules.store(Rules::new(&self.name, settings));
        if let Some(mode) = settings.mode {
            self.switch.set(mode);
        }
    }

    pub(crate) fn add_to(&self, snapshot: Snapshot, now: u64) -> Snapshot {
        let snapshot = snapshot
            .sample_of(&observe::KEYS, &self.name, "", self.table.live(now) as f64)
            .sample_of(&observe::EVICTIONS, &self.name, "", self.table.evictions() as f64);
        self.figures.add_to(snapshot, &self.name)
    }

    /// What one request costs here.
    #[inline]
    pub(crate) const fn cost(&self, cost: u32) -> u32 {
        if self.flat { 1 } else { cost }
    }

    pub(crate) const fn is_flat(&self) -> bool {
        self.flat
    }

    /// Spends the request's cost, if that is within the quota.
    #[inline]
    pub(crate) fn take(
        &self,
        judgement: &mut Judgement,
        place: usize,
        key: Key,
        tier: Option<&str>,
        enforces: bool,
    ) {
        let rules = self.rules.load();
        let (tier, grade) = rules.grade(tier);
        let (rate, now, cost) = (grade.rate, judgement.now, self.cost(judgement.cost));
        let taken = self.table.update(key, now, |arrival| match rate.take(arrival, now, cost) {
            Ok(next) => (next, Ok(next)),
            Err(refusal) => (rate.bounded(arrival, now), Err((arrival, refusal))),
        });
        judgement.note(place, tier, enforces);
        match taken {
            Ok(arrival) => {
                judgement.arrivals[place] = arrival;
                judgement.taken.add(place);
                self.figures.count(&self.name, Count::Admitted);
                if rate.is_near(arrival, now) {
                    self.figures.near_limit.add(1);
                }
            }
            Err((arrival, refusal)) => self.exceed(judgement, place, arrival, refusal),
        }
    }

    /// Says whether the request's cost is within the quota, and spends nothing.
    #[cold]
    pub(crate) fn peek(
        &self,
        judgement: &mut Judgement,
        place: usize,
        key: Key,
        tier: Option<&str>,
        enforces: bool,
    ) {
        let rules = self.rules.load();
        let (tier, grade) = rules.grade(tier);
        let arrival = self.table.peek(key);
        judgement.note(place, tier, enforces);
        judgement.arrivals[place] = arrival;
        if let Err(refusal) = grade.rate.take(arrival, judgement.now, self.cost(judgement.cost)) {
            judgement.exceed(place, refusal);
        }
    }

    #[cold]
    fn exceed(&self, judgement: &mut Judgement, place: usize, arrival: u64, refusal: Refusal) {
        judgement.arrivals[place] = arrival;
        judgement.exceed(place, refusal);
        let enforces = judgement.enforced.has(place);
        self.figures
            .count(&self.name, if enforces { Count::Refused } else { Count::ShadowRefused });
    }

    /// The key to count a request under that has none, if any.
    #[cold]
    pub(crate) fn without_key(
        &self,
        judgement: &mut Judgement,
        unkeyed: Unkeyed,
        enforces: bool,
    ) -> Option<Key> {
        self.figures.count(&self.name, Count::NoKey);
        match unkeyed {
            Unkeyed::Share => return Some(SHARED_KEY),
            Unkeyed::Refuse if enforces && judgement.verdict == Verdict::Admitted => {
                judgement.verdict = Verdict::NoKey;
            }
            Unkeyed::Refuse | Unkeyed::Skip => {}
        }
        None
    }

    /// Gives `cost` back. Returns how the key then stands, if it is known.
    pub(crate) fn refund(&self, key: Key, now: u64, rate: Rate, cost: u32) -> Option<u64> {
        let cost = self.cost(cost);
        self.table.update(key, now, |arrival| {
            let less = rate.refund(rate.bounded(arrival, now), cost);
            // A key that has no slot owes nothing that could be given back.
            (less, Some(less))
        })
    }

    pub(crate) fn charge(&self, key: Key, now: u64, rate: Rate, cost: u32) {
        let cost = self.cost(cost);
        self.table.update(key, now, |arrival| (rate.charge(arrival, now, cost), ()));
    }
}

impl Rules {
    fn new(name: &str, settings: &PolicySettings) -> Self {
        let tiers = settings.tiers.iter();
        Self {
            base: Grade::new(name, settings.quota),
            tiers: tiers.map(|(tier, quota)| (tier.clone(), Grade::new(name, *quota))).collect(),
        }
    }

    /// The grade of a tier, and its place; the base for callers without one, or with one that is
    /// not known here.
    #[inline]
    pub(crate) fn grade(&self, tier: Option<&str>) -> (u8, &Grade) {
        let Some(tier) = tier else { return (0, &self.base) };
        match self.tiers.iter().position(|(known, _)| known == tier) {
            Some(place) => (place as u8 + 1, &self.tiers[place].1),
            None => (0, &self.base),
        }
    }

    /// The grade at a place; the base if it has gone.
    #[inline]
    pub(crate) fn at(&self, place: u8) -> &Grade {
        let tier = usize::from(place).checked_sub(1).and_then(|tier| self.tiers.get(tier));
        tier.map_or(&self.base, |(_, grade)| grade)
    }
}
