use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Request;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::behind::Behind;
use super::is_open;
use crate::Flag;
use crate::engine::Flags;

/// [`Layer`] that lets another service answer while a flag is off for the request; made by
/// [`GateLayer::otherwise`](crate::GateLayer::otherwise).
#[derive(Clone)]
#[must_use]
pub struct OtherwiseLayer<F> {
    flags: Flags,
    flag: Flag<bool>,
    fallback: F,
}

impl<F> OtherwiseLayer<F> {
    pub(super) const fn new(flags: Flags, flag: Flag<bool>, fallback: F) -> Self {
        Self { flags, flag, fallback }
    }
}

impl<S, F: Clone> Layer<S> for OtherwiseLayer<F> {
    type Service = Otherwise<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Otherwise { inner: Behind::new(inner), layer: self.clone() }
    }
}

impl<F> fmt::Debug for OtherwiseLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherwiseLayer").field("flag", &self.flag).finish_non_exhaustive()
    }
}

/// Middleware that lets another service answer while a flag is off for the request.
///
/// See [`GateLayer`](crate::GateLayer).
#[derive(Clone)]
pub struct Otherwise<S, F> {
    inner: Behind<S>,
    layer: OtherwiseLayer<F>,
}

impl<S, F, B> Service<Request<B>> for Otherwise<S, F>
where
    S: Service<Request<B>>,
    F: Service<Request<B>, Response = S::Response, Error = S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = OtherwiseFuture<S::Future, F, Request<B>, F::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(&self.layer.flags, &self.layer.flag, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let OtherwiseLayer { flags, flag, fallback } = &self.layer;
        let state = match self.inner.ready().filter(|_| is_open(flags, flag, &request)) {
            Some(inner) => State::Open { future: inner.call(request) },
            None => State::Readying { call: Some((fallback.clone(), request)) },
        };
        OtherwiseFuture { state }
    }
}

impl<S, F> fmt::Debug for Otherwise<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otherwise").field("layer", &self.layer).finish_non_exhaustive()
    }
}

pin_project! {
    /// Response future of [`Otherwise`].
    #[must_use = "futures do nothing unless polled"]
    pub struct OtherwiseFuture<O, F, Req, C> {
        #[pin]
        state: State<O, F, Req, C>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<O, F, Req, C> {
        // The inner service answers.
        Open { #[pin] future: O },
        // The other one is being made ready.
        // ## Readying => (Closed | error)
        Readying { call: Option<(F, Req)> },
        // ## Closed => response
        Closed { #[pin] future: C },
    }
}

impl<O, F, Req> Future for OtherwiseFuture<O, F, Req, F::Future>
where
    F: Service<Req>,
    O: Future<Output = Result<F::Response, F::Error>>,
{
    type Output = Result<F::Response, F::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Open { future } => return future.poll(cx),
                StateProj::Closed { future } => return future.poll(cx),
                StateProj::Readying { call } => {
                    let (service, _) = call.as_mut().expect("polled after completion");
                    if let Err(error) = ready!(service.poll_ready(cx)) {
                        return Poll::Ready(Err(error));
                    }
                    let (mut service, request) = call.take().expect("it was there a moment ago");
                    let future = service.call(request);
                    state.set(State::Closed { future });
                }
            }
        }
    }
}

impl<O, F, Req, C> fmt::Debug for OtherwiseFuture<O, F, Req, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherwiseFuture").finish_non_exhaustive()
    }
}
