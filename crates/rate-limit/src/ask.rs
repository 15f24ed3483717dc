use bartizan_core::Key;

/// How many policies a limiter has at most.
pub(crate) const MAX_POLICIES: usize = 4;

/// What becomes of a request without a key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Unkeyed {
    /// It is refused, as a bad request.
    Refuse,
    /// All such requests are counted under one key.
    Share,
    /// It is not counted. The default.
    #[default]
    Skip,
}

/// What one request asks of a [`RateLimiter`](crate::RateLimiter): under which keys it is counted,
/// at which cost, and for which tier.
///
/// A [`Key`] is one too: under that key by every policy, at a cost of 1, for no tier.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Ask<'a> {
    pub(crate) keys: AskKeys,
    pub(crate) cost: u32,
    pub(crate) tier: Option<&'a str>,
}

/// The keys of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AskKeys {
    Each([Option<Key>; MAX_POLICIES]),
    One(Key),
}

impl<'a> Ask<'a> {
    /// Counts the request under `key` by every policy.
    pub const fn new(key: Key) -> Self {
        Self { keys: AskKeys::One(key), cost: 1, tier: None }
    }

    /// Counts the request under a key of its own by each policy, in their order; a policy beyond
    /// the keys, or with `None`, does not count it.
    pub fn each(keys: impl IntoIterator<Item = Option<Key>>) -> Self {
        let mut each = [None; MAX_POLICIES];
        each.iter_mut().zip(keys).for_each(|(each, key)| *each = key);
        Self { keys: AskKeys::Each(each), cost: 1, tier: None }
    }

    /// Spends `cost` units of each policy that is not [flat](crate::Policy::flat). 1 by default.
    pub const fn cost(mut self, cost: u32) -> Self {
        self.cost = cost;
        self
    }

    /// Asks for the quotas of `tier`.
    pub const fn tier(mut self, tier: &'a str) -> Self {
        self.tier = Some(tier);
        self
    }
}

impl From<Key> for Ask<'_> {
    fn from(key: Key) -> Self {
        Self::new(key)
    }
}

/// The key for each policy, by its place.
pub trait PolicyKeys: Copy {
    /// The key under which the policy at `place` counts the request.
    fn get(&self, place: usize) -> Option<Key>;
}

/// The same for all.
impl PolicyKeys for Option<Key> {
    #[inline]
    fn get(&self, _: usize) -> Option<Key> {
        *self
    }
}

impl<const N: usize> PolicyKeys for [Option<Key>; N] {
    #[inline]
    fn get(&self, place: usize) -> Option<Key> {
        self.as_slice().get(place).copied().flatten()
    }
}

impl PolicyKeys for AskKeys {
    fn get(&self, place: usize) -> Option<Key> {
        match self {
            Self::Each(keys) => keys.get(place),
            Self::One(key) => Some(*key),
        }
    }
}

/// What a request asks, with its keys in the form in which they were found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a, K> {
    pub(crate) keys: K,
    pub(crate) cost: u32,
    pub(crate) tier: Option<&'a str>,
    pub(crate) unkeyed: Unkeyed,
}

impl<'a> From<Ask<'a>> for Asked<'a, AskKeys> {
    fn from(Ask { keys, cost, tier }: Ask<'a>) -> Self {
        Asked { keys, cost, tier, unkeyed: Unkeyed::Skip }
    }
}
