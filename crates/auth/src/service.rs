use std::task::{Context, Poll};

use bartizan_core::{Http, KeyExtractor, Principal, Protocol, ResponseBody, key};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::hooks::Asked;
use crate::{Authenticator, Decision, ResponseFuture};

/// Middleware that puts the [`Principal`] into the request's extensions, or turns it away.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
pub struct Auth<S> {
    pub(crate) inner: S,
    pub(crate) authenticator: Authenticator,
    pub(crate) http: Http,
    pub(crate) strip: bool,
}

impl<S, B, R> Service<Request<B>> for Auth<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let asked = Asked::of(&request).at_address(key::ip().key(&request));
        let decision = self.authenticator.decide_on(&asked);
        if matches!(decision, Decision::Off) {
            return ResponseFuture::admitted(self.inner.call(request), self.http.clone());
        }
        // Whoever put one there, it was not proven here.
        request.extensions_mut().remove::<Principal>();
        match decision {
            Decision::Refused(denial) => {
                let dialect = Protocol::<_, S::Response, S::Error>::dialect(&self.http, &request);
                let rejection = self.authenticator.rejection(denial);
                return ResponseFuture::refused(&self.http, dialect, rejection);
            }
            Decision::Known(principal) => {
                request.extensions_mut().insert(principal);
            }
            Decision::Anonymous | Decision::Off => {}
        }
        if self.strip {
            self.authenticator.strip(request.headers_mut());
        }
        ResponseFuture::admitted(self.inner.call(request), self.http.clone())
    }
}
