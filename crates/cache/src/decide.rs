//! What is done with a request, before anything is asked of the service.

use std::sync::{Arc, Mutex, OnceLock};

use bartizan_core::{Engine, Mode};
use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body::Body;

use crate::after::{After, Task};
use crate::entry::Entry;
use crate::exchange::Fetch;
use crate::head::Line;
use crate::invalidate::{self, Site};
use crate::key::{self, Keyed, Query, RequestHead, Suffix, Target};
use crate::observe::Verdict;
use crate::rules::Rules;
use crate::seen::Seen;
use crate::serve::{Asks, serve};
use crate::state::{self, Demand, Refusal, Reuse};
use crate::status::Forward;
use crate::{ResponseCache, validate};

/// What a layer decides by.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) cache: &'a ResponseCache,
    pub(crate) rules: &'a Arc<Rules>,
    /// Whether answers say in `Cache-Status` how they came about.
    pub(crate) annotate: bool,
}

pub(crate) enum Decision {
    Answer(Response<Bytes>),
    /// The answer may be stored.
    Fetch {
        fetch: Box<Fetch>,
        /// A stored response that tells how the resource varies.
        known: Option<Arc<Entry>>,
        /// Whether the request may wait for others, and others for it.
        shares: bool,
    },
    Forward(Option<After>),
    /// The answer is stale: a fresh one is fetched beside it.
    Refresh {
        response: Response<Bytes>,
        fetch: Box<Fetch>,
    },
    Refuse,
}

/// The keys of a request, and what they were made of.
struct Place<'a> {
    keyed: Keyed,
    /// What the path's responses said of its queries.
    learned: Option<Arc<Query>>,
    target: Target<'a>,
    suffix: Suffix,
}

impl<'a> Plan<'a> {
    #[inline]
    pub(crate) fn decide<R: Body>(self, request: &Request<R>) -> Decision {
        let Self { cache, rules, .. } = self;
        let mode = cache.switch().mode(|| self.place(request).map(|place| place.keyed.key));
        if !invalidate::is_safe(request.method()) {
            return self.change(mode, request);
        }
        if mode == Mode::Off {
            return Decision::Forward(None);
        }
        let head = request.method() == Method::HEAD;
        if request.method() != Method::GET && !head {
            return self.forward(mode, Forward::Method, None, Task::Nothing);
        }
        let headers = request.headers();
        let mut seen = Seen::of(headers, rules, cache.keys());
        // From HTTP/2 on no field need tell of one (RFC 9113 §8.1.1). Before, what the body says counts
        // for nothing: there are layers around it that do not pass on that it is empty.
        if request.version() > Version::HTTP_11 && !request.body().is_end_stream() {
            seen.bypass = Some("body");
        }
        let directives = cache.directives(seen, headers);
        let place = match seen.bypass {
            None => self.place(request).ok_or("no-key"),
            Some(detail) => Err(detail),
        };
        let place = match place {
            Ok(place) => place,
            Err(_) if directives.only_if_cached && mode == Mode::Enforce => return self.refuse(),
            Err(detail) => return self.forward(mode, Forward::Bypass, Some(detail), Task::Nothing),
        };
        let credentials = rules.carries_credentials(seen, request.extensions(), cache.keys());
        let demand = Demand { directives, credentials, now: cache.now() };
        self.look_up(mode, request, &place, demand, Asks { head, seen })
    }

    #[inline]
    pub(crate) fn target<'r, R>(self, request: &'r Request<R>) -> Option<Target<'r>> {
        let (uri, host) = key::sent(request)?;
        let host = host.map(|host| host.as_bytes());
        Target::of(uri, host, self.cache.default_scheme())
    }

    #[inline]
    fn place<'r, R>(self, request: &'r Request<R>) -> Option<Place<'r>> {
        let target = self.target(request)?;
        let keys = self.cache.keys();
        let suffix = keys.suffix(&RequestHead::from(request))?;
        let learned = self.cache.learned(&target);
        let keyed = keys.keyed(&target, &suffix, learned.as_deref());
        Some(Place { keyed, learned, target, suffix })
    }

    #[inline]
    fn look_up<R>(
        self,
        mode: Mode,
        request: &Request<R>,
        place: &Place<'_>,
        demand: Demand,
        asks: Asks,
    ) -> Decision {
        let Self { cache, annotate, .. } = self;
        let head = asks.head;
        let headers = request.headers();
        let directives = demand.directives;
        if directives.no_store && cache.obeys_requests() {
            if directives.only_if_cached && mode == Mode::Enforce {
                return self.refuse();
            }
            return self.forward(mode, Forward::Bypass, Some("no-store"), Task::Nothing);
        }
        let (found, softened) = cache.find(place.keyed.key, headers, demand.now);
        let mut stored = None;
        let reason = match &found.entry {
            None if found.other.is_some() => Forward::VaryMiss,
            None => Forward::UriMiss,
            Some(entry) => match state::reuse(&entry.head.policy, &demand, softened) {
                Ok(reuse) => {
                    let line = if annotate { Line::Hit(cache.status()) } else { Line::None };
                    match serve(entry, headers, asks, demand.now, line) {
                        Some(_) if mode == Mode::Shadow => {
                            cache.counts().request(Verdict::ShadowHit);
                            return self.forward_uncounted(
                                mode,
                                Forward::Bypass,
                                None,
                                Task::Nothing,
                            );
                        }
                        Some(response) if reuse == Reuse::AsItIs => {
                            cache.counts().request(Verdict::Hit);
                            return Decision::Answer(response);
                        }
                        Some(response) if may_refresh() => {
                            return self.refresh(request, place, demand, entry, response);
                        }
                        Some(_) => {
                            stored = Some(Arc::clone(entry));
                            Forward::Stale
                        }
                        None => Forward::Partial,
                    }
                }
                Err(Refusal::Credentials) => Forward::Request,
                Err(refusal) => {
                    stored = Some(Arc::clone(entry));
                    if refusal == Refusal::Request { Forward::Request } else { Forward::Stale }
                }
            },
        };
        let is_nowhere = head || cache.further().is_none();
        if directives.only_if_cached && mode == Mode::Enforce && is_nowhere {
            return self.refuse();
        }
        // Who demands a fresh answer is not given one that was asked for earlier; who carries
        // credentials waits only where it is known that others' answers are shared.
        let demands =
            directives.no_cache || directives.max_age.is_some() || directives.min_fresh.is_some();
        let known = found.entry.or(found.other);
        let ever_shared = known.as_ref().is_none_or(|entry| entry.head.policy.is_ever_for_others());
        let is_public = known.as_ref().is_some_and(|entry| entry.head.policy.for_everyone);
        let mut fetch = self.fetch(request, place, demand, reason, mode);
        let shares = !head
            && !demands
            && !directives.no_store
            && !directives.only_if_cached
            && !found.unshared
            && ever_shared
            && !asks.seen.range
            && (!demand.credentials || is_public)
            && mode == Mode::Enforce
            && !fetch.settings.wait().is_zero();
        // A part is of use only to who asks for what it has.
        let would_answer = |entry: &Entry| {
            entry.part.is_none() || serve(entry, headers, asks, demand.now, Line::None).is_some()
        };
        fetch.validating = stored.clone().filter(|entry| {
            !head
                && mode == Mode::Enforce
                && validate::can_validate(&entry.head)
                && would_answer(entry)
        });
        fetch.judges =
            shares && asks.seen.conditions && fetch.validating.is_none() && may_refresh();
        fetch.stale = stored.filter(|_| reason == Forward::Stale);
        if head {
            return self.forward(mode, reason, None, Task::Freshen(fetch));
        }
        Decision::Fetch { fetch, known, shares }
    }

    /// Serves what is stale, and has one request fetch a fresh one.
    fn refresh<R>(
        self,
        request: &Request<R>,
        place: &Place<'_>,
        demand: Demand,
        entry: &Arc<Entry>,
        response: Response<Bytes>,
    ) -> Decision {
        self.cache.counts().request(Verdict::StaleHit);
        let (key, known, now) = (place.keyed.key, Some(&*entry.head), demand.now);
        let is_on_its_way = self.cache.flights().has(key, request.headers(), known, now);
        // Who wants nothing stored leaves that to others.
        if is_on_its_way || demand.directives.no_store {
            return Decision::Answer(response);
        }
        let mut fetch = self.fetch(request, place, demand, Forward::Stale, Mode::Enforce);
        fetch.validating =
            Some(Arc::clone(entry)).filter(|entry| validate::can_validate(&entry.head));
        fetch.stale = Some(Arc::clone(entry));
        Decision::Refresh { response, fetch }
    }

    fn fetch<R>(
        self,
        request: &Request<R>,
        place: &Place<'_>,
        demand: Demand,
        reason: Forward,
        mode: Mode,
    ) -> Box<Fetch> {
        let refers = self.cache.keys().learns() || self.cache.further().is_some();
        Box::new(Fetch {
            cache: self.cache.clone(),
            rules: Arc::clone(self.rules),
            settings: self.cache.current_settings(),
            keyed: place.keyed,
            learned: place.learned.clone(),
            uri: place.target.to_text().into(),
            site: refers.then(|| self.site(request)),
            suffix: place.suffix.clone(),
            epoch: self.cache.epoch(place.keyed.key),
            position: self.cache.position(),
            asked: demand.now.as_nanos().into(),
            lease: Mutex::new(None),
            known: self.cache.further_position().into(),
            request: request.headers().clone(),
            demand,
            reason,
            detail: None,
            annotate: self.annotate && mode == Mode::Enforce,
            serves: mode == Mode::Enforce,
            validating: None,
            judges: false,
            stale: None,
            found: OnceLock::new(),
            is_unsafe: false,
        })
    }

    /// A request that may change what is stored.
    fn change<R>(self, mode: Mode, request: &Request<R>) -> Decision {
        let Self { cache, rules, .. } = self;
        // In every mode: what is stored must be true when the cache is turned on again.
        let Some(place) = self.place(request) else {
            // Whatever its other fields say, it is the target that may have changed.
            let task = Task::Invalidate(Box::new((self.site(request), Suffix::default())));
            return self.forward(mode, Forward::Method, None, task);
        };
        let seen = Seen::of(request.headers(), rules, cache.keys());
        let may_store = rules.posts && request.method() == Method::POST && !seen.steering;
        if may_store && mode == Mode::Enforce {
            let credentials = rules.carries_credentials(seen, request.extensions(), cache.keys());
            let directives = cache.directives(seen, request.headers());
            let demand = Demand { directives, credentials, now: cache.now() };
            let mut fetch = self.fetch(request, &place, demand, Forward::Method, mode);
            fetch.is_unsafe = true;
            fetch.site = Some(self.site(request));
            return Decision::Fetch { fetch, known: None, shares: false };
        }
        let task = Task::Invalidate(Box::new((self.site(request), place.suffix)));
        self.forward(mode, Forward::Method, None, task)
    }

    fn site<R>(self, request: &Request<R>) -> Site {
        let scheme = self.cache.default_scheme();
        match key::sent(request) {
            // The field counts where the URI does not say it (RFC 9110 §7.1).
            Some((uri, host)) => {
                let host = host.filter(|_| uri.authority().is_none()).cloned();
                Site { uri: uri.clone(), host, scheme }
            }
            None => Site { uri: http::Uri::default(), host: None, scheme },
        }
    }

    fn forward(
        self,
        mode: Mode,
        reason: Forward,
        detail: Option<&'static str>,
        task: Task,
    ) -> Decision {
        if mode != Mode::Off {
            self.cache.counts().request(Verdict::Forward(reason));
        }
        self.forward_uncounted(mode, reason, detail, task)
    }

    fn forward_uncounted(
        self,
        mode: Mode,
        reason: Forward,
        detail: Option<&'static str>,
        task: Task,
    ) -> Decision {
        // In shadow, callers must not see a cache that does not serve.
        let annotate = self.annotate && mode == Mode::Enforce;
        let cache = self.cache.clone();
        Decision::Forward(Some(After { cache, annotate, reason, detail, task }))
    }

    fn refuse(self) -> Decision {
        self.cache.counts().request(Verdict::Refused);
        Decision::Refuse
    }
}

/// Whether there is somebody to fetch beside the client.
fn may_refresh() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}
