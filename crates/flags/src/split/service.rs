use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bartizan_core::{Http, Principal, Protocol, Timestamp};
use http::header::{HeaderValue, SET_COOKIE};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::cookie;
use super::engine::{Diversion, Rollout, SplitWatch};
use super::layer::SplitLayer;
use crate::context::{Attributes, TARGETING_KEY};
use crate::resolve::Resolved;
use crate::snapshot::Chosen;
use crate::{EvaluationContext, Reason, RequestFlags};

type Delivered<ResBody> = Response<bartizan_core::ResponseBody<ResBody, SplitWatch>>;

/// Middleware that serves a request by the variant which a string flag names.
///
/// See [`SplitLayer`] for examples.
#[derive(Clone)]
pub struct Split<S> {
    pub(super) stable: S,
    pub(super) layer: SplitLayer<S>,
}

/// Who serves, and what the response has to carry for that.
struct Choice {
    index: usize,
    cookie: Option<HeaderValue>,
    exposure: Option<Exposed>,
}

/// A request that gets what the flag says, as far as that is known before the variant is ready.
struct Exposed {
    flags: RequestFlags,
    resolved: Resolved,
}

impl<S> Split<S> {
    fn choose<B>(&self, request: &Request<B>, now: Timestamp) -> Choice {
        let SplitLayer { flags, rollout, cookie: name, available, .. } = &self.layer;
        let own = RequestFlags::of(flags, request);
        let principal = request.extensions().get::<Principal>();
        let mut cookie = None;
        let is_known = || principal.is_some() || own.as_ref().is_some_and(RequestFlags::has_key);
        let identity = name.as_deref().filter(|_| !is_known()).map(|name| {
            cookie::read(request.headers(), name).map(str::to_owned).unwrap_or_else(|| {
                // Another attempt at the same request has the same visitor, and says so again.
                let identity = match &own {
                    Some(own) => own.draw(cookie::identity),
                    None => cookie::identity(),
                };
                cookie = cookie::write(name, &identity);
                identity
            })
        });
        let flag = rollout.flag();
        let (chosen, key, own) = match own {
            Some(own) => {
                if let Some(identity) = identity {
                    own.attribute(TARGETING_KEY, identity);
                }
                let Chosen { resolved, value, key } =
                    own.choose(flag, |value| rollout.index(value));
                // The flag's rule may ask for nobody, but the ramp does.
                let caller = || principal.map(|principal| principal.subject().to_owned());
                (value, key.or_else(caller), Some(Exposed { flags: own, resolved }))
            }
            None => {
                let mut context = EvaluationContext::from_request(request);
                if let Some(identity) = identity {
                    context = context.targeting_key(identity);
                }
                let index = |value: &_| rollout.index(value);
                let chosen = flags.value(flag.name(), flag.hash(), &context, index);
                (chosen, Attributes::of(&context).key().map(str::to_owned), None)
            }
        };
        let overrides = own.as_ref().is_some_and(|own| own.resolved.reason() == Reason::Override);
        let mut index = rollout.admit(chosen.unwrap_or(0), overrides, key.as_deref(), now);
        if index > 0 && available.as_ref().is_some_and(|ask| !ask(rollout.name_of(index))) {
            index = rollout.divert(index, Diversion::Unavailable);
        }
        let mut exposure = own.filter(|_| flags.sink().is_some());
        // Stable may ask the same flag, but its caller gets nothing of what that says.
        if let Some(own) = exposure.take_if(|_| chosen != Some(index)) {
            own.flags.conceal(flag);
        }
        Choice { index, cookie, exposure }
    }
}

impl<S, B, ResBody> Service<Request<B>> for Split<S>
where
    S: Service<Request<B>, Response = Response<ResBody>> + Clone,
    ResBody: Body,
{
    type Response = Delivered<ResBody>;
    type Error = S::Error;
    type Future = SplitFuture<S, Request<B>, S::Future>;

    /// Always ready: which service has to be is known only when the request is.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let started = self.layer.rollout.clock().now();
        let Choice { index, cookie, exposure } = self.choose(&request, started);
        let variant = index.checked_sub(1).and_then(|index| self.layer.services.get(index));
        let stable = self.stable.clone();
        let (service, fallback) = match variant {
            Some(variant) => (variant.clone(), Some(stable)),
            None => (stable, None),
        };
        SplitFuture {
            state: State::Readying { call: Some((service, request)), fallback },
            protocol: self.layer.protocol.clone(),
            exchange: Exchange { rollout: self.layer.rollout.clone(), index, started, exposure },
            cookie,
        }
    }
}

impl<S> fmt::Debug for Split<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split").field("layer", &self.layer).finish_non_exhaustive()
    }
}

struct Exchange {
    rollout: Rollout,
    index: usize,
    started: Timestamp,
    exposure: Option<Exposed>,
}

pin_project! {
    /// Response future of [`Split`].
    #[must_use = "futures do nothing unless polled"]
    pub struct SplitFuture<S, Req, F> {
        #[pin]
        state: State<S, Req, F>,
        protocol: Http,
        exchange: Exchange,
        cookie: Option<HeaderValue>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, F> {
        // The chosen service is being made ready.
        // ## Readying => (Readying stable | Calling | error of stable)
        Readying { call: Option<(S, Req)>, fallback: Option<S> },
        // ## Calling => response
        Calling { #[pin] future: F, watch: Option<SplitWatch> },
    }
}

impl<S, B, ResBody> Future for SplitFuture<S, Request<B>, S::Future>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Output = Result<Delivered<ResBody>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Readying { call, fallback } => {
                    let (service, _) = call.as_mut().expect("polled after completion");
                    match (service.poll_ready(cx), fallback.take()) {
                        (Poll::Ready(Ok(())), _) => {}
                        // A variant that has to be waited for, or that is broken, is not worth it.
                        (Poll::Pending | Poll::Ready(Err(_)), Some(stable)) => {
                            let exchange = &mut *this.exchange;
                            exchange.index =
                                exchange.rollout.divert(exchange.index, Diversion::NotReady);
                            if let Some(Exposed { flags, .. }) = exchange.exposure.take() {
                                flags.conceal(exchange.rollout.flag());
                            }
                            *service = stable;
                            continue;
                        }
                        (Poll::Pending, None) => return Poll::Pending,
                        (Poll::Ready(Err(error)), None) => return Poll::Ready(Err(error)),
                    }
                    let (mut service, request) = call.take().expect("it was there a moment ago");
                    let Exchange { rollout, index, started, exposure } = &mut *this.exchange;
                    if let Some(Exposed { flags, resolved }) = exposure.take() {
                        flags.expose(rollout.flag(), resolved);
                    }
                    let watch = SplitWatch::new(rollout.clone(), *index, *started);
                    let future = service.call(request);
                    this.state.set(State::Calling { future, watch: Some(watch) });
                }
                StateProj::Calling { future, watch } => {
                    // Held here meanwhile, so that a panic drops it.
                    let held = watch.take().expect("polled after completion");
                    let Poll::Ready(result) = future.poll(cx) else {
                        *watch = Some(held);
                        return Poll::Pending;
                    };
                    let result = Protocol::<Request<B>, _, _>::deliver(this.protocol, result, held);
                    let cookie = this.cookie.take();
                    return Poll::Ready(result.map(|mut response| {
                        if let Some(cookie) = cookie {
                            response.headers_mut().append(SET_COOKIE, cookie);
                        }
                        response
                    }));
                }
            }
        }
    }
}

impl<S, Req, F> fmt::Debug for SplitFuture<S, Req, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitFuture").finish_non_exhaustive()
    }
}
