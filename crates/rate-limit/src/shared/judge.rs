use bartizan_core::{Engine, Key, Mode};

use crate::ask::{Asked, MAX_POLICIES};
use crate::judgement::{Judgement, Verdict};
use crate::observe::Verdict as Count;
use crate::policy::Outage;
use crate::rules::Rules;
use crate::shared::SharedRateLimiter;
use crate::state::{Rate, Refusal};
use crate::{Debts, PolicyKeys, Ration, Store, StoreError, Taking};

/// A request that is being judged: what has to be known of it when the store answers.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) judgement: Judgement,
    /// Of the policies that were asked.
    pub(super) keys: [Option<Key>; MAX_POLICIES],
    /// The policies that were asked, in the order of the store's answer.
    places: [usize; MAX_POLICIES],
    asked: usize,
}

impl<T: Store> SharedRateLimiter<T> {
    /// Asks the store about a request; `None` if that is not needed.
    pub(super) fn ask<K: PolicyKeys>(
        &self,
        rules: &[Rules],
        asked: Asked<'_, K>,
        mode: Mode,
    ) -> (Asking, Option<Taking<T::Trip>>) {
        let mut asking = Asking {
            judgement: Judgement::new(self.limiter.now(), asked.cost),
            keys: [None; MAX_POLICIES],
            places: [0; MAX_POLICIES],
            asked: 0,
        };
        let judgement = &mut asking.judgement;
        let mut rations = [None; MAX_POLICIES];
        for (place, (limit, rules)) in self.limiter.limits().iter().zip(rules).enumerate() {
            let key = asked.keys.get(place);
            let enforces = match limit.switch.mode(|| key) {
                Mode::Off => continue,
                own => own == Mode::Enforce && mode == Mode::Enforce,
            };
            let key = key.or_else(|| limit.without_key(judgement, asked.unkeyed, enforces));
            let Some(key) = key else { continue };
            let (tier, grade) = rules.grade(asked.tier);
            judgement.note(place, tier, enforces);
            let (rate, cost) = (&grade.rate, limit.cost(asked.cost));
            if cost > rate.burst() {
                limit.exceed(judgement, place, judgement.now, Refusal::Never);
                continue;
            }
            asking.keys[place] = Some(key);
            asking.places[asking.asked] = place;
            rations[asking.asked] = Some(Ration {
                policy: &limit.name,
                limiter: self.limiter.name(),
                key,
                interval: rate.interval(),
                burst: rate.burst(),
                longest: rate.longest(),
                cost,
                enforced: enforces,
            });
            asking.asked += 1;
        }
        if judgement.verdict != Verdict::Admitted || asking.asked == 0 {
            // Of those that need not be asked, there is nothing to tell.
            asking.places[..asking.asked].iter().for_each(|place| judgement.forget(*place));
            return (asking, None);
        }
        let rations: [_; MAX_POLICIES] = rations.map(|ration| ration.unwrap_or(IDLE));
        let taking = self.store.take(&rations[..asking.asked]);
        (asking, Some(taking))
    }

    /// Turns the store's answer into a judgement, or does what the policies do without one.
    pub(super) fn conclude(
        &self,
        asking: &mut Asking,
        rules: &[Rules],
        answer: Result<Debts, StoreError>,
        travelled: bool,
    ) {
        match answer {
            Ok(debts) => {
                if travelled {
                    self.figures.answered(self.limiter.name());
                }
                self.judge(asking, rules, debts);
            }
            Err(error) => {
                self.figures.failed(self.limiter.name(), error);
                self.judge_alone(asking, rules);
            }
        }
    }

    fn judge(&self, asking: &mut Asking, rules: &[Rules], debts: Debts) {
        let judgement = &mut asking.judgement;
        for (answer, place) in asking.places[..asking.asked].iter().copied().enumerate() {
            let limit = self.limiter.limit(place);
            let rate = rules[place].at(judgement.grades[place]).rate;
            let now = judgement.now;
            let arrival = rate.bounded(now.saturating_add(debts.ahead[answer]), now);
            judgement.arrivals[place] = arrival;
            if debts.refused & 1 << answer == 0 {
                judgement.taken.add(place);
                continue;
            }
            // The store counts in coarser units, and may refuse by less than one of them.
            let wait = match rate.take(arrival, now, limit.cost(judgement.cost)) {
                Err(why) => why,
                Ok(_) => Refusal::Wait(1),
            };
            limit.exceed(judgement, place, arrival, wait);
        }
        let admitted = judgement.verdict == Verdict::Admitted;
        for place in judgement.taken.iter() {
            let limit = self.limiter.limit(place);
            limit.figures.count(&limit.name, Count::Admitted);
            if !admitted {
                // The store has spent nothing.
                limit.figures.count(&limit.name, Count::GivenBack);
            }
        }
    }

    /// Judges without the store, as each policy's outage says.
    fn judge_alone(&self, asking: &mut Asking, rules: &[Rules]) {
        let judgement = &mut asking.judgement;
        let places = &asking.places[..asking.asked];
        let closed = |place: &usize| self.limiter.limit(*place).outage == Outage::Closed;
        let enforced = judgement.enforced;
        if places.iter().any(|place| enforced.has(*place) && closed(place)) {
            judgement.verdict = Verdict::Away;
            // Nobody knows how the caller stands.
            places.iter().for_each(|place| judgement.forget(*place));
            return;
        }
        for place in places.iter().copied() {
            let limit = self.limiter.limit(place);
            let Outage::Local { nodes } = limit.outage else {
                judgement.forget(place);
                continue;
            };
            judgement.nodes[place] = nodes.max(1);
            let key = asking.keys[place].unwrap_or(Key::GLOBAL);
            let (rate, cost) = share(judgement, rules, place);
            match limit.take(key, judgement.now, &rate, cost) {
                Ok(arrival) => {
                    judgement.arrivals[place] = arrival;
                    judgement.taken.add(place);
                }
                Err((arrival, why)) => limit.exceed(judgement, place, arrival, why),
            }
        }
        if judgement.verdict != Verdict::Admitted {
            for place in judgement.taken.iter() {
                let limit = self.limiter.limit(place);
                let key = asking.keys[place].unwrap_or(Key::GLOBAL);
                let (rate, cost) = share(judgement, rules, place);
                limit.figures.count(&limit.name, Count::GivenBack);
                judgement.arrivals[place] = limit.refund(key, judgement.now, rate, cost);
            }
        }
    }
}

/// The rate of this process's share of a policy's quota, and what the request costs of it.
fn share(judgement: &Judgement, rules: &[Rules], place: usize) -> (Rate, u32) {
    let grade = rules[place].at(judgement.grades[place]);
    (judgement.rate(grade, place), judgement.cost(grade, place))
}

/// In places that are not asked about.
const IDLE: Ration<'static> = Ration {
    policy: "",
    limiter: "",
    key: Key::GLOBAL,
    interval: 1,
    burst: 1,
    longest: 1,
    cost: 0,
    enforced: false,
};
