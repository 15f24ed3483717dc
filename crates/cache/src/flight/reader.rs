//! A place among those who wait for a flight, or read of it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Sleep;

use super::{Flight, Stage};
use crate::body::BoxError;

/// A place in a flight: where its holder has read to, and how it is woken.
pub(crate) struct Reader {
    flight: Arc<Flight>,
    seat: usize,
    is_leader: bool,
    /// Runs while a slower reader of a body that is not stored leaves no room to go on.
    held_up: Option<Pin<Box<Sleep>>>,
}

impl Reader {
    pub(super) fn sit(flight: Arc<Flight>, is_leader: bool) -> Self {
        let seat = flight.state().stream.sit();
        Self { flight, seat, is_leader, held_up: None }
    }

    /// A place from the start of the body.
    pub(crate) fn follow(flight: Arc<Flight>) -> Self {
        Self::sit(flight, false)
    }

    pub(crate) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// Goes on until `look` finds something.
    fn wait<T>(
        &self,
        cx: &mut Context<'_>,
        mut look: impl FnMut(&Arc<Flight>) -> Poll<T>,
    ) -> Poll<T> {
        // What is there at once costs no registration.
        loop {
            if let Poll::Ready(found) = look(&self.flight) {
                return Poll::Ready(found);
            }
            if !self.flight.advance() {
                break;
            }
        }
        loop {
            // First this: whatever changes after it rings.
            self.flight.bell.register(self.seat, cx.waker());
            if let Poll::Ready(found) = look(&self.flight) {
                return Poll::Ready(found);
            }
            if !self.flight.advance() {
                return Poll::Pending;
            }
        }
    }

    /// Waits for what the answer's head decides.
    pub(crate) fn poll_stage(&self, cx: &mut Context<'_>) -> Poll<Stage> {
        self.wait(cx, |flight| match &flight.state().stage {
            Stage::Pending => Poll::Pending,
            stage => Poll::Ready(stage.clone()),
        })
    }

    /// Waits for the leader's own answer.
    ///
    /// # Panics
    ///
    /// If the service panicked while a follower polled it: there is no answer, and never will be.
    pub(crate) fn poll_answer<T: 'static>(&self, cx: &mut Context<'_>) -> Poll<T> {
        self.wait(cx, |flight| {
            let answer = flight.with_work(|slot| {
                let (work, _) = slot.as_mut().expect("the service panicked");
                let mut answer: Option<T> = None;
                work.as_mut().take(&mut answer);
                answer
            });
            answer.flatten().map_or(Poll::Pending, Poll::Ready)
        })
    }

    /// The next part of the body.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Poll::Ready(frame) = self.poll_next(cx) {
                self.held_up = None;
                return Poll::Ready(frame);
            }
            ready!(self.poll_held_up(cx));
            // The others have waited long enough.
            self.held_up = None;
            self.flight.with_stream(|stream| stream.cut_off_slowest(self.seat));
        }
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let seat = self.seat;
        self.wait(cx, |flight| {
            let mut state = flight.state();
            let frame = state.stream.read(seat);
            let made_room = frame.is_ready() && state.stream.trim();
            drop(state);
            if made_room {
                flight.bell.ring();
            }
            frame
        })
    }

    /// Ready if a slower reader has held this one up for as long as requests wait for each other.
    fn poll_held_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.flight.has_room() || tokio::runtime::Handle::try_current().is_err() {
            self.held_up = None;
            return Poll::Pending;
        }
        let wait = self.flight.cache().current_settings().wait();
        let held_up = self.held_up.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        held_up.as_mut().poll(cx)
    }

    /// Reads to the end beside the client, for what is read to be stored, or until it is not stored:
    /// others that read of it go on by themselves.
    pub(crate) fn drain(mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(std::future::poll_fn(move |cx| self.poll_drain(cx)));
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stage = ready!(self.poll_stage(cx));
        if matches!(stage, Stage::Open(_)) {
            while !self.flight.state().stream.is_passing()
                && let Some(Ok(_)) = ready!(self.poll_frame(cx))
            {}
        }
        Poll::Ready(())
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.flight.state().stream.is_at_end(self.seat)
    }

    /// The bytes that are still to be read, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.flight.state().stream.left(self.seat)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.flight.state();
        state.stream.leave(self.seat);
        state.stream.trim();
        let is_pending = matches!(state.stage, Stage::Pending);
        drop(state);
        // It may have been the one that was to go on. All are woken: the seat may be another's already.
        self.flight.bell.ring();
        // A leader that never began leaves nothing to wait for.
        if self.is_leader && is_pending && !self.flight.begun.load(SeqCst) {
            self.flight.fail();
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("flight", &self.flight).finish_non_exhaustive()
    }
}
