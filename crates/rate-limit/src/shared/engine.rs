use std::fmt;
use std::sync::Arc;

use bartizan_core::{ConfigError, Engine, Key, Mode, Snapshot, Switch};
use serde_json::Value;

use crate::ask::Asked;
use crate::judgement::Verdict;
use crate::observe::StoreFigures;
use crate::reservation::Ledger;
use crate::shared::judge::Asking;
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
        (decision, self.reservation(&asking))
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
                let (grade, _) = rules.grade(ask.tier);
                let units =
                    if self.limiter.limit(place).is_flat() { units.signum() } else { units };
                self.tell(place, key, grade, units);
            }
        }
    }

    fn tell(&self, place: usize, key: Key, grade: u8, units: i64) {
        let rate = self.limiter.rules().load()[place].at(grade).rate;
        let ration = Ration {
            policy: &self.limiter.limit(place).name,
            limiter: self.limiter.name(),
            key,
            interval: rate.interval(),
            burst: rate.burst(),
            cost: 0,
            enforced: true,
        };
        self.store.adjust(&ration, units);
    }

    pub(super) fn reservation(&self, asking: &Asking) -> Reservation {
        match asking.judgement.verdict {
            Verdict::Admitted => {
                let keys = std::array::from_fn(|place| {
                    asking.keys[place].filter(|_| asking.judgement.taken.has(place))
                });
                let (grades, cost) = (asking.judgement.grades, asking.judgement.cost);
                Reservation::new(Box::new(self.clone()), keys, grades, cost)
            }
            _ => Reservation::none(),
        }
    }
}

impl<T: Store> Ledger for SharedRateLimiter<T> {
    fn correct(&self, place: usize, key: Key, grade: u8, units: i64) {
        if !self.limiter.limit(place).is_flat() {
            self.tell(place, key, grade, units);
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
