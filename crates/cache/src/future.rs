use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::CacheBody;
use crate::exchange::Exchange;

pin_project! {
    /// Response future of [`Cache`](crate::Cache).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, B, E> {
        #[pin]
        state: State<F, B, E>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B, E> {
        Forwarded { #[pin] future: F, exchange: Option<Exchange> },
        Ready { result: Option<Result<Response<CacheBody<B>>, E>> },
    }
}

impl<F, B, E> ResponseFuture<F, B, E> {
    pub(crate) const fn forwarded(future: F, exchange: Option<Exchange>) -> Self {
        Self { state: State::Forwarded { future, exchange } }
    }

    pub(crate) const fn ready(result: Result<Response<CacheBody<B>>, E>) -> Self {
        Self { state: State::Ready { result: Some(result) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<CacheBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Forwarded { future, exchange } => {
                let response = ready!(future.poll(cx))?;
                Poll::Ready(Ok(match exchange.take() {
                    Some(exchange) => exchange.conclude(response),
                    None => response.map(CacheBody::passed),
                }))
            }
            StateProj::Ready { result } => {
                Poll::Ready(result.take().expect("polled after completion"))
            }
        }
    }
}

impl<F, B, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
