use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bartizan_core::{Http, HttpDialect, Protocol, Rejection, ResponseBody};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;

pin_project! {
    /// Response future of [`Auth`](crate::Auth) and [`Require`](crate::Require).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, R> {
        Admitted { #[pin] future: F },
        Refused { response: Option<Response<ResponseBody<R>>> },
    }
}

impl<F, R: Body> ResponseFuture<F, R> {
    #[inline]
    pub(crate) const fn admitted(future: F) -> Self {
        Self { state: State::Admitted { future } }
    }

    pub(crate) fn refused(http: &Http, dialect: HttpDialect, rejection: Rejection) -> Self {
        let refused: Result<_, Infallible> =
            Protocol::<Request<()>, Response<R>, Infallible>::refuse(http, dialect, rejection);
        let Ok(response) = refused;
        Self { state: State::Refused { response: Some(response) } }
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Admitted { future } => {
                let result = ready!(future.poll(cx));
                // Nobody asks how the exchange ends: there is nothing to judge it by.
                Poll::Ready(Protocol::<Request<()>, _, _>::deliver(&Http::new(), result, ()))
            }
            StateProj::Refused { response } => {
                Poll::Ready(Ok(response.take().expect("polled after completion")))
            }
        }
    }
}

impl<F, R> fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
