use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bartizan_core::{Clock, ConfigError, Key};
use bartizan_rate_limit::{Debts, Ration, Store, StoreError, Taking};
use redis::Cmd;
use tokio::runtime::Handle;

use crate::Redis;
use crate::client::Fault;
use crate::corrections::{Correction, Corrections};
use crate::errand::{Errand, Item, Step};
use crate::lease::{Answer, Lease, Quota};
use crate::leases::Leases;
use crate::script::Script;

/// Rate limits that all processes with one Redis count together. Clones share their leases.
///
/// See the [crate docs](crate) for an example.
#[derive(Clone)]
pub struct RateLimitStore(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) redis: Redis,
    pub(crate) clock: Clock,
    pub(crate) leases: Arc<Leases>,
    pub(crate) corrections: Corrections,
    pub(crate) script: Script,
    prefix: Box<str>,
    /// How many units a lease has at most; 1 for none.
    most: u32,
}

/// The most policies that one request is judged by.
const MAX_POLICIES: usize = 4;

/// Below this, a double holds every whole number.
const EXACT: u64 = 1 << 53;

impl RateLimitStore {
    /// Counts at `redis`, with one trip for each request, under keys that begin with `bartizan`.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self::build(redis, Clock::system(), "bartizan".into(), 1)
    }

    fn build(redis: Redis, clock: Clock, prefix: Box<str>, most: u32) -> Self {
        let leases = Arc::new(Leases::new());
        let corrections = Corrections::new(redis.clone(), clock.clone(), Arc::clone(&leases));
        let script = Script::new(include_str!("scripts/gcra.lua"));
        Self(Arc::new(Inner { redis, clock, leases, corrections, script, prefix, most }))
    }

    /// Takes up to `units` at a time from Redis and spends them here, so that busy keys make fewer
    /// trips: about one for each tenth of a second of a key's own rate, and of `units` at most.
    ///
    /// What is taken is spent at Redis before it is spent here, so all processes together never
    /// admit more than the quota in the long run; in a short window they may admit what is leased
    /// more than the quota and its burst. What is not spent within a second goes back.
    ///
    /// Before it is cloned or used: of one that is shared, this makes another.
    #[must_use]
    pub fn lease(self, units: u32) -> Self {
        let Inner { redis, clock, prefix, .. } = &*self.0;
        Self::build(redis.clone(), clock.clone(), prefix.clone(), units.max(1))
    }

    /// Sets what all keys at Redis begin with, so that several systems can use one server.
    ///
    /// Before it is cloned or used: of one that is shared, this makes another.
    ///
    /// # Errors
    ///
    /// If it is not printable ASCII, or has a brace, which a cluster reads otherwise.
    pub fn prefix(self, prefix: &str) -> Result<Self, ConfigError> {
        if !prefix.chars().all(|c| matches!(c, '!'..='~') && c != '{' && c != '}') {
            return Err(ConfigError::new(
                "redis.prefix",
                "has something else than printable ASCII, or a brace",
                "write letters, digits and `:`",
            ));
        }
        let Inner { redis, clock, most, .. } = &*self.0;
        Ok(Self::build(redis.clone(), clock.clone(), prefix.into(), *most))
    }

    /// Takes the time by which leases end from `clock`. What is owed goes by the server's own.
    ///
    /// Before it is cloned or used: of one that is shared, this makes another.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        let Inner { redis, prefix, most, .. } = &*self.0;
        Self::build(redis.clone(), clock, prefix.clone(), *most)
    }
}

impl Inner {
    /// What leases go by; nothing else does.
    pub(crate) fn now(&self) -> u64 {
        if self.most == 1 { 0 } else { self.clock.now().as_nanos() }
    }

    /// What can be said of a ration without a trip; how far ahead its key is, if that is `known`.
    fn step(&self, ration: &Ration<'_>, now: u64, known: &mut u64) -> Step {
        let quota = quota(ration);
        let Ration { cost, enforced, .. } = *ration;
        let mut item = Item { id: None, quota, cost, lease: cost, leads: false, enforced };
        if self.most == 1 {
            return Step::Ask(item);
        }
        let id = Key::of(&(ration.limiter, ration.policy, ration.key));
        let ask = |lease: &mut Lease| lease.ask(now, cost, self.most);
        let answer = self.leases.with(id, quota, ask).or_else(|| {
            let name = self.name(ration);
            let (answer, ended) = self.leases.open(id, quota, now, &name, ask)?;
            ended.into_iter().for_each(|ended| self.corrections.send(ended));
            self.corrections.leased();
            Some(answer)
        });
        let Some(answer) = answer else { return Step::Ask(item) };
        item.id = Some(id);
        match answer {
            Answer::Ask { units, leads } => Step::Ask(Item { lease: units, leads, ..item }),
            Answer::Refused(ahead) => {
                *known = ahead;
                Step::Refused
            }
            Answer::Spent(ahead) => {
                *known = ahead;
                Step::Spent(item)
            }
        }
    }

    /// The script's run for the policies that are asked.
    fn run(&self, rations: &[Ration<'_>], steps: &[Step]) -> Cmd {
        let asked = || steps.iter().filter_map(Step::asked);
        let mut run = self.script.run(asked().count());
        for (ration, _) in rations.iter().zip(steps).filter(|(_, step)| step.asked().is_some()) {
            run.arg(self.name(ration));
        }
        let (mut enforced, mut leased) = (0, false);
        for item in asked() {
            let Quota { capacity, longest, .. } = item.quota;
            run.arg(item.spend(item.cost)).arg(capacity).arg(longest);
            enforced = enforced * 10 + if item.enforced { 1 } else { 2 };
            leased |= item.lease > item.cost;
        }
        run.arg(enforced);
        if leased {
            for item in asked() {
                run.arg(item.spend(item.lease));
            }
        }
        run
    }

    /// Where the arrival time is kept. What is in braces chooses a cluster's slot: that of the
    /// caller, whatever the policies.
    fn name(&self, ration: &Ration<'_>) -> String {
        let Ration { limiter, policy, .. } = ration;
        let mut name = String::with_capacity(self.prefix.len() + limiter.len() + policy.len() + 48);
        name.push_str(&self.prefix);
        name.push_str(":{");
        for shift in (0..32).rev() {
            let digit = (ration.key.as_u128() >> (4 * shift)) as usize & 15;
            name.push(char::from(b"0123456789abcdef"[digit]));
        }
        name.push_str("}:");
        // The limiter's name ends at the next colon, so it can have none of its own.
        if limiter.contains([':', '%']) {
            name.push_str(&limiter.replace('%', "%25").replace(':', "%3A"));
        } else {
            name.push_str(limiter);
        }
        name.push(':');
        name.push_str(policy);
        name
    }
}

/// The quota in nanoseconds that a double can reckon with: the interval of those that take more than
/// a hundred days to come back is rounded up to 8, so that everything is a multiple of that.
fn quota(ration: &Ration<'_>) -> Quota {
    let (interval, burst) = (ration.interval.max(1), u64::from(ration.burst.max(1)));
    let interval = match interval.checked_mul(burst) {
        Some(capacity) if capacity < EXACT => interval,
        _ => interval.saturating_add(7) & !7,
    };
    let capacity = interval.saturating_mul(burst);
    Quota { interval, capacity, longest: ration.longest.max(capacity) }
}

impl Store for RateLimitStore {
    type Trip = Trip;

    fn take(&self, rations: &[Ration<'_>]) -> Taking<Trip> {
        let rations = &rations[..rations.len().min(MAX_POLICIES)];
        let now = self.0.now();
        let mut steps = [const { Step::Nothing }; MAX_POLICIES];
        let mut debts = Debts::default();
        let (mut asks, mut blocked) = (false, false);
        for (place, ration) in rations.iter().enumerate() {
            steps[place] = self.0.step(ration, now, &mut debts.ahead[place]);
            match steps[place] {
                Step::Ask(_) => asks = true,
                Step::Refused => {
                    debts.refused |= 1 << place;
                    blocked |= ration.enforced;
                }
                Step::Nothing | Step::Spent(_) => {}
            }
        }
        if !blocked && !asks {
            return Taking::Done(Ok(debts));
        }
        let errand = Errand::new(Arc::clone(&self.0), steps, debts);
        if blocked {
            return Taking::Done(Ok(errand.call_off(now)));
        }
        let run = self.0.run(rations, &steps);
        let leads = steps.iter().filter_map(Step::asked).any(|item| item.lease > item.cost);
        Taking::Trip(Trip { errand: Some(Box::pin(errand.run(run))), leads, sent: false })
    }

    fn adjust(&self, ration: &Ration<'_>, units: i64) {
        let quota = quota(ration);
        if self.0.most > 1 {
            let id = Key::of(&(ration.limiter, ration.policy, ration.key));
            let by = quota.change(units);
            self.0.leases.with(id, quota, |lease| lease.corrected(by));
        }
        let name = self.0.name(ration).into();
        self.0.corrections.send(Correction::new(name, quota, units));
    }
}

/// A question that is under way to Redis.
///
/// Boxed: beside a trip of tens of microseconds that is nothing, and it keeps the type small.
/// Dropped before it is done, what it took of leases is put back; what Redis has spent by then stays
/// spent. One that is to bring a lease is followed to its end all the same: the lease is for others
/// too.
#[must_use = "futures do nothing unless polled"]
pub struct Trip {
    /// Until it has ended.
    errand: Option<Running>,
    /// Whether it asks for more than the request costs.
    leads: bool,
    sent: bool,
}

type Running = Pin<Box<dyn Future<Output = Result<Debts, StoreError>> + Send>>;

impl Future for Trip {
    type Output = Result<Debts, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.sent = true;
        let errand = self.errand.as_mut().expect("polled after completion");
        let answer = ready!(errand.as_mut().poll(cx));
        self.errand = None;
        Poll::Ready(answer)
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        if let Some(errand) = self.errand.take_if(|_| self.leads && self.sent)
            && let Ok(runtime) = Handle::try_current()
        {
            // It ends by its deadline, and no key has two of them.
            runtime.spawn(errand);
        }
    }
}

impl fmt::Debug for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trip").finish_non_exhaustive()
    }
}

impl fmt::Debug for RateLimitStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitStore")
            .field("redis", &self.0.redis)
            .field("prefix", &self.0.prefix)
            .field("lease", &self.0.most)
            .finish_non_exhaustive()
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Garbled => Self::Garbled,
            Fault::Late => Self::Late,
            Fault::Unreachable => Self::Unreachable,
        }
    }
}
