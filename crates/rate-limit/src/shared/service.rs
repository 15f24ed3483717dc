use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use bartizan_core::{Engine, Mode, Protocol};
use tower_layer::Layer;
use tower_service::Service;

use crate::ask::{Asked, PolicyKeys};
use crate::shared::future::{Pending, SharedResponseFuture};
use crate::{Demand, RateLimit, RateLimitLayer, Reservation, SharedRateLimiter, Store, Taking};

impl<S, D: Clone, P: Clone, T: Store> Layer<S> for RateLimitLayer<D, P, SharedRateLimiter<T>> {
    type Service = RateLimit<S, D, P, SharedRateLimiter<T>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.service(inner, self.limiter.limiter.rules().reader())
    }
}

impl<S, D, P, T, Req> Service<Req> for RateLimit<S, D, P, SharedRateLimiter<T>>
where
    S: Service<Req> + Clone,
    D: Demand<Req> + Clone,
    P: Protocol<Req, S::Response, S::Error>,
    T: Store,
{
    type Response = P::Response<()>;
    type Error = P::Error;
    type Future = SharedResponseFuture<S, D, P, T, Req>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let mode = self.limiter.switch().mode(|| self.demand.keys(&request).get(0));
        if mode == Mode::Off || self.demand.skips(&request) {
            if D::RESERVES {
                self.demand.reserve(&mut request, Reservation::none());
            }
            return SharedResponseFuture::passed(self.inner.call(request), self.protocol.clone());
        }

        let asked = Asked {
            keys: self.demand.keys(&request),
            cost: self.demand.cost(&request),
            tier: self.demand.tier(&request),
            unkeyed: self.options.unkeyed,
        };
        let rules = Arc::clone(self.rules.load());
        let (mut asking, taking) = self.limiter.ask(&rules, asked, mode);
        let pending = Pending {
            limiter: self.limiter.clone(),
            rules,
            demand: self.demand.clone(),
            protocol: self.protocol.clone(),
            dialect: self.options.dialect,
        };
        match taking {
            Some(Taking::Trip(trip)) => {
                // The instance that was made ready is the one to be called.
                let clone = self.inner.clone();
                let inner = mem::replace(&mut self.inner, clone);
                SharedResponseFuture::waiting(trip, inner, request, asking, pending)
            }
            Some(Taking::Done(answer)) => {
                self.limiter.conclude(&mut asking, &pending.rules, answer, false);
                pending.proceed(&mut self.inner, request, &asking)
            }
            None => pending.proceed(&mut self.inner, request, &asking),
        }
    }
}
