use std::sync::Arc;

use bartizan_core::Key;
use bartizan_rate_limit::{Debts, StoreError};
use redis::{Cmd, Value};

use crate::lease::{Grant, Lease, Quota};
use crate::rate_limit::Inner;

/// What one policy asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// Its lease, if there is one.
    pub(crate) id: Option<Key>,
    pub(crate) quota: Quota,
    pub(crate) cost: u32,
    /// How many units to take if there are so many; at least the cost.
    pub(crate) lease: u32,
    /// Whether the lease waits for this request's answer.
    pub(crate) leads: bool,
    pub(crate) enforced: bool,
}

impl Item {
    /// What so many units move the arrival time on by, in nanoseconds.
    pub(crate) fn spend(&self, units: u32) -> i64 {
        self.quota.change(units.into())
    }
}

/// What is done about one policy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Ask(Item),
    Nothing,
    Refused,
    Spent(Item),
}

impl Step {
    pub(crate) const fn asked(&self) -> Option<&Item> {
        match self {
            Self::Ask(item) => Some(item),
            _ => None,
        }
    }
}

/// A request that is being judged by several policies, all or nothing: what it has of leases is put
/// back unless it ends well.
pub(crate) struct Errand {
    inner: Arc<Inner>,
    steps: [Step; 4],
    debts: Debts,
}

impl Errand {
    pub(crate) const fn new(inner: Arc<Inner>, steps: [Step; 4], debts: Debts) -> Self {
        Self { inner, steps, debts }
    }

    /// Ends it without asking, since a policy refuses.
    pub(crate) fn call_off(mut self, now: u64) -> Debts {
        self.undo(now);
        self.debts
    }

    /// Asks; `run` is of the policies that are asked, in their order.
    pub(crate) async fn run(mut self, run: Cmd) -> Result<Debts, StoreError> {
        let answer = self.inner.redis.run(&self.inner.script, &run).await?;
        self.settle(&answer).ok_or(StoreError::Garbled)
    }

    /// Takes the script's answer: how far ahead each key is, and bits by the place among those asked.
    fn settle(&mut self, answer: &[Value]) -> Option<Debts> {
        let asked = self.steps.iter().filter(|step| matches!(step, Step::Ask(_))).count();
        let [ahead @ .., Value::Int(bits)] = answer else { return None };
        if ahead.len() != asked || !ahead.iter().all(|value| matches!(value, Value::Int(0..))) {
            return None;
        }
        let now = self.inner.now();
        let mut blocked = false;
        let mut answers = ahead.iter().enumerate();
        for place in 0..self.steps.len() {
            let Step::Ask(item) = self.steps[place] else { continue };
            let Some((bit, Value::Int(ahead))) = answers.next() else { continue };
            let refuses = bits >> bit & 1 == 1;
            self.debts.refused |= u8::from(refuses) << place;
            blocked |= refuses && item.enforced;
            let grant = match bits >> (bit + 4) & 1 == 1 {
                true => Grant::Lease,
                false if refuses => Grant::None,
                false => Grant::Request,
            };
            self.debts.ahead[place] = self.told(item, grant, ahead.unsigned_abs(), now);
            self.steps[place] = Step::Nothing;
        }
        if blocked {
            self.undo(now);
        }
        self.steps = [Step::Nothing; 4];
        Some(self.debts)
    }

    /// Has the lease take note of the answer. Says how far ahead the key is, but for the lease.
    fn told(&self, item: Item, grant: Grant, ahead: u64, now: u64) -> u64 {
        // If the quota has changed in the meantime, what was leased is lost, and nobody gets more.
        let told = self.lease(item, |lease| {
            if item.leads {
                lease.told(now, (item.cost, item.lease), grant, ahead, fastrand::f64());
            } else {
                lease.overheard(now, ahead);
            }
            lease.ahead(now)
        });
        told.unwrap_or(ahead)
    }

    /// Puts everything back.
    fn undo(&mut self, now: u64) {
        for place in 0..self.steps.len() {
            let (item, spent) = match std::mem::replace(&mut self.steps[place], Step::Nothing) {
                Step::Ask(item) => (item, false),
                Step::Spent(item) => (item, true),
                Step::Nothing | Step::Refused => continue,
            };
            let ahead = self.lease(item, |lease| {
                if spent {
                    lease.put_back(item.cost);
                } else if item.leads {
                    lease.untold();
                }
                lease.ahead(now)
            });
            self.debts.ahead[place] = ahead.unwrap_or_default();
        }
    }

    fn lease<R>(&self, item: Item, f: impl FnOnce(&mut Lease) -> R) -> Option<R> {
        self.inner.leases.with(item.id?, item.quota, f)
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.undo(self.inner.now());
    }
}
