use std::task::{Context, Poll};

use bartizan_core::key::ByIp;
use bartizan_core::{Engine, Http, KeyExtractor, Mode, Protocol, Rejection};
use http::StatusCode;
use tower_service::Service;

use crate::fields::Fields;
use crate::observe::Verdict;
use crate::{RateLimiter, ResponseFuture};

const QUOTA_EXCEEDED: Rejection =
    Rejection::new(StatusCode::TOO_MANY_REQUESTS, "quota-exceeded", "too many requests")
        .problem_type("https://iana.org/assignments/http-problem-types#quota-exceeded");

/// Middleware that refuses requests beyond a quota.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
pub struct RateLimit<S, K = ByIp, P = Http> {
    pub(crate) inner: S,
    pub(crate) limiter: RateLimiter,
    pub(crate) key: K,
    pub(crate) protocol: P,
    pub(crate) fields: bool,
}

impl<S, K, P, Req> Service<Req> for RateLimit<S, K, P>
where
    S: Service<Req>,
    K: KeyExtractor<Req>,
    P: Protocol<Req, S::Response, S::Error>,
{
    type Response = P::Response<()>;
    type Error = P::Error;
    type Future = ResponseFuture<S::Future, P, Req, S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Nothing is counted before `call`: a clone that is ready but idle made no request.
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let find = || self.key.key(&request);
        let mode = self.limiter.switch().mode(find);
        if mode == Mode::Off {
            return ResponseFuture::admitted(self.inner.call(request), self.protocol.clone(), None);
        }
        let Some(key) = find() else {
            self.limiter.count(Verdict::NoKey);
            return ResponseFuture::admitted(self.inner.call(request), self.protocol.clone(), None);
        };

        let decision = self.limiter.decide(key);
        let Err(wait) = decision else {
            self.limiter.count(Verdict::Admitted);
            // In shadow, callers must not see a limit that is not in force.
            let shown = self.fields && mode == Mode::Enforce;
            let fields = shown.then(|| Fields::new(&self.limiter, decision));
            return ResponseFuture::admitted(
                self.inner.call(request),
                self.protocol.clone(),
                fields,
            );
        };
        if mode == Mode::Shadow {
            self.limiter.count(Verdict::ShadowRefused);
            return ResponseFuture::admitted(self.inner.call(request), self.protocol.clone(), None);
        }

        self.limiter.count(Verdict::Refused);
        let rejection = QUOTA_EXCEEDED
            .retry_after(wait)
            .member("violated-policies", vec![self.limiter.name()].into());
        let mut result = self.protocol.refuse(self.protocol.dialect(&request), rejection);
        if self.fields
            && let Ok(response) = &mut result
        {
            let fields = Fields::new(&self.limiter, decision);
            self.protocol.annotate(response, |status, headers| fields.write(status, headers));
        }
        ResponseFuture::refused(result)
    }
}
