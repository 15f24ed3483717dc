use std::task::{Context, Poll};

use bartizan_core::key::Global;
use bartizan_core::{Engine, Http, Key, KeyExtractor, Mode, Principal, Protocol, Rejection};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use crate::engine::{Asked, Lookup};
use crate::exchange::{self, Exchange, Fetch, Task};
use crate::fill::Slot;
use crate::invalidate::{self, Site};
use crate::key::{self, Target};
use crate::observe::Verdict;
use crate::status::Forward;
use crate::{CacheBody, ResponseCache, ResponseFuture, validate};

const ONLY_IF_CACHED: Rejection = Rejection::new(
    StatusCode::GATEWAY_TIMEOUT,
    "only-if-cached",
    "the request wants a stored response, and there is none",
);

/// Middleware that answers from a store of earlier responses.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
pub struct Cache<S, K = Global> {
    pub(crate) inner: S,
    pub(crate) cache: ResponseCache,
    pub(crate) partition: K,
    pub(crate) http: Http,
    pub(crate) status: bool,
}

impl<S, K> Cache<S, K> {
    fn key<R>(&self, request: &Request<R>) -> Option<Key>
    where
        K: KeyExtractor<Request<R>>,
    {
        let (uri, host) = key::sent(request)?;
        let host = host.map(|host| host.as_bytes());
        let target = Target::of(uri, host, self.cache.default_scheme())?;
        Some(target.key().and(self.partition.key(request)?))
    }

    fn site<R>(&self, request: &Request<R>) -> Option<Site> {
        let (uri, host) = key::sent(request)?;
        let scheme = self.cache.default_scheme();
        Some(Site { uri: uri.clone(), host: host.cloned(), scheme })
    }

    fn forward<B>(&self, mode: Mode, reason: Forward, task: Task) -> Decision<B> {
        // In shadow, callers must not see a cache that does not serve.
        let annotate = self.status && mode == Mode::Enforce;
        Decision::Forward(Some(Exchange { cache: self.cache.clone(), annotate, reason, task }))
    }
}

impl<S, K, R, B> Service<Request<R>> for Cache<S, K>
where
    S: Service<Request<R>, Response = Response<B>>,
    K: KeyExtractor<Request<R>>,
    B: Body<Data = Bytes>,
{
    type Response = Response<CacheBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        let mode = self.cache.switch().mode(|| self.key(&request));
        let exchange = match self.decide(mode, &mut request) {
            Decision::Answer(response) => return ResponseFuture::ready(Ok(response)),
            Decision::Forward(exchange) => exchange,
            Decision::Refuse => {
                let http = &self.http;
                let dialect = Protocol::<_, Response<B>, S::Error>::dialect(http, &request);
                let refused =
                    Protocol::<Request<R>, _, _>::refuse::<()>(http, dialect, ONLY_IF_CACHED);
                return ResponseFuture::ready(refused.map(|response: Response<_>| {
                    let mut response = response.map(CacheBody::refusal);
                    if self.status {
                        self.cache.status().refused(response.headers_mut());
                    }
                    response
                }));
            }
        };
        ResponseFuture::forwarded(self.inner.call(request), exchange)
    }
}

enum Decision<B> {
    Answer(Response<CacheBody<B>>),
    Forward(Option<Exchange>),
    Refuse,
}

impl<S, K> Cache<S, K> {
    fn decide<R, B>(&self, mode: Mode, request: &mut Request<R>) -> Decision<B>
    where
        K: KeyExtractor<Request<R>>,
    {
        let count = |verdict| self.cache.counts().request(verdict);
        if !invalidate::is_safe(request.method()) {
            // In every mode: what is stored must be true when the cache is turned on again.
            let task = match (self.site(request), self.partition.key(request)) {
                (Some(site), Some(partition)) => Task::Invalidate { site, partition },
                _ => Task::Nothing,
            };
            if mode != Mode::Off {
                count(Verdict::Forward(Forward::Method));
            }
            return self.forward(mode, Forward::Method, task);
        }
        if mode == Mode::Off {
            return Decision::Forward(None);
        }
        let head = request.method() == Method::HEAD;
        if request.method() != Method::GET && !head {
            count(Verdict::Forward(Forward::Method));
            return self.forward(mode, Forward::Method, Task::Nothing);
        }
        let headers = request.headers();
        let directives = self.cache.directives(headers);
        let key = self.key(request).filter(|_| !validate::is_for_the_service(headers));
        let Some(key) = key else {
            if directives.only_if_cached && mode == Mode::Enforce {
                count(Verdict::Refused);
                return Decision::Refuse;
            }
            count(Verdict::Forward(Forward::Bypass));
            return self.forward(mode, Forward::Bypass, Task::Nothing);
        };

        let credentials = headers.contains_key(AUTHORIZATION)
            || request.extensions().get::<Principal>().is_some();
        let now = self.cache.now();
        let asked = Asked { key, headers, directives, credentials, now };
        let (reason, stored) = match self.cache.look_up(&asked) {
            Lookup::Hit(entry) if mode == Mode::Enforce => {
                count(Verdict::Hit);
                let answer = exchange::serve(&self.cache, &entry, headers, head, self.status, now);
                return Decision::Answer(answer.map(CacheBody::stored));
            }
            Lookup::Hit(_) => {
                count(Verdict::ShadowHit);
                (Forward::Bypass, None)
            }
            Lookup::Miss(_, _) if directives.only_if_cached && mode == Mode::Enforce => {
                count(Verdict::Refused);
                return Decision::Refuse;
            }
            Lookup::Miss(reason, stored) => {
                count(Verdict::Forward(reason));
                (reason, stored)
            }
        };
        if head || directives.no_store {
            return self.forward(mode, reason, Task::Nothing);
        }
        let fetch = Fetch {
            // Variants are told apart by what the client sent, not by what we ask.
            slot: Slot { key, epoch: self.cache.epoch(key), request: headers.clone() },
            credentials,
            sent: now,
            stale: stored.clone().filter(|_| reason == Forward::Stale),
            validating: stored
                .filter(|entry| mode == Mode::Enforce && validate::can_validate(entry)),
        };
        if let Some(entry) = &fetch.validating {
            validate::ask(request.headers_mut(), entry);
        }
        self.forward(mode, reason, Task::Fetch(Box::new(fetch)))
    }
}
