//! Whom to wake.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// The wakers of those who wait for a flight, by their seats. Apart from the flight: whoever keeps
/// the service's waker must not keep the service's future alive by it, or that would keep itself.
#[derive(Debug, Default)]
pub(crate) struct Bell(Mutex<Vec<Option<Waker>>>);

impl Bell {
    pub(crate) fn register(&self, seat: usize, waker: &Waker) {
        let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wakers.len() <= seat {
            wakers.resize(seat + 1, None);
        }
        match &mut wakers[seat] {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Wakes all.
    pub(crate) fn ring(&self) {
        let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One is the usual case: a table of its own would be an allocation.
        if let [only] = &mut wakers[..] {
            let only = only.take();
            drop(wakers);
            only.into_iter().for_each(Waker::wake);
            return;
        }
        let all = std::mem::take(&mut *wakers);
        drop(wakers);
        all.into_iter().flatten().for_each(Waker::wake);
    }
}

/// The service's waker wakes all who wait.
impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn each_is_woken_once() {
        let counts: Vec<_> = (0..3).map(|_| Arc::new(Count::default())).collect();
        let bell = Bell::default();
        for (seat, count) in counts.iter().enumerate() {
            bell.register(seat, &Waker::from(Arc::clone(count)));
            bell.register(seat, &Waker::from(Arc::clone(count)));
        }
        bell.ring();
        bell.ring();
        let woken: Vec<_> = counts.iter().map(|count| count.0.load(Relaxed)).collect();
        assert_eq!(woken, [1, 1, 1]);
    }
}
