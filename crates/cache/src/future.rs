use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::CacheBody;
use crate::after::After;
use crate::body::BoxError;
use crate::flight::Reader;
use crate::leg::{Answer, Delivery};
use crate::service::{Next, Waiting};

pin_project! {
    /// Response future of [`Cache`](crate::Cache).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, R, B>
    where
        S: Service<Request<R>>,
    {
        #[pin]
        state: State<S::Future, S, R, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, R, B> {
        Forwarded { #[pin] future: F, after: Option<After> },
        Leading { reader: Option<Reader> },
        Ready { response: Option<Response<CacheBody<B>>> },
        Waiting { waiting: Box<Waiting<S, R>> },
    }
}

impl<S, R, B> ResponseFuture<S, R, B>
where
    S: Service<Request<R>>,
{
    #[inline]
    pub(crate) fn ready(response: Response<CacheBody<B>>) -> Self {
        Self { state: State::Ready { response: Some(response) } }
    }

    pub(crate) fn forwarded(future: S::Future, after: Option<After>) -> Self {
        Self { state: State::Forwarded { future, after } }
    }

    pub(crate) fn leading(reader: Reader) -> Self {
        Self { state: State::Leading { reader: Some(reader) } }
    }

    pub(crate) fn waiting(waiting: Waiting<S, R>) -> Self {
        Self { state: State::Waiting { waiting: Box::new(waiting) } }
    }
}

impl<S, R, B> Future for ResponseFuture<S, R, B>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Body,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<CacheBody<B>>, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Forwarded { future, after } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some(after) = after.take() {
                        after.conclude(&mut response);
                    }
                    return Poll::Ready(Ok(response.map(CacheBody::passed)));
                }
                StateProj::Leading { reader } => {
                    let waiting = reader.as_ref().expect("polled after completion");
                    let answer: Answer<B, S::Error> = ready!(waiting.poll_answer(cx));
                    let reader = reader.take();
                    return Poll::Ready(answer.map(|response| {
                        response.map(|delivery| match (delivery, reader) {
                            (Delivery::Own(body), _) => CacheBody::passed(body),
                            (Delivery::Stored(bytes), _) => CacheBody::stored(bytes),
                            (Delivery::Shared, Some(reader)) => CacheBody::shared(reader),
                            (Delivery::Unread, Some(reader)) => {
                                reader.drain();
                                CacheBody::stored(Bytes::new())
                            }
                            (Delivery::Shared | Delivery::Unread, None) => {
                                CacheBody::stored(Bytes::new())
                            }
                        })
                    }));
                }
                StateProj::Ready { response } => {
                    return Poll::Ready(Ok(response.take().expect("polled after completion")));
                }
                StateProj::Waiting { waiting } => ready!(waiting.poll(cx)),
            };
            match next {
                Next::Answer(response) => return Poll::Ready(Ok(response)),
                Next::Forward(future, after) => state.set(State::Forwarded { future, after }),
                Next::Lead(reader) => state.set(State::Leading { reader: Some(reader) }),
                // The waiting one waits on.
                Next::Wait(..) => {}
            }
        }
    }
}

impl<S, R, B> fmt::Debug for ResponseFuture<S, R, B>
where
    S: Service<Request<R>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
