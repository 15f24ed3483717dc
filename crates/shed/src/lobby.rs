use std::sync::PoisonError;
use std::task::Waker;
use std::time::Duration;

use bartizan_core::Timestamp;

use crate::Reason;
use crate::gate::{Entry, Gate};
use crate::queue::{Budget, Newcomer, Place, Queue};
use crate::sync::Mutex;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;

/// The gate and those who wait before it. Only who waits, or leaves while somebody waits, takes the
/// queue's lock.
#[derive(Debug)]
pub(crate) struct Lobby {
    pub(crate) gate: Gate,
    queue: Mutex<Queue>,
    /// The parts of a [`Budget`], in nanoseconds.
    calm: AtomicU64,
    patient: AtomicU64,
    standing: AtomicU64,
    interval: AtomicU64,
}

impl Lobby {
    pub(crate) fn new(limit: u32, budget: Budget) -> Self {
        let nanos = |time: Duration| AtomicU64::new(time.as_nanos() as u64);
        Self {
            gate: Gate::new(limit),
            queue: Mutex::new(Queue::default()),
            calm: nanos(budget.calm),
            patient: nanos(budget.patient),
            standing: nanos(budget.standing),
            interval: nanos(budget.interval),
        }
    }

    pub(crate) fn budget(&self) -> Budget {
        let time = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Relaxed));
        Budget {
            calm: time(&self.calm),
            patient: time(&self.patient),
            standing: time(&self.standing),
            interval: time(&self.interval),
        }
    }

    pub(crate) fn set_budget(&self, budget: Budget) {
        self.calm.store(budget.calm.as_nanos() as u64, Relaxed);
        self.patient.store(budget.patient.as_nanos() as u64, Relaxed);
        self.standing.store(budget.standing.as_nanos() as u64, Relaxed);
        self.interval.store(budget.interval.as_nanos() as u64, Relaxed);
    }

    /// Leaves, and lets in whoever waits; `now` is asked for only then. Returns whether the place was
    /// one of the last, or waited for, and how many were let in.
    #[inline]
    pub(crate) fn exit(&self, now: impl FnOnce() -> Timestamp) -> (bool, u32) {
        let is_full = self.gate.exit();
        if self.gate.is_waited_for() { (true, self.serve(now())) } else { (is_full, 0) }
    }

    /// Lets in whoever waits, as far as there is room. Returns how many.
    #[inline(never)]
    pub(crate) fn serve(&self, now: Timestamp) -> u32 {
        self.with_queue(now, |_, _, _| {}).1
    }

    /// Begins to wait. `None` if the queue is full of those that matter as much.
    pub(crate) fn join(
        &self,
        now: Timestamp,
        newcomer: Newcomer,
        capacity: usize,
    ) -> (Option<Place>, u32) {
        self.with_queue(now, |queue, budget, woken| {
            queue.join(now, newcomer, capacity, budget, woken)
        })
    }

    /// What has become of somebody who waits.
    pub(crate) fn poll(&self, place: Place, waker: &Waker) -> Option<Result<Entry, Reason>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).poll(place, waker)
    }

    /// Somebody does not wait any more. A slot that they were given meanwhile goes to the next.
    /// False if there was none.
    pub(crate) fn leave(&self, now: Timestamp, place: Place) -> bool {
        let entry = self.with_queue(now, |queue, _, _| queue.leave(now, place)).0;
        if entry.is_some() {
            self.exit(|| now);
        }
        entry.is_some()
    }

    fn with_queue<T>(
        &self,
        now: Timestamp,
        change: impl FnOnce(&mut Queue, &Budget, &mut Vec<Waker>) -> T,
    ) -> (T, u32) {
        let (budget, mut woken, mut served) = (self.budget(), Vec::new(), 0);
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.expire(now, &budget, &mut woken);
        let result = change(&mut queue, &budget, &mut woken);
        // First known to wait, then tried: see [`Gate`].
        self.gate.set_waiting(queue.len());
        while !queue.is_empty()
            && let Some(entry) = self.gate.enter()
        {
            if queue.admit(now, &budget, entry, &mut woken).is_err() {
                self.gate.exit();
                break;
            }
            served += 1;
        }
        self.gate.set_waiting(queue.len());
        drop(queue);
        // Wakers run code that is not ours.
        woken.into_iter().for_each(Waker::wake);
        (result, served)
    }
}
