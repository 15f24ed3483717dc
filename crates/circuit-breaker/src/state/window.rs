/// The last outcomes, by count. Memory is fixed and every record takes constant time.
#[derive(Debug)]
pub(crate) struct Window {
    /// A ring; true is a failure.
    ring: Box<[bool]>,
    /// Where the next outcome goes; once the ring is full, also the oldest.
    next: usize,
    len: usize,
    failures: usize,
}

impl Window {
    /// Creates an empty window of `capacity` outcomes, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        let ring = vec![false; capacity.max(1)].into_boxed_slice();
        Self { ring, next: 0, len: 0, failures: 0 }
    }

    pub(crate) fn record(&mut self, failure: bool) {
        let capacity = self.ring.len();
        let Some(place) = self.ring.get_mut(self.next) else { return };
        let oldest = std::mem::replace(place, failure);
        if self.len == capacity {
            self.failures -= usize::from(oldest);
        } else {
            self.len += 1;
        }
        self.failures += usize::from(failure);
        self.next = if self.next + 1 == capacity { 0 } else { self.next + 1 };
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn failures(&self) -> usize {
        self.failures
    }

    pub(crate) const fn clear(&mut self) {
        // What the ring still holds is not read again: `len` says how much of it counts.
        (self.next, self.len, self.failures) = (0, 0, 0);
    }

    /// Changes the capacity and keeps the latest outcomes that fit.
    pub(crate) fn resize(&mut self, capacity: usize) {
        let old = self.ring.len();
        if capacity.max(1) == old {
            return;
        }
        let mut resized = Self::new(capacity);
        for age in (1..=self.len).rev() {
            if let Some(&failure) = self.ring.get((self.next + old - age) % old) {
                resized.record(failure);
            }
        }
        *self = resized;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_queue(
            capacity in 1_usize..40,
            resized in 1_usize..40,
            outcomes in prop::collection::vec(any::<bool>(), 0..2000),
            cut in 0_usize..2000,
        ) {
            let (mut window, mut queue) = (Window::new(capacity), VecDeque::new());
            let mut limit = capacity;
            for (index, &failure) in outcomes.iter().enumerate() {
                if index == cut {
                    limit = resized;
                    window.resize(limit);
                    while queue.len() > limit {
                        queue.pop_front();
                    }
                }
                window.record(failure);
                queue.push_back(failure);
                if queue.len() > limit {
                    queue.pop_front();
                }
                prop_assert_eq!(window.len(), queue.len());
                prop_assert_eq!(window.failures(), queue.iter().filter(|&&failed| failed).count());
            }
        }
    }

    #[test]
    fn cleared_window_starts_over() {
        let mut window = Window::new(2);
        (0..3).for_each(|_| window.record(true));
        window.clear();
        window.record(false);
        assert_eq!((window.len(), window.failures()), (1, 0));
    }
}
