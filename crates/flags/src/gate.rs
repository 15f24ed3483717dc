//! A route that exists only while a flag is on.

mod behind;
mod otherwise;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bartizan_core::{Http, Protocol, Rejection};
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use http::{Request, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use self::behind::Behind;
pub use self::otherwise::{Otherwise, OtherwiseFuture, OtherwiseLayer};
use crate::engine::Flags;
use crate::{EvaluationContext, Flag, RequestFlags};

/// [`Layer`] that answers 404 while a flag is off for the request; or
/// [403](Self::forbidden), [410](Self::gone), [503](Self::unavailable), a
/// [redirect](Self::redirect), or what [another service](Self::otherwise) says.
///
/// While the flag is off for everyone, that is, without a rule, the answer does not wait for the
/// service behind it to be ready: that may be down. Whoever waits for it when the flag is turned off is
/// answered then. A request that overrides the flag is turned away as well, until the service is ready.
///
/// It answers without reading the request's body, and no cache keeps the answer, which would outlive
/// the flag. Put it on a router for all of its routes, or on one route alone.
///
/// Behind a [`FlagsLayer`](crate::FlagsLayer) of the same flags it asks what that has put in the
/// request, so that gate and handler agree; elsewhere it evaluates the flag with
/// [`EvaluationContext::from_request`].
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
///
/// use bartizan_flags::{Flag, Flags, GateLayer};
/// use bytes::Bytes;
/// use http::{Request, Response, StatusCode};
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, ServiceExt};
///
/// async fn handle(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
///     Ok(Response::new(Full::from("hello")))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Infallible> {
/// let gate = GateLayer::new(Flags::empty(), Flag::new("beta", false));
/// let service = ServiceBuilder::new().layer(gate).service_fn(handle);
///
/// let response = service.oneshot(Request::new(())).await?;
/// assert_eq!(response.status(), StatusCode::NOT_FOUND);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct GateLayer {
    flags: Flags,
    flag: Flag<bool>,
    protocol: Http,
    answer: Rejection,
}

impl GateLayer {
    /// Creates a layer that lets requests pass while `flag` is on.
    pub fn new(flags: Flags, flag: Flag<bool>) -> Self {
        // The status of a path that does not exist: a hidden feature should not announce itself.
        let answer = closed(StatusCode::NOT_FOUND, "not_found", "there is nothing here");
        Self { flags, flag, protocol: Http::new(), answer: answer.prepared() }
    }

    /// Answers 403: the route is there, but not for this caller.
    pub fn forbidden(self) -> Self {
        self.answer(closed(StatusCode::FORBIDDEN, "forbidden", "this is not open to the caller"))
    }

    /// Answers 410: the route was there, and will not be again.
    pub fn gone(self) -> Self {
        self.answer(closed(StatusCode::GONE, "gone", "this is no longer here"))
    }

    /// Answers 503 with `Retry-After`, in whole seconds, rounded up and at least 1.
    pub fn unavailable(self, retry_after: Duration) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let answer = closed(status, "unavailable", "this is switched off for a while");
        self.answer(answer.retry_after(retry_after))
    }

    /// Answers 307 with `Location`, so that the same request is made there.
    pub fn redirect(self, location: HeaderValue) -> Self {
        let status = StatusCode::TEMPORARY_REDIRECT;
        let answer = closed(status, "elsewhere", "this is elsewhere for now");
        self.answer(answer.field(LOCATION, location))
    }

    /// Lets another service answer. It is made ready only for the requests that it gets.
    pub fn otherwise<F>(self, service: F) -> OtherwiseLayer<F> {
        OtherwiseLayer::new(self.flags, self.flag, service)
    }

    fn answer(mut self, answer: Rejection) -> Self {
        self.answer = answer.prepared();
        self
    }

    /// Sets how a refusal is put in words.
    pub fn protocol(mut self, protocol: Http) -> Self {
        self.protocol = protocol;
        self
    }
}

fn closed(status: StatusCode, code: &'static str, detail: &'static str) -> Rejection {
    let no_store = HeaderValue::from_static("no-store");
    Rejection::new(status, code, detail).field(CACHE_CONTROL, no_store)
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Gate { inner: Behind::new(inner), gate: self.clone() }
    }
}

/// Middleware that turns requests away while a flag is off for them.
///
/// See [`GateLayer`] for examples.
#[derive(Clone, Debug)]
pub struct Gate<S> {
    inner: Behind<S>,
    gate: GateLayer,
}

impl<S, B, Res> Service<Request<B>> for Gate<S>
where
    S: Service<Request<B>, Response = Res>,
    Http: Protocol<Request<B>, Res, S::Error, Error = S::Error>,
{
    type Response = <Http as Protocol<Request<B>, Res, S::Error>>::Response<()>;
    type Error = S::Error;
    type Future = GateFuture<S::Future, B, Res, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(&self.gate.flags, &self.gate.flag, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let GateLayer { flags, flag, protocol, answer } = &self.gate;
        let state = match self.inner.ready().filter(|_| is_open(flags, flag, &request)) {
            Some(inner) => State::Open { future: inner.call(request), protocol: protocol.clone() },
            None => {
                let dialect = protocol.dialect(&request);
                State::Closed { result: Some(protocol.refuse(dialect, answer.clone())) }
            }
        };
        GateFuture { state }
    }
}

fn is_open<B>(flags: &Flags, flag: &Flag<bool>, request: &Request<B>) -> bool {
    match RequestFlags::of(flags, request) {
        Some(own) => own.get(flag),
        None => flag.get(flags, &EvaluationContext::from_request(request)),
    }
}

pin_project! {
    /// Response future of [`Gate`].
    #[must_use = "futures do nothing unless polled"]
    pub struct GateFuture<F, B, Res, E>
    where
        Http: Protocol<Request<B>, Res, E>,
    {
        #[pin]
        state: State<F, <Http as Protocol<Request<B>, Res, E>>::Response<()>, E>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, Out, E> {
        Open { #[pin] future: F, protocol: Http },
        Closed { result: Option<Result<Out, E>> },
    }
}

impl<F, B, Res, E> Future for GateFuture<F, B, Res, E>
where
    F: Future<Output = Result<Res, E>>,
    Http: Protocol<Request<B>, Res, E, Error = E>,
{
    type Output = Result<<Http as Protocol<Request<B>, Res, E>>::Response<()>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Open { future, protocol } => {
                let result = ready!(future.poll(cx));
                Poll::Ready(Protocol::<Request<B>, _, _>::deliver(protocol, result, ()))
            }
            StateProj::Closed { result } => {
                Poll::Ready(result.take().expect("polled after completion"))
            }
        }
    }
}

impl<F, B, Res, E> fmt::Debug for GateFuture<F, B, Res, E>
where
    Http: Protocol<Request<B>, Res, E>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateFuture").finish_non_exhaustive()
    }
}
