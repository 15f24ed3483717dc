use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bartizan_core::{Outcome, Protocol, Verdict};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::Slot;
use crate::rejection::rejection;
use crate::waiting::Waiting;

pin_project! {
    /// Response future of [`LoadShed`](crate::LoadShed).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, P, Req>
    where
        S: Service<Req>,
        P: Protocol<Req, S::Response, S::Error>,
    {
        #[pin]
        state: State<S, S::Future, P, Req, P::Response<Slot>, P::Error>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, P, Req, Out, E> {
        Admitted { #[pin] future: F, protocol: P, slot: Option<Slot>, until_head: bool },
        Refused { result: Option<Result<Out, E>> },
        // Boxed: who waits pays for it, and not every request's future by its size.
        Waiting { waiting: Box<Waiting<S, Req>>, protocol: P, until_head: bool },
    }
}

impl<S, P, Req> ResponseFuture<S, P, Req>
where
    S: Service<Req>,
    P: Protocol<Req, S::Response, S::Error>,
{
    #[inline]
    pub(crate) fn admitted(future: S::Future, protocol: P, slot: Slot, until_head: bool) -> Self {
        Self { state: State::Admitted { future, protocol, slot: Some(slot), until_head } }
    }

    pub(crate) fn refused(result: Result<P::Response<Slot>, P::Error>) -> Self {
        Self { state: State::Refused { result: Some(result) } }
    }

    pub(crate) fn waiting(waiting: Waiting<S, Req>, protocol: P, until_head: bool) -> Self {
        Self { state: State::Waiting { waiting: Box::new(waiting), protocol, until_head } }
    }

    /// A request that found no free slot: its refusal, or nothing if it has been admitted now. A function of
    /// its own, so that the others are not laid out for all that this needs.
    #[inline(never)]
    fn poll_full(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<<Self as Future>::Output>> {
        let mut state = self.project().state;
        let next = match state.as_mut().project() {
            StateProj::Admitted { .. } => return Poll::Ready(None),
            StateProj::Refused { result } => {
                return Poll::Ready(Some(result.take().expect("polled after completion")));
            }
            StateProj::Waiting { waiting, protocol, until_head } => {
                let (mut inner, request, slot) = ready!(waiting.poll(cx));
                match slot {
                    Ok(slot) => State::Admitted {
                        future: inner.call(request),
                        protocol: protocol.clone(),
                        slot: Some(slot),
                        until_head: *until_head,
                    },
                    Err(reason) => {
                        let dialect = protocol.dialect(&request);
                        let result = protocol.refuse(dialect, rejection(reason));
                        return Poll::Ready(Some(result));
                    }
                }
            }
        };
        state.set(next);
        Poll::Ready(None)
    }
}

impl<S, P, Req> Future for ResponseFuture<S, P, Req>
where
    S: Service<Req>,
    P: Protocol<Req, S::Response, S::Error>,
{
    type Output = Result<P::Response<Slot>, P::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            // A call that is cancelled drops its slot here.
            if let StateProj::Admitted { future, protocol, slot, until_head } =
                self.as_mut().project().state.project()
            {
                let result = ready!(future.poll(cx));
                let mut slot = slot.take().expect("polled after completion");
                slot.answered();
                if *until_head {
                    slot.release(at_head(protocol.judge(&result)));
                    slot = Slot::uncounted();
                }
                return Poll::Ready(protocol.deliver(result, slot));
            }
            if let Some(refused) = ready!(self.as_mut().poll_full(cx)) {
                return Poll::Ready(refused);
            }
        }
    }
}

/// What becomes of the body is not waited for.
fn at_head(verdict: Verdict) -> Outcome {
    if let Verdict::Known(outcome) = verdict { outcome } else { Outcome::Success }
}

impl<S, P, Req> fmt::Debug for ResponseFuture<S, P, Req>
where
    S: Service<Req>,
    P: Protocol<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
