use std::mem;
use std::task::{Context, Poll};

use bartizan_core::ResponseBody;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::admit::Admission;
use crate::engine::Deciding;
use crate::waiting::AuthFuture;

/// Middleware that puts the [`Principal`](crate::Principal) into the request's extensions, or turns
/// it away.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
pub struct Auth<S> {
    pub(crate) inner: S,
    pub(crate) admission: Admission,
}

impl<S, B, R> Service<Request<B>> for Auth<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = AuthFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.admission.authenticator.start(&self.admission.asked(&request)) {
            Deciding::Now(decision) => {
                AuthFuture::proceed(&mut self.inner, request, &self.admission, decision)
            }
            Deciding::Later(found) => {
                // The instance that was made ready is the one to be called.
                let clone = self.inner.clone();
                let inner = mem::replace(&mut self.inner, clone);
                AuthFuture::waiting(found, inner, request, self.admission.clone())
            }
        }
    }
}
