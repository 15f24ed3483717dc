use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bartizan_core::{Http, Protocol, Rejection};
use bytes::Bytes;
use http::header::{IF_RANGE, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::Sleep;
use tower_service::Service;

use crate::after::After;
use crate::body::BoxError;
use crate::decide::{Decision, Plan};
use crate::entry::Entry;
use crate::exchange::{self, Fetch};
use crate::flight::{Flight, Reader, Stage};
use crate::flights::Role;
use crate::further::Further;
use crate::head::{Head, Line};
use crate::leg::{Ahead, Leg};
use crate::observe::{StoreOutcome, Verdict};
use crate::rules::Rules;
use crate::seen::Seen;
use crate::serve::{Asks, serve};
use crate::state::{self, Demand, Reuse};
use crate::status::{CACHE_STATUS, Forward, Notes};
use crate::{CacheBody, ResponseCache, ResponseFuture, further, lease, validate};

const ONLY_IF_CACHED: Rejection = Rejection::new(
    StatusCode::GATEWAY_TIMEOUT,
    "only-if-cached",
    "the request wants a stored response, and there is none",
);

/// How often a request waits for others before it asks the service itself.
const MAX_WAITS: u8 = 3;

/// Middleware that answers from a store of earlier responses.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
pub struct Cache<S> {
    pub(crate) inner: S,
    pub(crate) cache: ResponseCache,
    pub(crate) rules: Arc<Rules>,
    pub(crate) http: Http,
    pub(crate) status: bool,
}

/// What is done with a request.
pub(crate) enum Next<F, R, B> {
    Answer(Response<CacheBody<B>>),
    Forward(F, Option<After>),
    Lead(Reader),
    Wait(Wait, Request<R>),
}

/// What a request waits for.
pub(crate) enum Wait {
    /// The answer to another one.
    Flight { reader: Reader, reason: Forward, deadline: Option<Pin<Box<Sleep>>> },
    /// The store behind memory. Others wait for this one.
    Load { reader: Reader, load: Load },
    /// Nothing any more.
    Over,
}

type Load = Pin<Box<dyn Future<Output = Option<Arc<Entry>>> + Send>>;

impl<S, R, B> Service<Request<R>> for Cache<S>
where
    S: Service<Request<R>, Response = Response<B>> + Clone,
    R: Body,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<CacheBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, R, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<R>) -> Self::Future {
        match self.start(request, 0) {
            Next::Answer(response) => ResponseFuture::ready(response),
            Next::Forward(future, after) => ResponseFuture::forwarded(future, after),
            Next::Lead(reader) => ResponseFuture::leading(reader),
            Next::Wait(wait, request) => {
                // The instance that is ready goes along; a fresh one takes its place.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                let service = Self {
                    inner,
                    cache: self.cache.clone(),
                    rules: Arc::clone(&self.rules),
                    http: self.http.clone(),
                    status: self.status,
                };
                ResponseFuture::waiting(Waiting { service, request: Some(request), wait, waits: 1 })
            }
        }
    }
}

impl<S> Cache<S> {
    #[inline]
    fn start<R: Body, B>(&mut self, request: Request<R>, waits: u8) -> Next<S::Future, R, B>
    where
        S: Service<Request<R>, Response = Response<B>>,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let plan = Plan { cache: &self.cache, rules: &self.rules, annotate: self.status };
        match plan.decide(&request) {
            Decision::Answer(response) => Next::Answer(response.map(CacheBody::stored)),
            Decision::Forward(after) => Next::Forward(self.inner.call(request), after),
            Decision::Refuse => Next::Answer(self.refuse::<_, B, S::Error>(&request)),
            Decision::Fetch { fetch, known, shares } => {
                let reason = fetch.reason;
                let shares = shares && waits < MAX_WAITS;
                let role = if shares {
                    let known = known.as_ref().map(|entry| &*entry.head);
                    self.cache.flights().enter(request.headers(), known, fetch)
                } else {
                    Role::Leader(Flight::lead(fetch))
                };
                match role {
                    Role::Leader(reader) => match self.look_further(&reader, shares) {
                        Some(load) => Next::Wait(Wait::Load { reader, load }, request),
                        None => self.lead_or_refuse(reader, request),
                    },
                    Role::Follower(reader) => {
                        let deadline = deadline(&self.cache);
                        Next::Wait(Wait::Flight { reader, reason, deadline }, request)
                    }
                }
            }
            Decision::Refresh { response, fetch } => {
                self.refresh::<R, B>(fetch, request);
                Next::Answer(response.map(CacheBody::stored))
            }
        }
    }

    /// What is to be waited for before the service is asked.
    fn look_further(&self, reader: &Reader, shares: bool) -> Option<Load> {
        let (further, flight) = (self.further(reader)?, Arc::clone(reader.flight()));
        Some(Box::pin(async move { lease::look(&flight.fetch, &further, shares).await }))
    }

    /// The store behind memory, if it is worth while to look there for the answer to a request.
    fn further(&self, reader: &Reader) -> Option<Arc<Further>> {
        let further = self.cache.further()?;
        let fetch = &reader.flight().fetch;
        // What is demanded of the service, or is a change, is not looked for elsewhere.
        let is_miss = matches!(fetch.reason, Forward::UriMiss | Forward::VaryMiss | Forward::Stale);
        if !is_miss
            || !fetch.serves
            || fetch.is_unsafe
            || tokio::runtime::Handle::try_current().is_err()
        {
            return None;
        }
        if !further.is_up(self.cache.now()) {
            self.cache.counts().store(self.cache.label(), StoreOutcome::Skipped, false);
            return None;
        }
        further::settle(&self.cache, further);
        Some(Arc::clone(further))
    }

    /// Asks the service, now that there is nothing stored, unless the request forbids it.
    fn lead_or_refuse<R, B>(&mut self, reader: Reader, request: Request<R>) -> Next<S::Future, R, B>
    where
        S: Service<Request<R>, Response = Response<B>>,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let fetch = &reader.flight().fetch;
        if fetch.demand.directives.only_if_cached && fetch.serves {
            self.cache.counts().request(Verdict::Refused);
            return Next::Answer(self.refuse::<_, B, S::Error>(&request));
        }
        self.cache.counts().request(Verdict::Forward(fetch.reason()));
        self.lead::<R, B>(&reader, request, None);
        Next::Lead(reader)
    }

    /// Sends the request of a flight to the service, once it is clear that nothing went ahead of it.
    fn lead<R, B>(&mut self, reader: &Reader, mut request: Request<R>, ahead: Option<Ahead>)
    where
        S: Service<Request<R>, Response = Response<B>>,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let flight = reader.flight();
        match flight.fetch.validating() {
            Some(entry) => validate::ask(request.headers_mut(), entry),
            None if flight.fetch.judges => validate::ask_for_all(request.headers_mut()),
            None => {}
        }
        flight.begin(Box::pin(Leg::<_, B, S::Error>::new(ahead, self.inner.call(request))));
    }

    /// Brings a stale response up to date beside the client that was answered with it.
    fn refresh<R, B>(&mut self, fetch: Box<Fetch>, mut request: Request<R>)
    where
        S: Service<Request<R>, Response = Response<B>>,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // What the client asked of the stored response is not asked of the fresh one. The answer to
        // a HEAD would be stored without its body.
        *request.method_mut() = Method::GET;
        for name in [RANGE, IF_RANGE] {
            request.headers_mut().remove(name);
        }
        validate::ask_for_all(request.headers_mut());
        let stale = fetch.stale.clone();
        let known = stale.as_ref().map(|entry| &*entry.head);
        let role = self.cache.flights().enter(request.headers(), known, fetch);
        // One that is on its way already is enough, be it at another process.
        if let Role::Leader(reader) = role {
            let ahead = self.further(&reader).map(|further| -> Ahead {
                let flight = Arc::downgrade(reader.flight());
                Box::pin(async move { lease::ahead(&flight.upgrade()?.fetch, &further).await })
            });
            self.lead::<R, B>(&reader, request, ahead);
            reader.drain();
        }
    }

    fn refuse<R, B: Body, E>(&self, request: &Request<R>) -> Response<CacheBody<B>> {
        let http = &self.http;
        let dialect = Protocol::<_, Response<B>, E>::dialect(http, request);
        let refused: Result<Response<_>, E> =
            Protocol::<Request<R>, Response<B>, E>::refuse::<()>(http, dialect, ONLY_IF_CACHED);
        let Ok(response) = refused else { unreachable!("HTTP refuses by a response") };
        let mut response = response.map(CacheBody::refusal);
        if self.status {
            response.headers_mut().append(CACHE_STATUS, self.cache.status().refused());
        }
        response
    }
}

/// A request that waits, and the service that it goes to if it waits in vain.
pub(crate) struct Waiting<S, R> {
    service: Cache<S>,
    request: Option<Request<R>>,
    wait: Wait,
    waits: u8,
}

impl<S, R: Body> Waiting<S, R> {
    pub(crate) fn poll<B>(&mut self, cx: &mut Context<'_>) -> Poll<Next<S::Future, R, B>>
    where
        S: Service<Request<R>, Response = Response<B>>,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        loop {
            let stage = match &mut self.wait {
                Wait::Load { load, .. } => {
                    let found = ready!(load.as_mut().poll(cx));
                    return Poll::Ready(self.loaded(found));
                }
                Wait::Over => unreachable!("polled after completion"),
                Wait::Flight { reader, deadline, .. } => match reader.poll_stage(cx) {
                    Poll::Ready(stage) => stage,
                    Poll::Pending => {
                        let Some(deadline) = deadline else { return Poll::Pending };
                        ready!(deadline.as_mut().poll(cx));
                        self.waits = MAX_WAITS;
                        Stage::Unshared
                    }
                },
            };
            let request = self.request.take().expect("polled after completion");
            if let Some(response) = self.share(stage, &request) {
                return Poll::Ready(Next::Answer(response));
            }
            match self.service.start(request, self.waits) {
                Next::Wait(wait, request) => {
                    self.wait = wait;
                    self.request = Some(request);
                    self.waits += 1;
                }
                next => return Poll::Ready(next),
            }
        }
    }

    /// The store behind memory has answered.
    fn loaded<B>(&mut self, found: Option<Arc<Entry>>) -> Next<S::Future, R, B>
    where
        S: Service<Request<R>, Response = Response<B>>,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Cache { cache, status, .. } = &self.service;
        let request = self.request.take().expect("polled after completion");
        let Wait::Load { reader, .. } = std::mem::replace(&mut self.wait, Wait::Over) else {
            unreachable!("only a load is loaded")
        };
        let flight = reader.flight();
        let now = cache.now();
        let demand = Demand { now, ..flight.fetch.demand };
        if let Some(entry) = found
            && state::reuse(&entry.head.policy, &demand, false) == Ok(Reuse::AsItIs)
        {
            let line = if *status { Line::Hit(cache.status()) } else { Line::None };
            if let Some(response) =
                serve(&entry, request.headers(), Asks::get(request.headers()), now, line)
            {
                cache.counts().request(Verdict::FurtherHit);
                // What one client takes stale is not for those who wait with it.
                if state::is_for_others(&entry.head.policy, now) {
                    flight.serve(&entry);
                } else {
                    exchange::close(flight, Stage::Unshared);
                }
                return Next::Answer(response.map(CacheBody::stored));
            }
        }
        flight.fetch.is_asked_now();
        self.service.lead_or_refuse(reader, request)
    }

    /// The answer to the other request, if it is one to this.
    fn share<B>(&mut self, stage: Stage, request: &Request<R>) -> Option<Response<CacheBody<B>>> {
        let Cache { cache, rules, status, .. } = &self.service;
        let wait = std::mem::replace(&mut self.wait, Wait::Over);
        let Wait::Flight { reader, reason, .. } = wait else { return None };
        let headers = request.headers();
        let seen = Seen::of(headers, rules, cache.keys());
        let credentials = rules.carries_credentials(seen, request.extensions(), cache.keys());
        let fetch = &reader.flight().fetch;
        let is_same_uri = || {
            let target = Plan { cache, rules, annotate: *status }.target(request);
            target.is_some_and(|target| target.to_text() == *fetch.uri)
        };
        // By now it is known by which tags it is purged.
        let suits = |head: &Head| {
            head.vary.matches(headers)
                && (head.policy.for_everyone || !credentials)
                && !fetch.is_purged(&head.labels)
                && (fetch.is_keyed_by(head) || is_same_uri())
        };
        let now = cache.now();
        let notes = Notes { collapsed: true, ..Notes::default() };
        let line = status.then(|| cache.status().forwarded(reason, notes));
        let response = match stage {
            Stage::Open(head) if suits(&head) && state::is_for_others(&head.policy, now) => {
                if validate::is_not_modified(headers, &head) {
                    head.not_modified(now, line.as_ref().into())
                        .map(|()| CacheBody::stored(Bytes::new()))
                } else {
                    // From the place that it waited at: it may have been lost meanwhile.
                    let response = head.respond(now, line.as_ref().into());
                    response.map(|()| CacheBody::shared(reader))
                }
            }
            Stage::Served(entry) if suits(&entry.head) => {
                serve(&entry, headers, Asks::get(headers), now, line.as_ref().into())?
                    .map(CacheBody::stored)
            }
            _ => return None,
        };
        cache.counts().request(Verdict::Collapsed);
        Some(response)
    }
}

/// How long a request waits at most. Without a runtime there is nothing to measure it by.
fn deadline(cache: &ResponseCache) -> Option<Pin<Box<Sleep>>> {
    let wait = cache.current_settings().wait();
    tokio::runtime::Handle::try_current().is_ok().then(|| Box::pin(tokio::time::sleep(wait)))
}
