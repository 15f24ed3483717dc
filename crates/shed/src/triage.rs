use std::fmt;
use std::time::Duration;

use bartizan_core::{Key, KeyExtractor, Principal};
use http::{HeaderName, Request};

use crate::priority::{Claim, Priority};
use crate::{Deadlines, Exempt};

/// What a layer finds out about a request: whether it is exempt, and what is to be known of it where
/// there is no free slot.
///
/// `()` knows nothing of any request; [`LoadShedLayer`](crate::LoadShedLayer)'s methods add to it.
pub trait Triage<Req> {
    /// True if `request` is always served.
    fn is_exempt(&self, _request: &Req) -> bool {
        false
    }

    /// True if nobody waits for the answer to `request` any more.
    fn is_expired(&self, _request: &Req) -> bool {
        false
    }

    /// Adds what is known of `request`. Asked only where there is no free slot.
    fn describe(&self, _request: &Req, _claim: &mut Claim) {}
}

impl<Req> Triage<Req> for () {}

/// Adds requests that are always served.
#[derive(Clone, Copy, Debug)]
pub struct WithExempt<T, X>(pub(crate) T, pub(crate) X);

/// Adds how much a request matters.
#[derive(Clone, Copy, Debug)]
pub struct WithPriority<T, R>(pub(crate) T, pub(crate) R);

/// Adds on whose account a request goes.
#[derive(Clone, Copy, Debug)]
pub struct WithTenant<T, K>(pub(crate) T, pub(crate) K);

/// Adds how long a request's caller waits.
#[derive(Clone, Debug)]
pub struct WithDeadlines<T>(pub(crate) T, pub(crate) Deadlines);

impl<T: Triage<Req>, X: Exempt<Req>, Req> Triage<Req> for WithExempt<T, X> {
    #[inline]
    fn is_exempt(&self, request: &Req) -> bool {
        self.1.is_exempt(request) || self.0.is_exempt(request)
    }

    #[inline]
    fn is_expired(&self, request: &Req) -> bool {
        self.0.is_expired(request)
    }

    fn describe(&self, request: &Req, claim: &mut Claim) {
        self.0.describe(request, claim);
    }
}

impl<T: Triage<Req>, R: Rank<Req>, Req> Triage<Req> for WithPriority<T, R> {
    #[inline]
    fn is_exempt(&self, request: &Req) -> bool {
        self.0.is_exempt(request)
    }

    #[inline]
    fn is_expired(&self, request: &Req) -> bool {
        self.0.is_expired(request)
    }

    fn describe(&self, request: &Req, claim: &mut Claim) {
        self.0.describe(request, claim);
        claim.priority = self.1.rank(request);
    }
}

impl<T: Triage<Req>, K: KeyExtractor<Req>, Req> Triage<Req> for WithTenant<T, K> {
    #[inline]
    fn is_exempt(&self, request: &Req) -> bool {
        self.0.is_exempt(request)
    }

    #[inline]
    fn is_expired(&self, request: &Req) -> bool {
        self.0.is_expired(request)
    }

    fn describe(&self, request: &Req, claim: &mut Claim) {
        self.0.describe(request, claim);
        // Those without a key share one account: who leaves it out gains nothing by that.
        claim.tenant = Some(self.1.key(request).unwrap_or(Key::GLOBAL));
    }
}

impl<T: Triage<Request<B>>, B> Triage<Request<B>> for WithDeadlines<T> {
    #[inline]
    fn is_exempt(&self, request: &Request<B>) -> bool {
        self.0.is_exempt(request)
    }

    #[inline]
    fn is_expired(&self, request: &Request<B>) -> bool {
        self.1.timeout(request.headers()) == Some(Duration::ZERO) || self.0.is_expired(request)
    }

    fn describe(&self, request: &Request<B>, claim: &mut Claim) {
        self.0.describe(request, claim);
        claim.timeout = self.1.timeout(request.headers());
    }
}

/// Says how much a request matters. Closures do.
pub trait Rank<Req> {
    /// The priority of `request`.
    fn rank(&self, request: &Req) -> Priority;
}

impl<F, Req> Rank<Req> for F
where
    F: Fn(&Req) -> Priority,
{
    fn rank(&self, request: &Req) -> Priority {
        self(request)
    }
}

/// By a request field; see [`by_header`].
#[derive(Clone)]
pub struct ByHeader<F> {
    name: HeaderName,
    is_trusted: F,
}

/// By a request field that holds `critical`, `default`, `sheddable` or `background`.
///
/// It is heeded where `is_trusted` says so of the request, as by its address or by a field that a
/// gateway of one's own sets; else anybody could be critical. Any other word counts as `default`.
pub const fn by_header<F>(name: HeaderName, is_trusted: F) -> ByHeader<F> {
    ByHeader { name, is_trusted }
}

impl<F, B> Rank<Request<B>> for ByHeader<F>
where
    F: Fn(&Request<B>) -> bool,
{
    fn rank(&self, request: &Request<B>) -> Priority {
        let word = request.headers().get(&self.name).and_then(|value| value.to_str().ok());
        let priority = word.and_then(|word| word.trim().parse().ok()).unwrap_or_default();
        if priority != Priority::Default && (self.is_trusted)(request) {
            priority
        } else {
            Priority::Default
        }
    }
}

impl<F> fmt::Debug for ByHeader<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByHeader").field("name", &self.name).finish_non_exhaustive()
    }
}

/// By path; see [`by_route`].
#[derive(Clone, Debug)]
pub struct ByRoute(Vec<(String, Priority)>);

/// By the longest of these path prefixes, which end at a `/` of the path or at its end.
pub fn by_route<T: Into<String>>(routes: impl IntoIterator<Item = (T, Priority)>) -> ByRoute {
    ByRoute(routes.into_iter().map(|(prefix, priority)| (prefix.into(), priority)).collect())
}

impl<B> Rank<Request<B>> for ByRoute {
    fn rank(&self, request: &Request<B>) -> Priority {
        let path = request.uri().path();
        let is_under = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')
            })
        };
        let routes = self.0.iter().filter(|(prefix, _)| is_under(prefix));
        routes.max_by_key(|(prefix, _)| prefix.len()).map_or(Priority::Default, |route| route.1)
    }
}

/// By the caller's plan; see [`by_tier`].
#[derive(Clone, Debug)]
pub struct ByTier(Vec<(String, Priority)>);

/// By the tier of the [`Principal`] that auth put into the request, so inside auth only. Any other
/// tier, and none, counts as default.
pub fn by_tier<T: Into<String>>(tiers: impl IntoIterator<Item = (T, Priority)>) -> ByTier {
    ByTier(tiers.into_iter().map(|(tier, priority)| (tier.into(), priority)).collect())
}

impl<B> Rank<Request<B>> for ByTier {
    fn rank(&self, request: &Request<B>) -> Priority {
        let tier = request.extensions().get::<Principal>().and_then(Principal::tier);
        let known = self.0.iter().find(|(known, _)| tier == Some(known));
        known.map_or(Priority::Default, |known| known.1)
    }
}
