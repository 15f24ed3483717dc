use std::task::{Context, Poll};

use bartizan_core::{Http, Protocol};
use tower_service::Service;

use crate::{CircuitBreaker, Permit, ResponseFuture};

/// Middleware that makes no calls while its [`CircuitBreaker`] is open.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
pub struct CircuitBreak<S, P = Http> {
    pub(crate) inner: S,
    pub(crate) breaker: CircuitBreaker,
    pub(crate) protocol: P,
}

impl<S, P, Req> Service<Req> for CircuitBreak<S, P>
where
    S: Service<Req>,
    P: Protocol<Req, S::Response, S::Error>,
{
    type Response = P::Response<Permit>;
    type Error = P::Error;
    type Future = ResponseFuture<S::Future, P, Req, S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The permit is taken in `call`: a clone that is ready but idle must not hold a probe.
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match self.breaker.try_acquire() {
            Ok(permit) => {
                ResponseFuture::admitted(self.inner.call(request), self.protocol.clone(), permit)
            }
            Err(open) => {
                let dialect = self.protocol.dialect(&request);
                ResponseFuture::refused(self.protocol.refuse(dialect, open.into()))
            }
        }
    }
}
