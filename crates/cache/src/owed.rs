//! The purges that the store behind memory does not know of yet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bartizan_core::Key;

use crate::{Purge, StoreKey, What};

/// How many purges may be owed. One more, and all that is stored is purged in their place.
const MOST: usize = 1024;
/// How many are sent at once.
const BATCH: usize = 32;

/// A purge that is owed.
#[derive(Clone, Debug)]
pub(crate) struct Owing {
    pub(crate) purge: Purge,
    /// The resource that it names, to the store.
    pub(crate) resource: Option<StoreKey>,
    /// What it names, in this process.
    pub(crate) label: Option<Key>,
}

impl Owing {
    /// Whether it is of what has these labels, or is found there.
    pub(crate) fn names(&self, labels: &[Key], uri: &str) -> bool {
        match self.purge.what() {
            What::Prefix(prefix) => uri.starts_with(prefix),
            _ => self.label.is_none_or(|label| labels.contains(&label)),
        }
    }
}

/// What is owed, in the order in which it was purged.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    queue: Mutex<Queue>,
    count: AtomicUsize,
    at_work: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    owing: VecDeque<Owing>,
    /// How many of them are being sent.
    sent: usize,
}

impl Owed {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, owing: Owing) {
        let mut queue = self.queue();
        let sent = queue.sent;
        let is_all =
            |owing: &Owing| matches!(owing.purge.what(), What::All) && !owing.purge.is_soft();
        if queue.owing.len() > sent && queue.owing.back().is_some_and(is_all) {
            return;
        }
        if queue.owing.len() < MOST {
            queue.owing.push_back(owing);
        } else {
            queue.owing.truncate(sent);
            queue.owing.push_back(Owing { purge: Purge::all(), resource: None, label: None });
        }
        self.count.store(queue.owing.len(), SeqCst);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(SeqCst) == 0
    }

    /// All that is owed now.
    pub(crate) fn all(&self) -> Vec<Owing> {
        if self.is_empty() { Vec::new() } else { self.queue().owing.iter().cloned().collect() }
    }

    /// What is to be sent next.
    pub(crate) fn next(&self) -> Vec<Owing> {
        let mut queue = self.queue();
        queue.sent = queue.owing.len().min(BATCH);
        queue.owing.iter().take(queue.sent).cloned().collect()
    }

    /// The store knows of what was sent.
    pub(crate) fn settled(&self) {
        let mut queue = self.queue();
        let sent = std::mem::take(&mut queue.sent);
        queue.owing.drain(..sent);
        self.count.store(queue.owing.len(), SeqCst);
    }

    /// Begins to send it. False if that is being done, or there is nothing to send.
    pub(crate) fn begin(&self) -> bool {
        !self.is_empty() && !self.at_work.swap(true, SeqCst)
    }

    /// Nobody sends it any more.
    pub(crate) fn end(&self) {
        self.at_work.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(name: usize) -> Owing {
        Owing { purge: Purge::tag(name.to_string()), resource: None, label: Some(Key::of(&name)) }
    }

    fn names(owed: &Owed, label: usize) -> bool {
        owed.all().iter().any(|owing| owing.names(&[Key::of(&label)], "https://a.test/"))
    }

    #[test]
    fn what_does_not_fit_is_a_purge_of_all() {
        let owed = Owed::default();
        (0..MOST).for_each(|n| owed.push(tag(n)));
        assert_eq!(owed.next().len(), BATCH);
        assert!(names(&owed, MOST - 1) && !names(&owed, MOST));
        owed.push(tag(MOST));
        owed.push(tag(MOST + 1));
        // What is being sent, and all.
        assert_eq!(owed.all().len(), BATCH + 1);
        assert!(names(&owed, MOST) && names(&owed, MOST + 7));
        owed.settled();
        assert_eq!(owed.next().len(), 1);
        // What comes while all is being sent may come too late for it.
        owed.push(tag(0));
        owed.settled();
        assert!(names(&owed, 0) && !names(&owed, 1));
        owed.next();
        owed.settled();
        assert!(owed.is_empty() && !owed.begin());
    }

    #[test]
    fn a_soft_purge_of_all_stands_for_no_hard_one() {
        let owed = Owed::default();
        owed.push(Owing { purge: Purge::all().soft(), resource: None, label: None });
        owed.push(tag(0));
        assert_eq!(owed.all().len(), 2);
    }

    #[test]
    fn one_at_a_time_does_the_work() {
        let owed = Owed::default();
        owed.push(tag(0));
        assert!(owed.begin() && !owed.begin());
        owed.end();
        assert!(owed.begin());
    }
}
