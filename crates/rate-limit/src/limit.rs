use std::sync::Arc;

use bartizan_core::{Key, Rejection, Snapshot, Switch};

use crate::Unkeyed;
use crate::judgement::{Judgement, Verdict};
use crate::observe::{self, Figures, Verdict as Count};
use crate::policy::{Outage, Policy};
use crate::refusal;
use crate::rules::Rules;
use crate::settings::PolicySettings;
use crate::state::{Rate, Refusal};
use crate::table::Table;

/// A policy at work: its keys, its rules, its figures.
pub(crate) struct Limit {
    pub(crate) name: Arc<str>,
    pub(crate) switch: Switch,
    pub(crate) figures: Figures,
    /// For requests that exceed this policy alone.
    pub(crate) refusal: Rejection,
    table: Table,
    flat: bool,
    pub(crate) outage: Outage,
    memory: usize,
}

/// The key of all requests that have none, where they share one.
pub(crate) const SHARED_KEY: Key = Key::GLOBAL;

impl Limit {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self {
            name: Arc::clone(&policy.name),
            switch: Switch::new(policy.settings.mode.unwrap_or_default()),
            figures: Figures::default(),
            refusal: refusal::of(&policy.name),
            table: Table::new(policy.memory),
            flat: policy.flat,
            outage: policy.outage,
            memory: policy.memory,
        }
    }

    /// The policy, under its rules.
    pub(crate) fn policy(&self, rules: &Rules) -> Policy {
        let settings = PolicySettings { mode: Some(self.switch.setting().0), ..rules.settings() };
        Policy {
            name: Arc::clone(&self.name),
            settings,
            memory: self.memory,
            flat: self.flat,
            outage: self.outage,
        }
    }

    pub(crate) fn rename(&mut self, name: &Arc<str>) {
        self.name = Arc::clone(name);
        self.refusal = refusal::of(name);
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

    /// Spends `cost`, if that is within the quota, and returns how the key then stands; or how it
    /// stands already, and why it is not.
    #[inline]
    pub(crate) fn take(
        &self,
        key: Key,
        now: u64,
        rate: &Rate,
        cost: u32,
    ) -> Result<u64, (u64, Refusal)> {
        let cost = self.cost(cost);
        let mut refusal = None;
        let (before, after) = self.table.update(key, now, rate.longest(), |arrival| {
            match rate.take(arrival, now, cost) {
                Ok(next) => {
                    refusal = None;
                    next
                }
                Err(why) => {
                    refusal = Some(why);
                    rate.bounded(arrival, now)
                }
            }
        });
        if let Some(why) = refusal {
            return Err((before, why));
        }
        self.figures.count(&self.name, Count::Admitted);
        if rate.is_near(after, now) {
            self.figures.near_limit.add(1);
        }
        Ok(after)
    }

    /// Says whether the request's cost is within the quota, and spends nothing.
    #[cold]
    pub(crate) fn peek(
        &self,
        judgement: &mut Judgement,
        place: usize,
        rules: &Rules,
        key: Key,
        tier: Option<&str>,
        enforces: bool,
    ) {
        let (tier, grade) = rules.grade(tier);
        let arrival = self.table.peek(key);
        judgement.note(place, tier, enforces);
        judgement.arrivals[place] = arrival;
        if let Err(refusal) = grade.rate.take(arrival, judgement.now, self.cost(judgement.cost)) {
            judgement.exceed(place, refusal);
        }
    }

    #[cold]
    pub(crate) fn exceed(
        &self,
        judgement: &mut Judgement,
        place: usize,
        arrival: u64,
        refusal: Refusal,
    ) {
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

    /// Gives `cost` back, and returns how the key then stands. One that has no slot owes nothing
    /// that could be given back.
    pub(crate) fn refund(&self, key: Key, now: u64, rate: Rate, cost: u32) -> u64 {
        let cost = self.cost(cost);
        let refund = |arrival| rate.refund(rate.bounded(arrival, now), cost);
        self.table.update(key, now, rate.longest(), refund).1
    }

    pub(crate) fn charge(&self, key: Key, now: u64, rate: Rate, cost: u32) {
        let cost = self.cost(cost);
        self.table.update(key, now, rate.longest(), |arrival| rate.charge(arrival, now, cost));
    }
}
