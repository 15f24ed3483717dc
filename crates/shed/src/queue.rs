use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;
use std::time::Duration;

use bartizan_core::Timestamp;
use slab::Slab;

use crate::Reason;
use crate::gate::Entry;

/// How long a request may wait.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Budget {
    /// While the queue empties now and then.
    pub(crate) calm: Duration,
    /// Whatever the queue does: who comes before others.
    pub(crate) patient: Duration,
    /// While it stands.
    pub(crate) standing: Duration,
    /// It stands if it has not been empty for so long.
    pub(crate) interval: Duration,
}

impl Budget {
    /// The same with no wait above `most`.
    pub(crate) fn within(self, most: Duration) -> Self {
        let Self { calm, patient, standing, interval } = self;
        let [calm, patient, standing] = [calm, patient, standing].map(|wait| wait.min(most));
        Self { calm, patient, standing, interval }
    }

    /// The most that somebody waits.
    pub(crate) const fn longest(&self, is_patient: bool) -> Duration {
        if is_patient { self.patient } else { self.calm }
    }
}

/// Requests that wait for a slot: by level, and within a level in order of arrival or, while the
/// queue stands, the last one first ("adaptive LIFO"), since the first one has hardly any time left.
///
/// Waits are bounded as CoDel (RFC 8289) bounds them, in the form that "Fail at Scale" (Maurer, 2015)
/// gives it: a long budget while the queue empties now and then, as bursts need it, and a short one
/// while it does not.
///
/// Pure: who waits in it polls, and is woken by the wakers that its methods return.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiters: Slab<Waiter>,
    /// By level, then by number.
    order: BTreeMap<(u16, u64), usize>,
    /// In order of arrival, with those who have gone since; the patient by themselves.
    ages: [VecDeque<(u64, usize)>; 2],
    next: u64,
    /// Since when it has not been empty, but for moments.
    busy_since: Timestamp,
    /// When it was last emptied.
    emptied: Timestamp,
}

#[derive(Debug)]
struct Waiter {
    level: u16,
    is_patient: bool,
    number: u64,
    since: Timestamp,
    deadline: Timestamp,
    verdict: Option<Result<Entry, Reason>>,
    waker: Waker,
}

/// Somebody who begins to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer {
    pub(crate) level: u16,
    pub(crate) is_patient: bool,
    /// Until then at the latest.
    pub(crate) deadline: Timestamp,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place(usize);

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Lets somebody wait. If there are `capacity` already, one of a
    /// worse level is sent away, or else this one.
    pub(crate) fn join(
        &mut self,
        now: Timestamp,
        newcomer: Newcomer,
        capacity: usize,
        budget: &Budget,
        woken: &mut Vec<Waker>,
    ) -> Option<Place> {
        let Newcomer { level, is_patient, deadline } = newcomer;
        if self.len() >= capacity {
            let (&(worst, number), &index) = self.order.last_key_value()?;
            if worst <= level {
                return None;
            }
            self.settle(now, (worst, number), index, Err(Reason::Queue), woken);
        }
        // In an overload, too, it runs empty now and then, for as long as it takes the next to come.
        if self.is_empty() && now.saturating_since(self.emptied) > budget.standing {
            self.busy_since = now;
        }
        let number = self.next;
        self.next += 1;
        let waiter = Waiter {
            level,
            is_patient,
            number,
            since: now,
            deadline,
            verdict: None,
            waker: noop(),
        };
        let index = self.waiters.insert(waiter);
        self.order.insert((level, number), index);
        self.ages[usize::from(!is_patient)].push_back((number, index));
        Some(Place(index))
    }

    /// Sends away whoever has waited too long.
    pub(crate) fn expire(&mut self, now: Timestamp, budget: &Budget, woken: &mut Vec<Waker>) {
        let allowed = if self.stands(now, budget) { budget.standing } else { budget.calm };
        for (kind, allowed) in [budget.patient, allowed].into_iter().enumerate() {
            while let Some(&(number, index)) = self.ages[kind].front() {
                if let Some(waiter) = self.waiting(index, number) {
                    let is_late = now >= waiter.deadline;
                    if !is_late && now.saturating_since(waiter.since) <= allowed {
                        break;
                    }
                    let reason = if is_late { Reason::Deadline } else { Reason::Queue };
                    self.settle(now, (waiter.level, number), index, Err(reason), woken);
                }
                self.ages[kind].pop_front();
            }
            // Those who have gone may not outnumber those who wait.
            if self.ages[kind].len() > 2 * self.len() + 32 {
                let waiters = &self.waiters;
                self.ages[kind].retain(|&(number, index)| is_waiting(waiters, index, number));
            }
        }
    }

    fn stands(&self, now: Timestamp, budget: &Budget) -> bool {
        !self.is_empty() && now.saturating_since(self.busy_since) >= budget.interval
    }

    /// Gives `entry` to whoever is next, or back if there is nobody.
    pub(crate) fn admit(
        &mut self,
        now: Timestamp,
        budget: &Budget,
        entry: Entry,
        woken: &mut Vec<Waker>,
    ) -> Result<(), Entry> {
        while let Some((&(level, first), &index)) = self.order.first_key_value() {
            // The patient have the time that it takes to be served in order.
            let is_patient = self.waiters.get(index).is_some_and(|waiter| waiter.is_patient);
            let next = if self.stands(now, budget) && !is_patient {
                self.order.range((level, first)..=(level, u64::MAX)).next_back()
            } else {
                None
            };
            let (key, index) = next.map_or(((level, first), index), |(&key, &index)| (key, index));
            let is_late = self.waiters.get(index).is_some_and(|waiter| now >= waiter.deadline);
            if is_late {
                self.settle(now, key, index, Err(Reason::Deadline), woken);
                continue;
            }
            self.settle(now, key, index, Ok(entry), woken);
            return Ok(());
        }
        Err(entry)
    }

    /// What has become of a waiter, who has gone if there is a verdict; else `waker` is woken when
    /// there is one.
    pub(crate) fn poll(&mut self, place: Place, waker: &Waker) -> Option<Result<Entry, Reason>> {
        let waiter = self.waiters.get_mut(place.0)?;
        if waiter.verdict.is_some() {
            return self.waiters.remove(place.0).verdict;
        }
        waiter.waker.clone_from(waker);
        None
    }

    /// Somebody goes away: the entry that was theirs, if they had been given one.
    pub(crate) fn leave(&mut self, now: Timestamp, place: Place) -> Option<Entry> {
        let waiter = self.waiters.try_remove(place.0)?;
        if waiter.verdict.is_none() {
            self.order.remove(&(waiter.level, waiter.number));
            self.note_empty(now);
        }
        waiter.verdict?.ok()
    }

    fn settle(
        &mut self,
        now: Timestamp,
        key: (u16, u64),
        index: usize,
        verdict: Result<Entry, Reason>,
        woken: &mut Vec<Waker>,
    ) {
        self.order.remove(&key);
        self.note_empty(now);
        if let Some(waiter) = self.waiters.get_mut(index) {
            waiter.verdict = Some(verdict);
            woken.push(std::mem::replace(&mut waiter.waker, noop()));
        }
    }

    fn note_empty(&mut self, now: Timestamp) {
        if self.is_empty() {
            self.emptied = now;
            self.ages.iter_mut().for_each(VecDeque::clear);
        }
    }

    fn waiting(&self, index: usize, number: u64) -> Option<&Waiter> {
        let waiter = self.waiters.get(index)?;
        (waiter.number == number && waiter.verdict.is_none()).then_some(waiter)
    }
}

fn is_waiting(waiters: &Slab<Waiter>, index: usize, number: u64) -> bool {
    waiters.get(index).is_some_and(|waiter| waiter.number == number && waiter.verdict.is_none())
}

/// Of who has not been polled yet.
fn noop() -> Waker {
    Waker::noop().clone()
}
