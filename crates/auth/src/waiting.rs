use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bartizan_core::ResponseBody;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::admit::Admission;
use crate::identify::Found;
use crate::scheme::Later;
use crate::{Authenticator, Decision, ResponseFuture};

pin_project! {
    /// Response future of [`Auth`](crate::Auth).
    #[must_use = "futures do nothing unless polled"]
    pub struct AuthFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, R>,
    }
}

pin_project! {
    /// ## Deciding => (Deciding | Decided)
    /// ## Decided => Decided
    #[project = StateProj]
    enum State<S, B, R>
    where
        S: Service<Request<B>>,
    {
        /// A scheme was asked that has to wait. Boxed, so that nobody else pays for the room.
        Deciding { waiting: Option<Box<Waiting<S, Request<B>>>> },
        /// The request was let in or refused. The service's own 401 gets the challenges if nobody
        /// knows who calls: it may want to.
        Decided { #[pin] future: ResponseFuture<S::Future, R>, unknown: Option<Authenticator> },
    }
}

struct Waiting<S, Req> {
    found: Later<Found>,
    inner: S,
    request: Req,
    admission: Admission,
}

impl<S, B, R> AuthFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    pub(crate) fn waiting(
        found: Later<Found>,
        inner: S,
        request: Request<B>,
        admission: Admission,
    ) -> Self {
        let waiting = Some(Box::new(Waiting { found, inner, request, admission }));
        Self { state: State::Deciding { waiting } }
    }

    pub(crate) fn proceed(
        inner: &mut S,
        request: Request<B>,
        admission: &Admission,
        decision: Decision,
    ) -> Self {
        Self { state: State::proceed(inner, request, admission, decision) }
    }
}

impl<S, B, R> State<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    /// Calls `inner` or refuses, as was decided.
    fn proceed(
        inner: &mut S,
        mut request: Request<B>,
        admission: &Admission,
        decision: Decision,
    ) -> Self {
        let unknown =
            matches!(decision, Decision::Anonymous).then(|| admission.authenticator.clone());
        let future = match admission.admit::<_, R, S::Error>(&mut request, decision) {
            Ok(()) => ResponseFuture::admitted(inner.call(request)),
            Err((dialect, rejection)) => {
                ResponseFuture::refused(&admission.http, dialect, *rejection)
            }
        };
        Self::Decided { future, unknown }
    }
}

impl<S, B, R> Future for AuthFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Deciding { waiting: slot } => {
                    let waiting = slot.as_mut().expect("a decision is made once");
                    let found = ready!(waiting.found.as_mut().poll(cx));
                    let waiting = slot.take().expect("a decision is made once");
                    let Waiting { mut inner, request, admission, .. } = *waiting;
                    let asked = admission.asked(&request);
                    let decision = admission.authenticator.settle(&asked, found);
                    State::proceed(&mut inner, request, &admission, decision)
                }
                StateProj::Decided { future, unknown } => {
                    let mut result = ready!(future.poll(cx));
                    if let (Some(authenticator), Ok(response)) = (unknown, &mut result) {
                        authenticator.complete(response);
                    }
                    return Poll::Ready(result);
                }
            };
            state.set(next);
        }
    }
}

impl<S, B, R> fmt::Debug for AuthFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthFuture").finish_non_exhaustive()
    }
}
