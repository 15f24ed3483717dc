use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bartizan_core::Protocol;
use pin_project_lite::pin_project;

use crate::fields::Fields;

pin_project! {
    /// Response future of [`RateLimit`](crate::RateLimit).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, P, Req, Res, E>
    where
        P: Protocol<Req, Res, E>,
    {
        #[pin]
        state: State<F, P, P::Response<()>, P::Error>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, P, Out, E> {
        Admitted { #[pin] future: F, protocol: P, fields: Option<Fields> },
        Refused { result: Option<Result<Out, E>> },
    }
}

impl<F, P, Req, Res, E> ResponseFuture<F, P, Req, Res, E>
where
    P: Protocol<Req, Res, E>,
{
    pub(crate) const fn admitted(future: F, protocol: P, fields: Option<Fields>) -> Self {
        Self { state: State::Admitted { future, protocol, fields } }
    }

    pub(crate) const fn refused(result: Result<P::Response<()>, P::Error>) -> Self {
        Self { state: State::Refused { result: Some(result) } }
    }
}

impl<F, P, Req, Res, E> Future for ResponseFuture<F, P, Req, Res, E>
where
    F: Future<Output = Result<Res, E>>,
    P: Protocol<Req, Res, E>,
{
    type Output = Result<P::Response<()>, P::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Admitted { future, protocol, fields } => {
                let result = ready!(future.poll(cx));
                let Some(fields) = fields.take() else {
                    return Poll::Ready(protocol.deliver(result, ()));
                };
                let mut result = protocol.deliver(result, ());
                if let Ok(response) = &mut result {
                    protocol.annotate(response, |status, headers| fields.write(status, headers));
                }
                Poll::Ready(result)
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
