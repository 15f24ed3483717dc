use std::task::{Context, Poll};

use bartizan_core::{Http, Protocol};
use tower_service::Service;

use crate::fallback::{Fallback, NoFallback};
use crate::guard::Guard;
use crate::{CircuitBreaker, Open, ResponseFuture};

/// Middleware that makes no calls while its [`CircuitBreaker`] is open.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
pub struct CircuitBreak<S, G = CircuitBreaker, P = Http, F = NoFallback> {
    pub(crate) inner: S,
    pub(crate) guard: G,
    pub(crate) protocol: P,
    pub(crate) fallback: F,
    /// Ready only to refuse: the inner service is not.
    pub(crate) stalled: Option<Open>,
}

impl<S, G, P, F, Req> Service<Req> for CircuitBreak<S, G, P, F>
where
    S: Service<Req>,
    G: Guard<Req>,
    P: Protocol<Req, S::Response, S::Error>,
    F: Fallback<Req, S::Response, S::Error>,
{
    type Response = P::Response<crate::Permit>;
    type Error = P::Error;
    type Future = ResponseFuture<S, P, F, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The permit is taken in `call`: a clone that is ready but idle must not hold a probe.
        match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) => {
                self.stalled = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                self.guard.unready();
                Poll::Ready(Err(self.protocol.error(error)))
            }
            Poll::Pending => {
                // A refusal does not wait for the service that it spares.
                self.stalled = self.guard.refusal();
                if self.stalled.is_some() { Poll::Ready(Ok(())) } else { Poll::Pending }
            }
        }
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let admitted = match self.stalled.take() {
            None => self.guard.admit(&request),
            Some(open) => Err(open),
        };
        let open = match admitted {
            Ok(permit) => {
                let future = self.inner.call(request);
                return ResponseFuture::admitted(future, self.protocol.clone(), permit);
            }
            Err(open) => open,
        };
        match self.fallback.answer(open, request) {
            Ok(future) => ResponseFuture::diverted(future, self.protocol.clone()),
            Err(request) => {
                let dialect = self.protocol.dialect(&request);
                ResponseFuture::refused(self.protocol.clone(), dialect, open)
            }
        }
    }
}
