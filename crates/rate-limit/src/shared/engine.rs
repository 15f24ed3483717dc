use std::fmt;
use std::sync::Arc;

use bartizan_core::{ConfigError, Engine, Key, Mode, Snapshot, Switch};
use serde_json::Value;

use crate::ask::Asked;
use crate::judgement::Verdict;
use crate::observe::StoreFigures;
use crate::reservation::{Ledger, Spent};
use crate::rules::Rules;
use crate::shared::judge::Asking;
use crate::state::Rate;
use crate::{Ask, Decision, PolicyKeys, RateLimiter, Ration, Reservation, Store, Taking};

/// A [`RateLimiter`] whose counts are kept in a [`Store`] for several processes, which must use the
/// same names and quotas. Clones share all counts.
///
/// Switches, settings and figures are those of the process. While the store is away, each policy
/// does what its [`Outage`](crate::Outage) says.
#[derive(Clone)]
pub struct SharedRateLimiter<T> {
    pub(super) limiter: RateLimiter,
    pub(super) store: T,
    pub(super) figures: Arc<StoreFigures>,
}

impl<T: Store> SharedRateLimiter<T> {
    pub(crate) fn new(limiter: RateLimiter, store: T) -> Self {
        Self { limiter, store, figures: Arc::default() }
    }

    /// Counts a request and says whether it is within the quotas; as [`RateLimiter::check`], after
    /// at most one trip to the store.
    pub async fn check<'a>(&self, ask: impl Into<Ask<'a>>) -> Decision {
        self.decide(ask.into()).await.0
    }

    /// Spends the cost now and corrects it later, once the true one is known.
    ///
    /// # Errors
    ///
    /// If the estimated cost is not within the quotas.
    pub async fn reserve<'a>(&self, ask: impl Into<Ask<'a>>) -> Result<Reservation, Decision> {
        let (decision, reservation) = self.decide(ask.into()).await;
        if decision.allowed { Ok(reservation) } else { Err(decision) }
    }

    async fn decide(&self, ask: Ask<'_>) -> (Decision, Reservation) {
        let rules = self.limiter.rules().load_full();
        let (mut asking, taking) = self.ask(&rules, Asked::from(ask), Mode::Enforce);
        match taking {
            Some(Taking::Done(answer)) => self.conclude(&mut asking, &rules, answer, false),
            Some(Taking::Trip(trip)) => self.conclude(&mut asking, &rules, trip.await, true),
            None => {}
        }
        let decision = Decision::new(&self.limiter, &rules, &asking.judgement);
        (decision, self.reservation(&rules, &asking))
    }

    /// Gives back what a request has spent, if the store can be told.
    pub fn refund<'a>(&self, ask: impl Into<Ask<'a>>) {
        let ask = ask.into();
        self.adjust(ask, -i64::from(ask.cost));
    }

    /// Spends the cost, whether it is within the quotas or not, if the store can be told.
    pub fn charge<'a>(&self, ask: impl Into<Ask<'a>>) {
        let ask = ask.into();
        self.adjust(ask, ask.cost.into());
    }

    fn adjust(&self, ask: Ask<'_>, units: i64) {
        let rules = self.limiter.rules().load();
        for (place, rules) in rules.iter().enumerate() {
            if let Some(key) = ask.keys.get(place) {
                let rate = rules.grade(ask.tier).1.rate;
                let units =
                    if self.limiter.limit(place).is_flat() { units.signum() } else { units };
                self.tell(place, key, rate, units);
            }
        }
    }

    fn tell(&self, place: usize, key: Key, rate: Rate, units: i64) {
        let ration = Ration {
            policy: &self.limiter.limit(place).name,
            limiter: self.limiter.name(),
            key,
            interval: rate.interval(),
            burst: rate.burst(),
            longest: rate.longest(),
            cost: 0,
            enforced: true,
        };
        self.store.adjust(&ration, units);
    }

    pub(super) fn reservation(&self, rules: &[Rules], asking: &Asking) -> Reservation {
        let judgement = &asking.judgement;
        if judgement.verdict != Verdict::Admitted {
            return Reservation::none();
        }
        // What was spent here is settled here, though the store be back by then.
        let ledger: Box<dyn Ledger> = match judgement.is_local() {
            true => Box::new(self.limiter.clone()),
            false => Box::new(self.clone()),
        };
        let keys = asking.keys.map(|key| key.unwrap_or(Key::GLOBAL));
        Reservation::new(ledger, judgement.spent(rules, &keys), judgement.cost)
    }
}

impl<T: Store> Ledger for SharedRateLimiter<T> {
    fn correct(&self, place: usize, spent: &Spent, units: i64) {
        if !self.limiter.limit(place).is_flat() {
            let rate = self.limiter.rules().load()[place].beside(spent.rate);
            self.tell(place, spent.key, rate, units);
        }
    }
}

impl<T: Store> Engine for SharedRateLimiter<T> {
    fn name(&self) -> &str {
        self.limiter.name()
    }

    fn kind(&self) -> &'static str {
        self.limiter.kind()
    }

    fn switch(&self) -> &Switch {
        self.limiter.switch()
    }

    fn snapshot(&self) -> Snapshot {
        self.figures.add_to(self.limiter.snapshot())
    }

    fn current_settings(&self) -> Value {
        self.limiter.current_settings()
    }

    fn apply(&self, settings: Value) -> Result<(), ConfigError> {
        self.limiter.apply(settings)
    }
}

impl<T> fmt::Debug for SharedRateLimiter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRateLimiter").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}
