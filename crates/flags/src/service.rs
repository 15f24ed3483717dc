use std::task::{Context, Poll};

use http::Request;
use tower_service::Service;

use crate::engine::Flags;

/// Middleware that puts [`Flags`] in the extensions of every request.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
pub struct WithFlags<S> {
    pub(crate) inner: S,
    pub(crate) flags: Flags,
}

impl<S, B> Service<Request<B>> for WithFlags<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.flags.clone());
        self.inner.call(request)
    }
}
