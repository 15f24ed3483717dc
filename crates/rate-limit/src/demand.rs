//! What is asked of a limiter for a request: its keys, cost and tier, or nothing.

use bartizan_core::{Key, KeyExtractor};

use crate::{PolicyKeys, Reservation};

/// Finds what a request asks of the limiter.
///
/// The layer's methods build it: [`One`] key or [`Each`] policy's own, at a cost of 1, and whatever
/// else is asked for [`With`](crate::with::With) it.
pub trait Demand<Req> {
    /// The keys of a request.
    type Keys: PolicyKeys;

    /// Whether [`reserve`](Self::reserve) does anything.
    const RESERVES: bool = false;

    /// Whom the request is counted under.
    fn keys(&self, request: &Req) -> Self::Keys;

    /// What it costs, in units of the quota.
    fn cost(&self, _: &Req) -> u32 {
        1
    }

    /// The tier of its caller.
    fn tier<'a>(&self, _: &'a Req) -> Option<&'a str> {
        None
    }

    /// Whether it is not to be limited at all.
    fn skips(&self, _: &Req) -> bool {
        false
    }

    /// Hands the request's reservation on to the service.
    fn reserve(&self, _: &mut Req, _: Reservation) {}
}

/// One key for all policies.
#[derive(Clone, Copy, Debug)]
pub struct One<K>(pub(crate) K);

impl<K: KeyExtractor<Req>, Req> Demand<Req> for One<K> {
    type Keys = Option<Key>;

    #[inline]
    fn keys(&self, request: &Req) -> Option<Key> {
        self.0.key(request)
    }
}

/// A key of its own for each policy.
#[derive(Clone, Copy, Debug)]
pub struct Each<T>(pub(crate) T);

impl<A, B, Req> Demand<Req> for Each<(A, B)>
where
    A: KeyExtractor<Req>,
    B: KeyExtractor<Req>,
{
    type Keys = [Option<Key>; 2];

    #[inline]
    fn keys(&self, request: &Req) -> Self::Keys {
        let (a, b) = &self.0;
        [a.key(request), b.key(request)]
    }
}

impl<A, B, C, Req> Demand<Req> for Each<(A, B, C)>
where
    A: KeyExtractor<Req>,
    B: KeyExtractor<Req>,
    C: KeyExtractor<Req>,
{
    type Keys = [Option<Key>; 3];

    fn keys(&self, request: &Req) -> Self::Keys {
        let (a, b, c) = &self.0;
        [a.key(request), b.key(request), c.key(request)]
    }
}

impl<A, B, C, D, Req> Demand<Req> for Each<(A, B, C, D)>
where
    A: KeyExtractor<Req>,
    B: KeyExtractor<Req>,
    C: KeyExtractor<Req>,
    D: KeyExtractor<Req>,
{
    type Keys = [Option<Key>; 4];

    fn keys(&self, request: &Req) -> Self::Keys {
        let (a, b, c, d) = &self.0;
        [a.key(request), b.key(request), c.key(request), d.key(request)]
    }
}
