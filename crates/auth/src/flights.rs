//! One question for all who want the same answer at once.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ahash::RandomState;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// What is being asked, each by one of those who wait for it. When that one gives up, the next one
/// asks.
pub(crate) struct Flights<T>(Mutex<HashMap<[u8; 32], Arc<OnceCell<T>>, RandomState>>);

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::with_hasher(RandomState::new())))
    }
}

impl<T: Clone> Flights<T> {
    /// The answer to what `key` stands for: by `ask`, unless someone else is asking already.
    pub(crate) async fn join(&self, key: [u8; 32], ask: impl Future<Output = T>) -> T {
        let cell = Arc::clone(self.0.lock().entry(key).or_default());
        let seat = Seat { flights: self, key, cell: Some(cell) };
        let cell = seat.cell.as_ref().expect("it is there until it is dropped");
        cell.get_or_init(|| ask).await.clone()
    }
}

/// The place of one who waits.
struct Seat<'a, T> {
    flights: &'a Flights<T>,
    key: [u8; 32],
    cell: Option<Arc<OnceCell<T>>>,
}

impl<T> Drop for Seat<'_, T> {
    fn drop(&mut self) {
        let Some(cell) = self.cell.take() else { return };
        let mut flights = self.flights.0.lock();
        let Some(kept) = flights.get(&self.key).filter(|kept| Arc::ptr_eq(kept, &cell)) else {
            return;
        };
        let answered = cell.initialized();
        // Under the lock: of two that leave at once, the second sees that it is the last.
        drop(cell);
        // Whoever comes after the answer asks anew; whoever leaves last clears up.
        if answered || Arc::strong_count(kept) == 1 {
            flights.remove(&self.key);
        }
    }
}

impl<T> fmt::Debug for Flights<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("under_way", &self.0.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::task::{Context, Poll, Waker};
    use std::thread;

    use super::*;

    #[test]
    fn one_asks_and_the_next_one_if_it_gives_up() {
        let (flights, asked) = (Flights::default(), Cell::new(0));
        let mut cx = Context::from_waker(Waker::noop());
        let never = || async {
            asked.set(asked.get() + 1);
            pending::<u8>().await
        };
        let mut leader = Box::pin(flights.join([1; 32], never()));
        let mut second = Box::pin(flights.join([1; 32], never()));
        let mut third = pin!(flights.join([1; 32], ready(7)));
        assert!(leader.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        assert!(third.as_mut().poll(&mut cx).is_pending());
        assert_eq!(asked.get(), 1);
        drop(leader);
        assert!(second.as_mut().poll(&mut cx).is_pending());
        assert_eq!(asked.get(), 2, "it takes over");
        drop(second);
        assert_eq!(third.as_mut().poll(&mut cx), Poll::Ready(7));
        assert!(flights.0.lock().is_empty());
        let mut other = pin!(flights.join([1; 32], ready(8)));
        assert_eq!(other.as_mut().poll(&mut cx), Poll::Ready(8), "an answer is for its time");
        assert!(flights.0.lock().is_empty());
    }

    #[test]
    fn those_who_give_up_leave_nothing_behind() {
        let flights = Flights::<u8>::default();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            let mut both = [(); 2].map(|()| Box::pin(flights.join([1; 32], pending())));
            assert!(both.iter_mut().all(|one| one.as_mut().poll(&mut cx).is_pending()));
            assert_eq!(flights.0.lock().len(), 1);
            drop(both);
            assert!(flights.0.lock().is_empty());
        }
    }

    /// Two give up at the same moment: many times over, since it is about a moment.
    #[test]
    fn those_who_give_up_at_once_leave_nothing_behind() {
        const ROUNDS: u64 = 10_000;
        let flights = Flights::<u8>::default();
        let there = AtomicU64::new(0);
        // Until both are there, and are so for the `number`th time.
        let meet = |number: u64| {
            there.fetch_add(1, SeqCst);
            while there.load(SeqCst) < 2 * number {
                thread::yield_now();
            }
        };
        let (flights, meet) = (&flights, &meet);
        let mut left = [0, 1].map(|place| (place, 0));
        thread::scope(|scope| {
            for (place, left) in &mut left {
                scope.spawn(move || {
                    let mut cx = Context::from_waker(Waker::noop());
                    for round in 0..ROUNDS {
                        let mut one = Box::pin(flights.join([1; 32], pending()));
                        assert!(one.as_mut().poll(&mut cx).is_pending());
                        meet(3 * round + 1);
                        drop(one);
                        meet(3 * round + 2);
                        if *place == 0 {
                            *left += flights.0.lock().drain().count();
                        }
                        meet(3 * round + 3);
                    }
                });
            }
        });
        assert_eq!(left[0].1, 0);
    }
}
