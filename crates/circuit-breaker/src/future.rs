use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bartizan_core::Protocol;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::fallback::Fallback;
use crate::{Open, Permit};

pin_project! {
    /// Response future of [`CircuitBreak`](crate::CircuitBreak).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, P, F, Req>
    where
        S: Service<Req>,
        P: Protocol<Req, S::Response, S::Error>,
        F: Fallback<Req, S::Response, S::Error>,
    {
        #[pin]
        state: State<S::Future, F::Future, P, P::Dialect>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<A, B, P, D> {
        Admitted { #[pin] future: A, protocol: P, permit: Option<Permit> },
        Diverted { #[pin] future: B, protocol: P },
        Refused { protocol: P, dialect: D, open: Open },
    }
}

impl<S, P, F, Req> ResponseFuture<S, P, F, Req>
where
    S: Service<Req>,
    P: Protocol<Req, S::Response, S::Error>,
    F: Fallback<Req, S::Response, S::Error>,
{
    pub(crate) fn admitted(future: S::Future, protocol: P, permit: Permit) -> Self {
        Self { state: State::Admitted { future, protocol, permit: Some(permit) } }
    }

    pub(crate) fn diverted(future: F::Future, protocol: P) -> Self {
        Self { state: State::Diverted { future, protocol } }
    }

    /// The refusal is made when it is asked for, so that it is not moved about until then.
    pub(crate) fn refused(protocol: P, dialect: P::Dialect, open: Open) -> Self {
        Self { state: State::Refused { protocol, dialect, open } }
    }
}

impl<S, P, F, Req> Future for ResponseFuture<S, P, F, Req>
where
    S: Service<Req>,
    P: Protocol<Req, S::Response, S::Error>,
    F: Fallback<Req, S::Response, S::Error>,
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
            StateProj::Diverted { future, protocol } => {
                let result = ready!(future.poll(cx));
                Poll::Ready(protocol.deliver(result, Permit::uncounted()))
            }
            StateProj::Refused { protocol, dialect, open } => {
                Poll::Ready(protocol.refuse(*dialect, (*open).into()))
            }
        }
    }
}

impl<S, P, F, Req> fmt::Debug for ResponseFuture<S, P, F, Req>
where
    S: Service<Req>,
    P: Protocol<Req, S::Response, S::Error>,
    F: Fallback<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
