use bartizan_core::key::{self, ByIp};
use bartizan_core::{Http, Plain, Reader};
use tower_layer::Layer;

use crate::demand::{Each, One};
use crate::rules::RuleBook;
use crate::with::{Cost, Estimate, Paths, Preflights, PrincipalTier, Skip, Tier, With};
use crate::{Dialect, RateLimit, RateLimiter, Unkeyed};

/// [`Layer`] that applies [`RateLimit`].
///
/// Every service built from one layer, or from a clone of it, draws on the same counts.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimitLayer<D = One<ByIp>, P = Http, L = RateLimiter> {
    pub(crate) limiter: L,
    demand: D,
    protocol: P,
    options: Options,
}

/// What is about responses and about requests without a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) dialect: Option<Dialect>,
    pub(crate) unkeyed: Unkeyed,
}

impl<L> RateLimitLayer<One<ByIp>, Http, L> {
    /// Creates a layer that counts requests by client address.
    pub const fn new(limiter: L) -> Self {
        let options = Options { dialect: Some(Dialect::Draft11), unkeyed: Unkeyed::Skip };
        Self { limiter, demand: One(key::ip()), protocol: Http::new(), options }
    }
}

impl<D, P, L> RateLimitLayer<D, P, L> {
    /// Counts requests by what `extractor` finds, by every policy.
    ///
    /// To be given before what is about cost, tier and exceptions, which it would undo.
    pub fn key<X>(self, extractor: X) -> RateLimitLayer<One<X>, P, L> {
        self.demand(|_| One(extractor))
    }

    /// Counts requests under a key of its own by each policy: by a tuple of two to four extractors,
    /// in the order of the policies. By a policy beyond them, a request is counted as one [without
    /// a key](Self::unkeyed).
    ///
    /// To be given before what is about cost, tier and exceptions, which it would undo.
    pub fn keys<T>(self, extractors: T) -> RateLimitLayer<Each<T>, P, L> {
        self.demand(|_| Each(extractors))
    }

    /// What becomes of a request for which no key is found. It passes uncounted by default.
    pub const fn unkeyed(mut self, unkeyed: Unkeyed) -> Self {
        self.options.unkeyed = unkeyed;
        self
    }

    /// Spends what `cost` finds, in units of the quota; 1 by default. A cost above the burst is
    /// refused for good, with 403 and no `Retry-After`.
    pub fn cost_with<Req, F>(self, cost: F) -> RateLimitLayer<With<D, Cost<F>>, P, L>
    where
        F: Fn(&Req) -> u32,
    {
        self.demand(|demand| With::new(demand, Cost(cost)))
    }

    /// Spends what `estimate` finds, and puts a [`Reservation`](crate::Reservation) into the
    /// request's extensions, by which the service settles the true cost once it knows it.
    pub fn reserve_with<Req, F>(self, estimate: F) -> RateLimitLayer<With<D, Estimate<F>>, P, L>
    where
        F: Fn(&Req) -> u32,
    {
        self.demand(|demand| With::new(demand, Estimate(estimate)))
    }

    /// Applies the quotas of the tier that `tier` finds; see [`Policy::tier`](crate::Policy::tier).
    pub fn tier_with<Req, F>(self, tier: F) -> RateLimitLayer<With<D, Tier<F>>, P, L>
    where
        F: for<'a> Fn(&'a Req) -> Option<&'a str>,
    {
        self.demand(|demand| With::new(demand, Tier(tier)))
    }

    /// Applies the quotas of the tier that auth put into the principal.
    pub fn principal_tier(self) -> RateLimitLayer<With<D, PrincipalTier>, P, L> {
        self.demand(|demand| With::new(demand, PrincipalTier))
    }

    /// Does not limit requests for which `skips` is true.
    pub fn skip_with<Req, F>(self, skips: F) -> RateLimitLayer<With<D, Skip<F>>, P, L>
    where
        F: Fn(&Req) -> bool,
    {
        self.demand(|demand| With::new(demand, Skip(skips)))
    }

    /// Does not limit requests to these paths, such as those of health probes.
    pub fn skip_paths(
        self,
        paths: &'static [&'static str],
    ) -> RateLimitLayer<With<D, Paths>, P, L> {
        self.demand(|demand| With::new(demand, Paths(paths)))
    }

    /// Does not limit true preflights of CORS: `OPTIONS` with `Origin` and
    /// `Access-Control-Request-Method`. Not needed where the CORS layer is further out.
    pub fn skip_preflights(self) -> RateLimitLayer<With<D, Preflights>, P, L> {
        self.demand(|demand| With::new(demand, Preflights))
    }

    fn demand<X>(self, wrap: impl FnOnce(D) -> X) -> RateLimitLayer<X, P, L> {
        let Self { limiter, demand, protocol, options } = self;
        RateLimitLayer { limiter, demand: wrap(demand), protocol, options }
    }

    /// Speaks `protocol`, as one with its own way to render refusals.
    pub fn protocol<Q>(self, protocol: Q) -> RateLimitLayer<D, Q, L> {
        let Self { limiter, demand, options, .. } = self;
        RateLimitLayer { limiter, demand, protocol, options }
    }

    /// Reports refusals as errors, for services that do not speak HTTP.
    pub fn plain(self) -> RateLimitLayer<D, Plain, L> {
        self.protocol(Plain::default())
    }

    /// Whether responses tell the caller what is left. On by default. Redirects never do.
    pub const fn fields(mut self, on: bool) -> Self {
        self.options.dialect = if on { Some(Dialect::Draft11) } else { None };
        self
    }

    /// Tells it in the form of `dialect`.
    pub const fn dialect(mut self, dialect: Dialect) -> Self {
        self.options.dialect = Some(dialect);
        self
    }
}

impl<S, D: Clone, P: Clone> Layer<S> for RateLimitLayer<D, P> {
    type Service = RateLimit<S, D, P>;

    fn layer(&self, inner: S) -> Self::Service {
        self.service(inner, self.limiter.rules().reader())
    }
}

impl<D: Clone, P: Clone, L: Clone> RateLimitLayer<D, P, L> {
    pub(crate) fn service<S>(&self, inner: S, rules: Reader<RuleBook>) -> RateLimit<S, D, P, L> {
        RateLimit {
            inner,
            limiter: self.limiter.clone(),
            rules,
            demand: self.demand.clone(),
            protocol: self.protocol.clone(),
            options: self.options,
        }
    }
}
