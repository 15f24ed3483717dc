use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bartizan_core::Protocol;
use pin_project_lite::pin_project;

use crate::Slot;

pin_project! {
    /// Response future of [`LoadShed`](crate::LoadShed).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, P, Req, Res, E>
    where
        P: Protocol<Req, Res, E>,
    {
        #[pin]
        state: State<F, P, P::Response<Slot>, P::Error>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, P, Out, E> {
        Admitted { #[pin] future: F, protocol: P, slot: Option<Slot> },
        Refused { result: Option<Result<Out, E>> },
    }
}

impl<F, P, Req, Res, E> ResponseFuture<F, P, Req, Res, E>
where
    P: Protocol<Req, Res, E>,
{
    pub(crate) fn admitted(future: F, protocol: P, slot: Slot) -> Self {
        Self { state: State::Admitted { future, protocol, slot: Some(slot) } }
    }

    pub(crate) fn refused(result: Result<P::Response<Slot>, P::Error>) -> Self {
        Self { state: State::Refused { result: Some(result) } }
    }
}

impl<F, P, Req, Res, E> Future for ResponseFuture<F, P, Req, Res, E>
where
    F: Future<Output = Result<Res, E>>,
    P: Protocol<Req, Res, E>,
{
    type Output = Result<P::Response<Slot>, P::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            // A call that is cancelled drops its slot here.
            StateProj::Admitted { future, protocol, slot } => {
                let result = ready!(future.poll(cx));
                let mut slot = slot.take().expect("polled after completion");
                slot.answered();
                Poll::Ready(protocol.deliver(result, slot))
            }
            StateProj::Refused { result } => {
                Poll::Ready(result.take().expect("polled after completion"))
            }
        }
    }
}

impl<F, P, Req, Res, E> fmt::Debug for ResponseFuture<F, P, Req, Res, E>
where
    P: Protocol<Req, Res, E>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
