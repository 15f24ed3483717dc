//! One fetch for many waiters.
//!
//! A flight is a request that is on its way to the service, and its answer on the way back. Whoever
//! waits for it, or reads of it, drives it: no task is spawned, and it goes on as long as one of
//! them is there, be it the one that started it or not. What has come of the body is held until the
//! end, so that each reads at a pace of its own.
//!
//! ## Pending => (Open | Served | Unshared)
//! What the answer's head decides: its body is shared while it is stored; a stored response is the
//! answer; or the answer is for the leader alone.

mod reader;

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

use bartizan_core::Timestamp;
use http::HeaderMap;

pub(crate) use self::reader::Reader;
use crate::ResponseCache;
use crate::bell::Bell;
use crate::entry::Entry;
use crate::exchange::Fetch;
use crate::head::Head;
use crate::state;
use crate::stream::{End, Fill, Stream};

/// What is done to fetch an answer: the service's future, then its body.
pub(crate) trait Work: Send {
    /// Goes on. Ready if something changed.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, flight: &Arc<Flight>) -> Poll<()>;

    /// Moves the leader's own answer, if it is there, into an option of its type.
    fn take(self: Pin<&mut Self>, out: &mut dyn Any);
}

/// What the answer's head decided.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Pending,
    /// The answer's body is shared.
    Open(Arc<Head>),
    /// A stored response is the answer.
    Served(Arc<Entry>),
    /// The answer is for the leader alone, or there is none.
    Unshared,
}

/// `None` before it has begun, and after a panic. With the waker that it is given.
type Slot = Option<(Pin<Box<dyn Work>>, Waker)>;

pub(crate) struct Flight {
    pub(crate) fetch: Box<Fetch>,
    state: Mutex<State>,
    work: Mutex<Slot>,
    /// Whether there is, or was, any work: only the leader begins it.
    begun: AtomicBool,
    bell: Arc<Bell>,
    /// Whether somebody wanted to go on while another did.
    contended: AtomicBool,
    /// Whether it may be found among the flights.
    listed: AtomicBool,
}

struct State {
    stage: Stage,
    stream: Stream,
}

impl Flight {
    /// A flight that has not begun, and the leader's place in it.
    pub(crate) fn lead(fetch: Box<Fetch>) -> Reader {
        let stream = Stream::new(&fetch.cache);
        let state = Mutex::new(State { stage: Stage::Pending, stream });
        let flight = Self {
            fetch,
            state,
            work: Mutex::new(None),
            begun: AtomicBool::new(false),
            bell: Arc::default(),
            contended: AtomicBool::new(false),
            listed: AtomicBool::new(true),
        };
        Reader::sit(Arc::new(flight), true)
    }

    pub(crate) fn begin(&self, work: Pin<Box<dyn Work>>) {
        self.begun.store(true, SeqCst);
        let waker = Waker::from(Arc::clone(&self.bell));
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = Some((work, waker));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that panics runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cache(&self) -> &ResponseCache {
        &self.fetch.cache
    }

    /// Whether a request may wait for it: the answer is not known to be for others.
    pub(crate) fn may_be_joined(
        &self,
        headers: &HeaderMap,
        known: Option<&Head>,
        now: Timestamp,
    ) -> bool {
        if self.fetch.is_overtaken() {
            return false;
        }
        let state = self.state();
        match &state.stage {
            Stage::Pending => known.is_none_or(|head| head.vary.same(headers, &self.fetch.request)),
            Stage::Open(head) => {
                state.stream.is_whole()
                    && head.vary.matches(headers)
                    && state::is_for_others(&head.policy, now)
                    && !self.fetch.is_purged(&head.labels)
            }
            Stage::Served(_) | Stage::Unshared => false,
        }
    }

    /// Whether others wait for it beside the leader.
    pub(crate) fn has_followers(&self) -> bool {
        self.state().stream.seats() > 1
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.state().stage = stage;
        self.bell.ring();
    }

    /// The answer's head, if its body is shared.
    pub(crate) fn head(&self) -> Option<Arc<Head>> {
        match &self.state().stage {
            Stage::Open(head) => Some(Arc::clone(head)),
            Stage::Pending | Stage::Served(_) | Stage::Unshared => None,
        }
    }

    /// Begins the body, which is shared from now on.
    pub(crate) fn open(&self, fill: Fill) {
        let mut state = self.state();
        state.stage = Stage::Open(Arc::clone(&fill.head));
        state.stream.open(fill);
        drop(state);
        self.bell.ring();
    }

    /// Changes the stream, and wakes whoever reads of it.
    pub(crate) fn with_stream<T>(&self, change: impl FnOnce(&mut Stream) -> T) -> T {
        let changed = self.quietly(change);
        self.bell.ring();
        changed
    }

    /// Changes the stream before another change that wakes.
    pub(crate) fn quietly<T>(&self, change: impl FnOnce(&mut Stream) -> T) -> T {
        change(&mut self.state().stream)
    }

    /// Nobody joins it any more.
    pub(crate) fn leave(&self) {
        if self.listed.swap(false, SeqCst) {
            self.fetch.cache.flights().leave(self.fetch.keyed.key, self);
        }
    }

    /// A stored response is the answer after all.
    pub(crate) fn serve(&self, entry: &Arc<Entry>) {
        self.leave();
        self.set_stage(Stage::Served(Arc::clone(entry)));
    }

    /// Whether the slowest reader leaves room for more of the body.
    pub(crate) fn has_room(&self) -> bool {
        self.state().stream.has_room()
    }

    fn try_work(&self) -> Option<MutexGuard<'_, Slot>> {
        let attempt = || match self.work.try_lock() {
            Ok(work) => Some(work),
            Err(TryLockError::Poisoned(work)) => Some(work.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        attempt().or_else(|| {
            // Whoever is at work looks at this when it is done; it may just have been.
            self.contended.store(true, SeqCst);
            attempt()
        })
    }

    /// Looks at the work, unless somebody else does.
    fn with_work<T>(&self, look: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let found = look(&mut *self.try_work()?);
        self.ring_if_contended();
        Some(found)
    }

    /// Whoever wanted to go on meanwhile may do so now.
    fn ring_if_contended(&self) {
        if self.contended.swap(false, SeqCst) {
            self.bell.ring();
        }
    }

    /// Goes on with the work. False if there is nothing to do but wait.
    fn advance(self: &Arc<Self>) -> bool {
        let Some(mut slot) = self.try_work() else { return false };
        // Out of its place meanwhile: should it panic, nobody polls it again.
        let Some((mut work, waker)) = slot.take() else { return false };
        let bail = Bail(self);
        let changed = work.as_mut().poll(&mut Context::from_waker(&waker), self).is_ready();
        std::mem::forget(bail);
        *slot = Some((work, waker));
        drop(slot);
        self.ring_if_contended();
        changed
    }

    /// Nothing more will come.
    fn fail(&self) {
        let mut state = self.state();
        if matches!(state.stage, Stage::Pending) {
            state.stage = Stage::Unshared;
        }
        state.stream.end(End::Broken(None));
        drop(state);
        self.leave();
        self.bell.ring();
    }
}

/// Releases those who wait if the service panics.
struct Bail<'a>(&'a Flight);

impl Drop for Bail<'_> {
    fn drop(&mut self) {
        self.0.fail();
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.leave();
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(filled) = state.stream.abandon() {
            self.fetch.store(filled);
        }
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("stage", &self.state().stage).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::Empty;

    use super::*;
    use crate::decide::{Decision, Plan};
    use crate::rules::Rules;

    #[test]
    fn a_leader_that_goes_before_it_began_releases_who_waits_whoever_looks_at_the_work() {
        let (cache, rules) = (ResponseCache::new("test"), Arc::new(Rules::safe()));
        let plan = Plan { cache: &cache, rules: &rules, annotate: true };
        let Decision::Fetch { fetch, .. } =
            plan.decide(&Request::new(Empty::<bytes::Bytes>::new()))
        else {
            panic!("there is nothing stored")
        };
        let leader = Flight::lead(fetch);
        let flight = Arc::clone(leader.flight());
        // As a follower does for a moment, on another thread.
        let work = flight.try_work();
        drop(leader);
        drop(work);
        assert!(matches!(flight.state().stage, Stage::Unshared));
        assert!(!flight.listed.load(SeqCst));
    }
}
