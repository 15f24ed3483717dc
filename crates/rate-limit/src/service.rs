use std::task::{Context, Poll};

use bartizan_core::key::ByIp;
use bartizan_core::{Engine, Http, Mode, Protocol, Reader};
use tower_service::Service;

use crate::ask::{Asked, PolicyKeys};
use crate::demand::One;
use crate::fields::Fields;
use crate::judgement::Verdict;
use crate::layer::Options;
use crate::refusal::refuse;
use crate::rules::RuleBook;
use crate::{Demand, RateLimiter, Reservation, ResponseFuture};

/// Middleware that refuses requests beyond a quota.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
pub struct RateLimit<S, D = One<ByIp>, P = Http, L = RateLimiter> {
    pub(crate) inner: S,
    pub(crate) limiter: L,
    pub(crate) rules: Reader<RuleBook>,
    pub(crate) demand: D,
    pub(crate) protocol: P,
    pub(crate) options: Options,
}

impl<S, D, P, Req> Service<Req> for RateLimit<S, D, P>
where
    S: Service<Req>,
    D: Demand<Req>,
    P: Protocol<Req, S::Response, S::Error>,
{
    type Response = P::Response<()>;
    type Error = P::Error;
    type Future = ResponseFuture<S::Future, P, Req, S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Nothing is counted before `call`: a clone that is ready but idle made no request.
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let mode = self.limiter.switch().mode(|| self.demand.keys(&request).get(0));
        if mode == Mode::Off || self.demand.skips(&request) {
            if D::RESERVES {
                self.demand.reserve(&mut request, Reservation::none());
            }
            return ResponseFuture::admitted(self.inner.call(request), self.protocol.clone(), None);
        }

        let keys = self.demand.keys(&request);
        let (cost, tier) = (self.demand.cost(&request), self.demand.tier(&request));
        let rules = self.rules.load();
        let asked = Asked { keys, cost, tier, unkeyed: self.options.unkeyed };
        let judgement = self.limiter.judge(rules, asked, mode);
        if judgement.verdict != Verdict::Admitted {
            let dialect = self.protocol.dialect(&request);
            let fields = self.options.dialect;
            let result = refuse(&self.protocol, dialect, &self.limiter, rules, &judgement, fields);
            return ResponseFuture::refused(result);
        }
        // What is not in force must not be seen, so there may be nothing to tell.
        let told = self.options.dialect.filter(|_| !judgement.enforced.is_empty());
        let fields = told.map(|dialect| Fields::new(rules, &judgement, dialect));
        if D::RESERVES {
            let reservation = self.limiter.reservation(rules, keys, &judgement);
            self.demand.reserve(&mut request, reservation);
        }
        ResponseFuture::admitted(self.inner.call(request), self.protocol.clone(), fields)
    }
}
