use std::fmt;
use std::sync::Arc;

use bartizan_core::{Clock, ConfigError, Engine, Key, Live, Mode, Snapshot, Switch};
use serde_json::Value;

use crate::ask::{Asked, MAX_POLICIES};
use crate::judgement::{Judgement, Verdict};
use crate::limit::{Limit, SHARED_KEY};
use crate::observe::Verdict as Count;
use crate::policy::printable;
use crate::reservation::{Ledger, Spent};
use crate::rules::{RuleBook, Rules};
use crate::state::Rate;
use crate::{
    Ask, Decision, Outage, Policy, PolicyKeys, Quota, Reservation, Settings, SharedRateLimiter,
    Store,
};

/// Counts requests by key and says which are too many. Clones share all counts.
///
/// Give [`named`](Self::named), [`clock`](Self::clock) and [`mode`](Self::mode) first, before
/// anything is checked or cloned: on a clone, each makes a limiter of its own.
#[derive(Clone)]
pub struct RateLimiter(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    clock: Clock,
    /// What the times in the tables count from, so that they stay small.
    origin: u64,
    limits: Box<[Limit]>,
    /// By the place of the limit.
    rules: Live<RuleBook>,
    switch: Switch,
    /// Whether the limiter's name is also the name of its only policy.
    shares_name: bool,
}

impl Inner {
    /// The policies as they are set now.
    fn policies(&self) -> Vec<Policy> {
        let rules = self.rules.load();
        self.limits.iter().zip(&**rules).map(|(limit, rules)| limit.policy(rules)).collect()
    }
}

impl RateLimiter {
    /// Creates a limiter of one policy, both by the name `default`, with the system's clock.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self::build(&[Policy::new("default", quota)], true)
    }

    /// Creates a limiter of several policies, by the name `default`. A request must be within every
    /// one of them; if it is not, it is counted by none.
    ///
    /// # Errors
    ///
    /// If there is no policy, or more than four, two have one name, or one has more than 255 tiers.
    pub fn with_policies(policies: impl IntoIterator<Item = Policy>) -> Result<Self, ConfigError> {
        let policies: Vec<_> = policies.into_iter().collect();
        if !(1..=MAX_POLICIES).contains(&policies.len()) {
            let problem = format!("are {}", policies.len());
            return Err(ConfigError::new(
                "policies",
                problem,
                "write one to four, and put further ones into another limiter",
            ));
        }
        for (place, policy) in policies.iter().enumerate() {
            policy.settings.check()?;
            if policies[..place].iter().any(|other| other.name == policy.name) {
                let problem = format!("has two of the name `{}`", policy.name);
                return Err(ConfigError::new("policies", problem, "name each otherwise"));
            }
        }
        Ok(Self::build(&policies, false))
    }

    fn build(policies: &[Policy], shares_name: bool) -> Self {
        let clock = Clock::system();
        Self(Arc::new(Inner {
            name: "default".into(),
            origin: clock.now().as_nanos(),
            clock,
            limits: policies.iter().map(Limit::new).collect(),
            rules: Live::new(policies.iter().map(Policy::rules).collect()),
            switch: Switch::default(),
            shares_name,
        }))
    }

    /// Changes a limiter that nobody else knows yet; of one that is shared, makes another.
    fn change(mut self, set: impl FnOnce(&mut Inner)) -> Self {
        if Arc::get_mut(&mut self.0).is_none() {
            let mut fresh = Self::build(&self.0.policies(), self.0.shares_name);
            if let Some(inner) = Arc::get_mut(&mut fresh.0) {
                inner.name = Arc::clone(&self.0.name);
                inner.clock = self.0.clock.clone();
                inner.origin = inner.clock.now().as_nanos();
                inner.switch = Switch::new(self.0.switch.setting().0);
            }
            self = fresh;
        }
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            set(inner);
        }
        self
    }

    /// Names the limiter, for operators; and its policy, for callers, if it was created with
    /// [`new`](Self::new).
    ///
    /// Characters beyond printable ASCII, which the response fields cannot hold, become `_`.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.change(|inner| {
            inner.name = printable(name);
            if inner.shares_name {
                inner.limits[0].rename(&inner.name);
                inner.rules.store(inner.policies().iter().map(Policy::rules).collect());
            }
        })
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        self.change(|inner| {
            inner.origin = clock.now().as_nanos();
            inner.clock = clock;
        })
    }

    /// Takes so many bytes for the keys of each policy; see [`Policy::memory`].
    #[must_use]
    pub fn memory(self, bytes: usize) -> Self {
        self.change(|inner| {
            let policies = inner.policies().into_iter().map(|policy| policy.memory(bytes));
            inner.limits = policies.map(|policy| Limit::new(&policy)).collect();
        })
    }

    /// Says what every policy does while a shared store is away; see [`Policy::outage`].
    #[must_use]
    pub fn outage(self, outage: Outage) -> Self {
        self.change(|inner| inner.limits.iter_mut().for_each(|limit| limit.outage = outage))
    }

    /// Keeps the counts in `store`, for all processes that use it under the same names.
    #[must_use]
    pub fn shared<T: Store>(self, store: T) -> SharedRateLimiter<T> {
        SharedRateLimiter::new(self, store)
    }

    /// Sets the mode to start in; [`Engine::switch`] changes it later.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        self.change(|inner| inner.switch = Switch::new(mode))
    }

    /// Counts a request and says whether it is within the quotas.
    ///
    /// For use without a layer: the limiter's mode is not asked, since it is the caller who acts;
    /// those of the policies are.
    #[must_use = "a refused request must be turned away by the caller"]
    pub fn check<'a>(&self, ask: impl Into<Ask<'a>>) -> Decision {
        let rules = self.0.rules.load();
        Decision::new(self, &rules, &self.judge(&rules, ask.into().into(), Mode::Enforce))
    }

    /// Says what [`check`](Self::check) would, and counts nothing.
    #[must_use]
    pub fn peek<'a>(&self, ask: impl Into<Ask<'a>>) -> Decision {
        let (ask, rules) = (ask.into(), self.0.rules.load());
        let mut judgement = Judgement::new(self.now(), ask.cost);
        for (place, (limit, rules)) in self.0.limits.iter().zip(&**rules).enumerate() {
            let Some(key) = ask.keys.get(place) else { continue };
            let mode = limit.switch.mode(|| Some(key));
            if mode != Mode::Off {
                limit.peek(&mut judgement, place, rules, key, ask.tier, mode == Mode::Enforce);
            }
        }
        Decision::new(self, &rules, &judgement)
    }

    /// Spends the cost now and corrects it later, once the true one is known.
    ///
    /// # Errors
    ///
    /// If the estimated cost is not within the quotas.
    pub fn reserve<'a>(&self, ask: impl Into<Ask<'a>>) -> Result<Reservation, Decision> {
        let (ask, rules) = (ask.into(), self.0.rules.load());
        let judgement = self.judge(&rules, ask.into(), Mode::Enforce);
        match judgement.verdict {
            Verdict::Admitted => Ok(self.reservation(&rules, ask.keys, &judgement)),
            _ => Err(Decision::new(self, &rules, &judgement)),
        }
    }

    /// Gives back what a request has spent, as for one that failed through no fault of the caller.
    pub fn refund<'a>(&self, ask: impl Into<Ask<'a>>) {
        self.correct(ask.into(), |limit, key, now, rate, cost| {
            limit.refund(key, now, rate, cost);
        });
    }

    /// Spends the cost, whether it is within the quotas or not; an exhausted key stays exhausted.
    pub fn charge<'a>(&self, ask: impl Into<Ask<'a>>) {
        self.correct(ask.into(), Limit::charge);
    }

    fn correct(&self, ask: Ask<'_>, correct: impl Fn(&Limit, Key, u64, Rate, u32)) {
        let (now, rules) = (self.now(), self.0.rules.load());
        for (place, (limit, rules)) in self.0.limits.iter().zip(&**rules).enumerate() {
            if let Some(key) = ask.keys.get(place) {
                correct(limit, key, now, rules.grade(ask.tier).1.rate, ask.cost);
            }
        }
    }

    /// The switch of one policy: it can be off, or in shadow, while others act.
    #[must_use]
    pub fn policy_switch(&self, policy: &str) -> Option<&Switch> {
        self.0.limits.iter().find(|limit| *limit.name == *policy).map(|limit| &limit.switch)
    }

    /// The settings as they stand.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let policies = self.0.policies().into_iter();
        Settings {
            policies: policies.map(|policy| (policy.name.to_string(), policy.settings)).collect(),
        }
    }

    /// Judges a request by every policy, all or nothing: what it spent is given back if one refuses.
    // Not left to the optimiser: as a call it costs 30 instructions more per request.
    #[inline(always)]
    pub(crate) fn judge<K: PolicyKeys>(
        &self,
        rules: &[Rules],
        asked: Asked<'_, K>,
        mode: Mode,
    ) -> Judgement {
        let mut judgement = Judgement::new(self.now(), asked.cost);
        for (place, (limit, rules)) in self.0.limits.iter().zip(rules).enumerate() {
            let key = asked.keys.get(place);
            let enforces = match limit.switch.mode(|| key) {
                Mode::Off => continue,
                own => own == Mode::Enforce && mode == Mode::Enforce,
            };
            let key = key.or_else(|| limit.without_key(&mut judgement, asked.unkeyed, enforces));
            let Some(key) = key else { continue };
            if judgement.verdict != Verdict::Admitted {
                limit.peek(&mut judgement, place, rules, key, asked.tier, enforces);
                continue;
            }
            let (tier, grade) = rules.grade(asked.tier);
            judgement.note(place, tier, enforces);
            match limit.take(key, judgement.now, &grade.rate, asked.cost) {
                Ok(arrival) => {
                    judgement.arrivals[place] = arrival;
                    judgement.taken.add(place);
                }
                Err((arrival, why)) => limit.exceed(&mut judgement, place, arrival, why),
            }
        }
        if judgement.verdict != Verdict::Admitted {
            self.give_back(rules, asked.keys, &mut judgement);
        }
        judgement
    }

    /// Returns what the policies took from a request that another one refuses.
    #[cold]
    fn give_back(&self, rules: &[Rules], keys: impl PolicyKeys, judgement: &mut Judgement) {
        for place in judgement.taken.iter() {
            let limit = self.limit(place);
            let rate = rules[place].at(judgement.grades[place]).rate;
            let key = keys.get(place).unwrap_or(SHARED_KEY);
            limit.figures.count(&limit.name, Count::GivenBack);
            judgement.arrivals[place] = limit.refund(key, judgement.now, rate, judgement.cost);
        }
    }

    pub(crate) fn reservation(
        &self,
        rules: &[Rules],
        keys: impl PolicyKeys,
        judgement: &Judgement,
    ) -> Reservation {
        let keys = std::array::from_fn(|place| keys.get(place).unwrap_or(SHARED_KEY));
        Reservation::new(Box::new(self.clone()), judgement.spent(rules, &keys), judgement.cost)
    }

    /// Time since the limiter's origin, in nanoseconds.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.0.clock.now().as_nanos().saturating_sub(self.0.origin)
    }

    pub(crate) fn rules(&self) -> &Live<RuleBook> {
        &self.0.rules
    }

    pub(crate) fn limits(&self) -> &[Limit] {
        &self.0.limits
    }

    /// The policy at a place that a judgement has named.
    #[inline]
    pub(crate) fn limit(&self, place: usize) -> &Limit {
        &self.0.limits[place]
    }
}

impl Ledger for RateLimiter {
    fn correct(&self, place: usize, spent: &Spent, units: i64) {
        let (limit, now) = (self.limit(place), self.now());
        if limit.is_flat() {
            return;
        }
        let rate = self.0.rules.load()[place].beside(spent.rate);
        let cost = u32::try_from(units.unsigned_abs()).unwrap_or(u32::MAX);
        if units < 0 {
            limit.refund(spent.key, now, rate, cost);
        } else {
            limit.charge(spent.key, now, rate, cost);
        }
    }
}

impl Engine for RateLimiter {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn kind(&self) -> &'static str {
        "rate_limit"
    }

    fn switch(&self) -> &Switch {
        &self.0.switch
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot::new(&*self.0.name, self.kind(), self.0.switch.setting().0);
        let now = self.now();
        self.0.limits.iter().fold(snapshot, |snapshot, limit| limit.add_to(snapshot, now))
    }

    fn current_settings(&self) -> Value {
        serde_json::to_value(self.settings()).unwrap_or_default()
    }

    /// Takes [`Settings`] as JSON. Keys keep what they have used, but nobody waits longer than an
    /// exhausted key of the new quota does, or of the longest tier's if there are several.
    fn apply(&self, settings: Value) -> Result<(), ConfigError> {
        let names = self.0.limits.iter().map(|limit| &*limit.name);
        let settings = Settings::from_json(settings, names)?;
        // Twice, if another operator comes between: both get their policies.
        self.0.rules.update(|rules| {
            let limits = self.0.limits.iter().zip(&**rules);
            let changed = limits.map(|(limit, rules)| {
                let given = settings.policies.get(&*limit.name);
                Rules::new(&limit.name, limit.is_flat(), given.unwrap_or(&rules.settings()))
            });
            changed.collect()
        });
        for limit in &self.0.limits {
            let settings = settings.policies.get(&*limit.name);
            if let Some(mode) = settings.and_then(|settings| settings.mode) {
                limit.switch.set(mode);
            }
        }
        tracing::info!(target: "bartizan::rate_limit", name = &*self.0.name, "settings applied");
        Ok(())
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("name", &self.0.name)
            .field("settings", &self.settings())
            .field("switch", &self.0.switch)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use serde_json::json;

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter(quota: &str) -> (RateLimiter, Clock) {
        let clock = Clock::manual();
        (RateLimiter::new(quota.parse().unwrap()).clock(clock.clone()), clock)
    }

    fn allowed(limiter: &RateLimiter, key: &str, tries: usize) -> usize {
        (0..tries).filter(|_| limiter.check(Key::of(key)).allowed).count()
    }

    #[test]
    fn the_burst_is_spent_and_comes_back_one_by_one() {
        let (limiter, clock) = limiter("60/min;burst=3");
        let first = limiter.check(Key::of("a"));
        assert_eq!((first.allowed, first.remaining, first.reset), (true, 2, SECOND));
        assert_eq!(allowed(&limiter, "a", 5), 2);
        let refused = limiter.check(Key::of("a"));
        assert_eq!((refused.retry_after, refused.reset), (Some(SECOND), 3 * SECOND));
        clock.advance(SECOND - Duration::from_nanos(1));
        assert_eq!(allowed(&limiter, "a", 1), 0);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(allowed(&limiter, "a", 5), 1);
        clock.advance(100 * SECOND);
        assert_eq!(allowed(&limiter, "a", 5), 3);
        assert_eq!(allowed(&limiter, "b", 5), 3);
    }

    #[test]
    fn settings_change_while_running() {
        let (limiter, clock) = limiter("1/day");
        let twin = limiter.clone();
        assert_eq!(allowed(&limiter, "a", 2), 1);
        assert_eq!(limiter.apply(json!({"quota": "0/s"})).unwrap_err().field(), "quota.limit");
        assert_eq!(limiter.settings().policies["default"].quota.to_string(), "1/day");

        limiter.apply(json!({"quota": "2/s"})).unwrap();
        // What was used stays used, but the day's wait is forgiven.
        assert_eq!(allowed(&twin, "a", 1), 0);
        clock.advance(SECOND / 2);
        assert_eq!(allowed(&twin, "a", 2), 1);
    }

    #[test]
    fn names_fit_into_fields() {
        let (limiter, _) = limiter("1/s");
        assert_eq!(limiter.named("für\n").name(), "f_r_");
    }

    fn several(policies: &[(&str, &str)]) -> (RateLimiter, Clock) {
        let clock = Clock::manual();
        let policies =
            policies.iter().map(|(name, quota)| Policy::new(name, quota.parse().unwrap()));
        (RateLimiter::with_policies(policies).unwrap().clock(clock.clone()), clock)
    }

    #[test]
    fn policies_are_judged_all_or_nothing() {
        let (limiter, clock) = several(&[("second", "2/s"), ("day", "3/day")]);
        assert_eq!(allowed(&limiter, "a", 5), 2);
        // The three refusals cost the day nothing.
        clock.advance(SECOND);
        assert_eq!(allowed(&limiter, "a", 5), 1);
        let refused = limiter.check(Key::of("a"));
        assert_eq!((&*refused.policy, refused.remaining), ("day", 0));
        assert_eq!(refused.retry_after, Some(Duration::from_secs(28_800) - SECOND));
        // And the day's refusals cost the second nothing.
        limiter.policy_switch("day").unwrap().set(Mode::Off);
        assert_eq!(allowed(&limiter, "a", 5), 1);
        let snapshot = limiter.snapshot();
        let figure = |policy, outcome| {
            snapshot.value_of("bartizan_rate_limit_decisions_total", policy, outcome).unwrap()
        };
        assert_eq!(figure("day", "admitted"), 3.0);
        assert_eq!(figure("second", "admitted") - figure("second", "given_back"), 4.0);
    }

    #[test]
    fn policies_have_keys_of_their_own() {
        let (limiter, _) = several(&[("address", "2/s"), ("caller", "9/s")]);
        let ask =
            |address: &str, caller: &str| Ask::each([address, caller].map(|k| Some(Key::of(k))));
        assert!(limiter.check(ask("x", "ann")).allowed);
        assert!(limiter.check(ask("x", "bob")).allowed);
        assert!(!limiter.check(ask("x", "ann")).allowed);
        assert_eq!(limiter.peek(ask("y", "ann")).remaining, 8);
        // What the refused request took of the caller's was given back.
        assert_eq!(limiter.peek(Ask::each([None, Some(Key::of("ann"))])).remaining, 8);
    }

    #[test]
    fn costs_are_spent_refunded_charged_and_settled() {
        let (limiter, _) = limiter("100/min");
        let key = Key::of("a");
        assert_eq!(limiter.check(Ask::new(key).cost(30)).remaining, 70);
        assert_eq!(limiter.peek(key).remaining, 70);
        limiter.refund(Ask::new(key).cost(10));
        assert_eq!(limiter.peek(key).remaining, 80);
        limiter.charge(Ask::new(key).cost(20));
        assert_eq!(limiter.peek(key).remaining, 60);

        let never = limiter.check(Ask::new(key).cost(101));
        assert_eq!((never.allowed, never.retry_after), (false, None));
        let later = limiter.check(Ask::new(key).cost(70));
        assert_eq!((later.allowed, later.retry_after), (false, Some(6 * SECOND)));
        assert_eq!(limiter.peek(key).remaining, 60);

        let reservation = limiter.reserve(Ask::new(key).cost(50)).unwrap();
        assert_eq!((reservation.cost(), limiter.peek(key).remaining), (50, 10));
        reservation.settle(20);
        reservation.clone().settle(0);
        assert_eq!(limiter.peek(key).remaining, 40);
        // The true cost may be more than there is: then the next requests wait.
        limiter.reserve(Ask::new(key).cost(1)).unwrap().settle(500);
        assert_eq!(limiter.peek(key).remaining, 0);
        assert_eq!(limiter.reserve(key).unwrap_err().retry_after, Some(SECOND * 6 / 10));
    }

    #[test]
    fn a_flat_policy_counts_requests_beside_one_that_counts_costs() {
        let policies = [
            Policy::new("requests", "3/min".parse().unwrap()).flat(),
            Policy::new("tokens", "1000/min".parse().unwrap()),
        ];
        let limiter = RateLimiter::with_policies(policies).unwrap().clock(Clock::manual());
        let ask = Ask::new(Key::of("a")).cost(300);
        for _ in 0..3 {
            limiter.reserve(ask).unwrap().settle(100);
        }
        let refused = limiter.check(ask);
        assert_eq!((refused.allowed, &*refused.policy), (false, "requests"));
    }

    #[test]
    fn a_tier_changes_the_quota_and_keeps_the_debt() {
        let policy = Policy::new("calls", "10/min".parse().unwrap());
        let policy = policy.tier("gold", "100/min".parse().unwrap());
        let limiter = RateLimiter::with_policies([policy]).unwrap().clock(Clock::manual());
        let gold = Ask::new(Key::of("a")).tier("gold");
        assert_eq!(limiter.check(gold.cost(60)).remaining, 40);
        // 36 seconds of debt are six of ten at ten a minute.
        assert_eq!(limiter.peek(Key::of("a")).remaining, 4);
        assert_eq!(limiter.peek(Ask::new(Key::of("a")).tier("unheard of")).remaining, 4);
        limiter.apply(json!({"quota": "10/min", "tiers": {"gold": "200/min"}})).unwrap();
        assert_eq!(limiter.peek(gold).remaining, 80);
    }

    fn of_two_tiers(base: &str, gold: &str) -> (RateLimiter, Clock) {
        let policy = Policy::new("calls", base.parse().unwrap());
        let policy = policy.tier("gold", gold.parse().unwrap());
        let clock = Clock::manual();
        (RateLimiter::with_policies([policy]).unwrap().clock(clock.clone()), clock)
    }

    #[test]
    fn a_tier_of_a_shorter_burst_forgives_no_debt_of_a_longer_one() {
        let (limiter, clock) = of_two_tiers("10/min;burst=1", "1000/min");
        let (base, key) = (Ask::new(Key::of("a")), Key::of("a"));
        let gold = base.tier("gold");
        let mut admitted = 0;
        for _ in 0..50 {
            while limiter.check(gold).allowed {
                admitted += 1;
            }
            assert!(!limiter.check(base).allowed);
            // What is free is allowed, and forgives nothing either.
            assert!(limiter.check(base.cost(0)).allowed);
            limiter.refund(base.cost(0));
            limiter.charge(base);
            assert!(limiter.reserve(base).is_err());
        }
        assert_eq!(admitted, 1000);
        // Whoever is told to wait for so long need not wait longer.
        let wait = limiter.check(base).retry_after.unwrap();
        assert_eq!(wait, 60 * SECOND);
        clock.advance(wait - Duration::from_nanos(1));
        assert!(!limiter.peek(key).allowed);
        clock.advance(Duration::from_nanos(1));
        assert!(limiter.check(key).allowed);
    }

    #[test]
    fn a_newcomer_to_a_full_set_waits_no_longer_than_the_quota_in_force() {
        let (limiter, clock) = limiter("1000/day;burst=1000");
        // Four slots, all of debts that the new quota would not let anyone have.
        let limiter = limiter.memory(0);
        for owner in 0..4_u8 {
            assert!(limiter.check(Ask::new(Key::of(&owner)).cost(900)).allowed);
        }
        limiter.apply(json!({"quota": "60/min"})).unwrap();
        let refused = limiter.check(Key::of("new"));
        assert_eq!(refused.retry_after, Some(SECOND));
        clock.advance(SECOND);
        assert!(limiter.check(Key::of("new")).allowed);
    }

    #[test]
    fn a_reservation_is_settled_by_the_quota_that_it_was_spent_of() {
        let (limiter, _) = of_two_tiers("60/min", "600/min");
        let gold = Ask::new(Key::of("a")).tier("gold");
        let reservation = limiter.reserve(gold.cost(300)).unwrap();
        // From here on another tier is the first by name.
        let tiers = json!({"early": "1/day", "gold": "600/min"});
        limiter.apply(json!({"quota": "60/min", "tiers": tiers})).unwrap();
        reservation.settle(200);
        assert_eq!(limiter.peek(gold).remaining, 400);
    }

    #[test]
    fn a_policy_in_shadow_says_what_it_would_refuse() {
        let (limiter, _) = several(&[("second", "9/s"), ("new", "1/s")]);
        limiter.policy_switch("new").unwrap().set(Mode::Shadow);
        assert_eq!(allowed(&limiter, "a", 5), 5);
        let decisions = "bartizan_rate_limit_decisions_total";
        assert_eq!(limiter.snapshot().value_of(decisions, "new", "shadow_refused"), Some(4.0));
        assert_eq!(&*limiter.check(Key::of("a")).policy, "second");
        limiter.apply(json!({"policies": {"new": {"quota": "1/s", "mode": "enforce"}}})).unwrap();
        assert_eq!(allowed(&limiter, "a", 5), 0);
    }

    #[test]
    fn policies_that_cannot_be_are_said_so() {
        let policies = |names: &[&str]| {
            let policies = names.iter().map(|name| Policy::new(name, "1/s".parse().unwrap()));
            RateLimiter::with_policies(policies).map(|_| ()).map_err(|error| error.to_string())
        };
        assert!(policies(&["a", "b", "c", "d"]).is_ok());
        assert!(policies(&[]).unwrap_err().contains("are 0"));
        assert!(policies(&["a", "b", "c", "d", "e"]).unwrap_err().contains("are 5"));
        assert!(policies(&["a", "a"]).unwrap_err().contains("two of the name `a`"));
    }

    #[test]
    fn a_clone_that_is_changed_becomes_a_limiter_of_its_own() {
        let (limiter, _) = limiter("2/s");
        let other = limiter.clone().named("other");
        assert_eq!((limiter.name(), other.name()), ("default", "other"));
        assert_eq!(allowed(&limiter, "a", 5) + allowed(&other, "a", 5), 4);
    }
}
