use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bartizan_core::Protocol;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::fields::Fields;
use crate::judgement::Verdict;
use crate::refusal::refuse;
use crate::rules::RuleBook;
use crate::shared::judge::Asking;
use crate::{Demand, Dialect, SharedRateLimiter, Store};

pin_project! {
    /// Response future of [`RateLimit`](crate::RateLimit) over a shared store.
    #[must_use = "futures do nothing unless polled"]
    pub struct SharedResponseFuture<S, D, P, T, Req>
    where
        S: Service<Req>,
        P: Protocol<Req, S::Response, S::Error>,
        T: Store,
    {
        #[pin]
        state: State<S, D, P, T, Req>,
    }
}

pin_project! {
    /// ## Waiting => (Waiting | Calling | Done)
    /// ## Calling => (Calling | Done)
    #[project = StateProj]
    enum State<S, D, P, T, Req>
    where
        S: Service<Req>,
        P: Protocol<Req, S::Response, S::Error>,
        T: Store,
    {
        /// The store was asked.
        Waiting { #[pin] trip: T::Trip, call: Option<(S, Req)>, asking: Asking, pending: Option<Pending<D, P, T>> },
        /// The request was admitted.
        Calling { #[pin] future: S::Future, protocol: P, fields: Option<Fields> },
        /// The request was refused.
        Done { result: Option<Result<P::Response<()>, P::Error>> },
    }
}

/// What is needed once the store has answered.
#[derive(Debug)]
pub(super) struct Pending<D, P, T> {
    pub(super) limiter: SharedRateLimiter<T>,
    /// The rules by which it is judged, whatever they are by then.
    pub(super) rules: Arc<RuleBook>,
    pub(super) demand: D,
    pub(super) protocol: P,
    pub(super) dialect: Option<Dialect>,
}

impl<D, P, T: Store> Pending<D, P, T> {
    /// Calls `inner` or refuses, as was judged.
    pub(super) fn proceed<S, Req>(
        self,
        inner: &mut S,
        mut request: Req,
        asking: &Asking,
    ) -> SharedResponseFuture<S, D, P, T, Req>
    where
        S: Service<Req>,
        D: Demand<Req>,
        P: Protocol<Req, S::Response, S::Error>,
    {
        let (judgement, limiter, rules) = (&asking.judgement, &self.limiter.limiter, &self.rules);
        let state = if judgement.verdict == Verdict::Admitted {
            let told = self.dialect.filter(|_| !judgement.enforced.is_empty());
            let fields = told.map(|dialect| Fields::new(rules, judgement, dialect));
            if D::RESERVES {
                self.demand.reserve(&mut request, self.limiter.reservation(rules, asking));
            }
            State::Calling { future: inner.call(request), protocol: self.protocol, fields }
        } else {
            let dialect = self.protocol.dialect(&request);
            let fields = self.dialect;
            let result = refuse(&self.protocol, dialect, limiter, rules, judgement, fields);
            State::Done { result: Some(result) }
        };
        SharedResponseFuture { state }
    }
}

impl<S, D, P, T, Req> SharedResponseFuture<S, D, P, T, Req>
where
    S: Service<Req>,
    P: Protocol<Req, S::Response, S::Error>,
    T: Store,
{
    pub(super) const fn passed(future: S::Future, protocol: P) -> Self {
        Self { state: State::Calling { future, protocol, fields: None } }
    }

    pub(super) fn waiting(
        trip: T::Trip,
        inner: S,
        request: Req,
        asking: Asking,
        pending: Pending<D, P, T>,
    ) -> Self {
        let (call, pending) = (Some((inner, request)), Some(pending));
        Self { state: State::Waiting { trip, call, asking, pending } }
    }
}

impl<S, D, P, T, Req> Future for SharedResponseFuture<S, D, P, T, Req>
where
    S: Service<Req>,
    D: Demand<Req>,
    P: Protocol<Req, S::Response, S::Error>,
    T: Store,
{
    type Output = Result<P::Response<()>, P::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Waiting { trip, call, asking, pending } => {
                    let answer = ready!(trip.poll(cx));
                    let pending = pending.take().expect("a trip ends once");
                    let (mut inner, request) = call.take().expect("a trip ends once");
                    pending.limiter.conclude(asking, &pending.rules, answer, true);
                    pending.proceed(&mut inner, request, asking).state
                }
                StateProj::Calling { future, protocol, fields } => {
                    let result = ready!(future.poll(cx));
                    let mut result = protocol.deliver(result, ());
                    if let (Some(fields), Ok(response)) = (fields.take(), &mut result) {
                        protocol
                            .annotate(response, |status, headers| fields.write(status, headers));
                    }
                    return Poll::Ready(result);
                }
                StateProj::Done { result } => {
                    return Poll::Ready(result.take().expect("polled after completion"));
                }
            };
            state.set(next);
        }
    }
}

impl<S, D, P, T, Req> fmt::Debug for SharedResponseFuture<S, D, P, T, Req>
where
    S: Service<Req>,
    P: Protocol<Req, S::Response, S::Error>,
    T: Store,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedResponseFuture").finish_non_exhaustive()
    }
}
