//! What is answered in place of a refusal.
//!
//! A fallback's answer is of the same type as the service's own. Where the service's body cannot
//! be made by hand, as hyper's `Incoming`, render the refusal itself by
//! [`Http::respond_with`](bartizan_core::Http::respond_with).

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::Open;

/// Answers a request that the breaker refuses.
pub trait Fallback<Req, Res, E> {
    /// Comes to the answer.
    type Future: Future<Output = Result<Res, E>>;

    /// Begins to answer.
    ///
    /// # Errors
    ///
    /// Hands the request back if it is to be refused as usual.
    fn answer(&self, open: Open, request: Req) -> Result<Self::Future, Req>;
}

/// Refuses every request as usual.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct NoFallback;

/// The future of an answer that never comes to be: it takes no room in those that could hold it.
pub struct Never<Output> {
    never: Infallible,
    output: PhantomData<fn() -> Output>,
}

impl<Output> Future for Never<Output> {
    type Output = Output;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Output> {
        match self.never {}
    }
}

impl<Output> fmt::Debug for Never<Output> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.never {}
    }
}

impl<Req, Res, E> Fallback<Req, Res, E> for NoFallback {
    type Future = Never<Result<Res, E>>;

    #[inline]
    fn answer(&self, _: Open, request: Req) -> Result<Self::Future, Req> {
        Err(request)
    }
}

/// Always answers the same; see
/// [`fallback_response`](crate::CircuitBreakerLayer::fallback_response).
#[derive(Clone, Debug)]
pub struct Fixed<Res>(pub(crate) Res);

impl<Req, Res: Clone, E> Fallback<Req, Res, E> for Fixed<Res> {
    type Future = Ready<Result<Res, E>>;

    fn answer(&self, _: Open, _: Req) -> Result<Self::Future, Req> {
        Ok(ready(Ok(self.0.clone())))
    }
}

/// Answers by a closure; see [`fallback_with`](crate::CircuitBreakerLayer::fallback_with).
#[derive(Clone)]
pub struct Respond<F>(pub(crate) F);

impl<F, Req, Res, E> Fallback<Req, Res, E> for Respond<F>
where
    F: Fn(&Req, Open) -> Option<Res>,
{
    type Future = Ready<Result<Res, E>>;

    fn answer(&self, open: Open, request: Req) -> Result<Self::Future, Req> {
        match (self.0)(&request, open) {
            Some(response) => Ok(ready(Ok(response))),
            None => Err(request),
        }
    }
}

impl<F> fmt::Debug for Respond<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Respond").finish_non_exhaustive()
    }
}

/// Asks another service; see [`fallback_service`](crate::CircuitBreakerLayer::fallback_service).
#[derive(Clone, Debug)]
pub struct Divert<T>(pub(crate) T);

impl<T, Req, Res, E> Fallback<Req, Res, E> for Divert<T>
where
    T: Service<Req, Response = Res, Error = E> + Clone,
{
    type Future = DivertFuture<T, Req>;

    fn answer(&self, _: Open, request: Req) -> Result<Self::Future, Req> {
        // A clone is not ready: it is made so in the future, so that nobody waits for a service
        // that is not asked.
        let state = DivertState::Waiting { service: self.0.clone(), request: Some(request) };
        Ok(DivertFuture { state })
    }
}

pin_project! {
    /// Waits until the other service is ready, and then for its answer.
    #[must_use = "futures do nothing unless polled"]
    pub struct DivertFuture<T, Req>
    where
        T: Service<Req>,
    {
        #[pin]
        state: DivertState<T, T::Future, Req>,
    }
}

pin_project! {
    #[project = DivertProj]
    enum DivertState<T, F, Req> {
        Waiting { service: T, request: Option<Req> },
        Asked { #[pin] future: F },
    }
}

impl<T, Req> Future for DivertFuture<T, Req>
where
    T: Service<Req>,
{
    type Output = Result<T::Response, T::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let future = match state.as_mut().project() {
                DivertProj::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    service.call(request.take().expect("polled after an error"))
                }
                DivertProj::Asked { future } => return future.poll(cx),
            };
            state.set(DivertState::Asked { future });
        }
    }
}

impl<T: Service<Req>, Req> fmt::Debug for DivertFuture<T, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DivertFuture").finish_non_exhaustive()
    }
}
