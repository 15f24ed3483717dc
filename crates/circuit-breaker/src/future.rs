use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bartizan_core::Protocol;
use pin_project_lite::pin_project;

use crate::Permit;

pin_project! {
    /// Response future of [`CircuitBreak`](crate::CircuitBreak).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, P, Req, Res, E>
    where
        P: Protocol<Req, Res, E>,
    {
        #[pin]
        state: State<F, P, P::Response<Permit>, P::Error>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, P, Out, E> {
        Admitted { #[pin] future: F, protocol: P, permit: Option<Permit> },
        Refused { result: Option<Result<Out, E>> },
    }
}

impl<F, P, Req, Res, E> ResponseFuture<F, P, Req, Res, E>
where
    P: Protocol<Req, Res, E>,
{
    pub(crate) fn admitted(future: F, protocol: P, permit: Permit) -> Self {
        Self { state: State::Admitted { future, protocol, permit: Some(permit) } }
    }

    pub(crate) fn refused(result: Result<P::Response<Permit>, P::Error>) -> Self {
        Self { state: State::Refused { result: Some(result) } }
    }
}

impl<F, P, Req, Res, E> Future for ResponseFuture<F, P, Req, Res, E>
where
    F: Future<Output = Result<Res, E>>,
    P: Protocol<Req, Res, E>,
{
    type Output = Result<P::Response<Permit>, P::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            // A call that is cancelled drops its permit here.
            StateProj::Admitted { future, protocol, permit } => {
                // Out of the future while it is polled: should that panic, the permit sees it,
                // also when whoever catches the panic drops this future later.
                let held = permit.take().expect("polled after completion");
                match future.poll(cx) {
                    Poll::Ready(result) => Poll::Ready(protocol.deliver(result, held)),
                    Poll::Pending => {
                        *permit = Some(held);
                        Poll::Pending
                    }
                }
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
