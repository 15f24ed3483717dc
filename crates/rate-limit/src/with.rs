//! What the layer's methods put around a key.

use bartizan_core::Principal;
use http::{Method, Request, header};

use crate::{Demand, Reservation};

/// A demand with something added, as by [`RateLimitLayer::cost_with`](crate::RateLimitLayer::cost_with).
#[derive(Clone, Copy, Debug)]
pub struct With<D, A> {
    demand: D,
    addition: A,
}

impl<D, A> With<D, A> {
    pub(crate) const fn new(demand: D, addition: A) -> Self {
        Self { demand, addition }
    }
}

/// What can be added to a [`Demand`]. What an addition does not say is as it was.
pub trait Addition<Req> {
    /// Whether it reserves; see [`Demand::RESERVES`].
    const RESERVES: bool = false;

    /// The cost of a request.
    fn cost(&self, _: &Req) -> Option<u32> {
        None
    }

    /// The tier of a request's caller.
    fn tier<'a>(&self, _: &'a Req) -> Option<&'a str> {
        None
    }

    /// Whether a request is not to be limited.
    fn skips(&self, _: &Req) -> bool {
        false
    }

    /// Hands the request's reservation on to the service.
    fn reserve(&self, _: &mut Req, _: Reservation) {}
}

impl<D, A, Req> Demand<Req> for With<D, A>
where
    D: Demand<Req>,
    A: Addition<Req>,
{
    type Keys = D::Keys;

    const RESERVES: bool = D::RESERVES || A::RESERVES;

    #[inline]
    fn keys(&self, request: &Req) -> D::Keys {
        self.demand.keys(request)
    }

    #[inline]
    fn cost(&self, request: &Req) -> u32 {
        self.addition.cost(request).unwrap_or_else(|| self.demand.cost(request))
    }

    #[inline]
    fn tier<'a>(&self, request: &'a Req) -> Option<&'a str> {
        self.addition.tier(request).or_else(|| self.demand.tier(request))
    }

    #[inline]
    fn skips(&self, request: &Req) -> bool {
        self.addition.skips(request) || self.demand.skips(request)
    }

    fn reserve(&self, request: &mut Req, reservation: Reservation) {
        if A::RESERVES {
            self.addition.reserve(request, reservation);
        } else {
            self.demand.reserve(request, reservation);
        }
    }
}

/// The cost of a request, by a closure.
#[derive(Clone, Copy, Debug)]
pub struct Cost<F>(pub(crate) F);

impl<F: Fn(&Req) -> u32, Req> Addition<Req> for Cost<F> {
    fn cost(&self, request: &Req) -> Option<u32> {
        Some((self.0)(request))
    }
}

/// The cost of a request, as it is estimated; to be settled by whoever finds the
/// [`Reservation`] in the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Estimate<F>(pub(crate) F);

impl<F: Fn(&Request<B>) -> u32, B> Addition<Request<B>> for Estimate<F> {
    const RESERVES: bool = true;

    fn cost(&self, request: &Request<B>) -> Option<u32> {
        Some((self.0)(request))
    }

    fn reserve(&self, request: &mut Request<B>, reservation: Reservation) {
        request.extensions_mut().insert(reservation);
    }
}

/// The tier of a request's caller, by a closure.
#[derive(Clone, Copy, Debug)]
pub struct Tier<F>(pub(crate) F);

impl<F: for<'a> Fn(&'a Req) -> Option<&'a str>, Req> Addition<Req> for Tier<F> {
    fn tier<'a>(&self, request: &'a Req) -> Option<&'a str> {
        (self.0)(request)
    }
}

/// The tier that auth put into the [`Principal`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PrincipalTier;

impl<B> Addition<Request<B>> for PrincipalTier {
    fn tier<'a>(&self, request: &'a Request<B>) -> Option<&'a str> {
        request.extensions().get::<Principal>()?.tier()
    }
}

/// Requests that are not to be limited, by a closure.
#[derive(Clone, Copy, Debug)]
pub struct Skip<F>(pub(crate) F);

impl<F: Fn(&Req) -> bool, Req> Addition<Req> for Skip<F> {
    fn skips(&self, request: &Req) -> bool {
        (self.0)(request)
    }
}

/// True preflights of CORS, which browsers send without being asked: `OPTIONS` with `Origin` and
/// `Access-Control-Request-Method` (Fetch standard, CORS-preflight fetch).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Preflights;

impl<B> Addition<Request<B>> for Preflights {
    fn skips(&self, request: &Request<B>) -> bool {
        request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ORIGIN)
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }
}

/// Requests to some paths, such as those of health probes.
#[derive(Clone, Copy, Debug)]
pub struct Paths(pub(crate) &'static [&'static str]);

impl<B> Addition<Request<B>> for Paths {
    fn skips(&self, request: &Request<B>) -> bool {
        self.0.contains(&request.uri().path())
    }
}
