use std::error::Error;
use std::fmt;

use bartizan_core::Key;

/// Counts that are kept outside the process, so that several share them.
///
/// A store keeps one theoretical arrival time for each key and policy, on a clock of its own, and
/// decides as GCRA does: with `start = max(arrival, now)` and `next = start + interval × cost`, the
/// request is within the quota if `next ≤ now + interval × burst`, or if it costs nothing. An arrival
/// beyond `now + longest`, as from a stricter quota or a clock that has gone back, counts as if it
/// were just there; up to there it may be what another tier's quota is owed, and stays.
///
/// The policies of a request are judged all or nothing: if one [enforced](Ration::enforced) policy
/// refuses, none is spent of; one that is not enforced is spent of only if it admits.
///
/// A store that is slow or away must say so within a deadline of its own: the limiter waits for as
/// long as the store does.
pub trait Store: Clone + Send + Sync + 'static {
    /// A decision that takes a trip.
    type Trip: Future<Output = Result<Debts, StoreError>> + Send;

    /// Spends of each policy what the request costs there, or of none.
    ///
    /// Answers at once if the answer is known here, as while a lease lasts.
    fn take(&self, rations: &[Ration<'_>]) -> Taking<Self::Trip>;

    /// Gives back (below 0) or spends (above) so many units, whatever the quota. Best effort: does
    /// not wait, and may be lost with the store.
    fn adjust(&self, ration: &Ration<'_>, units: i64);
}

/// What a request asks of one policy.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Ration<'a> {
    /// The policy's name, unique within the limiter: printable ASCII.
    pub policy: &'a str,
    /// The limiter's name: printable ASCII.
    pub limiter: &'a str,
    /// Whom the request is counted under.
    pub key: Key,
    /// GCRA's emission interval, in nanoseconds; at least 1.
    pub interval: u64,
    /// How many units an idle key may spend at once; at least 1.
    pub burst: u32,
    /// How far ahead of now the arrival time of any of the policy's tiers may lie, in nanoseconds: at
    /// least `interval × burst`.
    pub longest: u64,
    /// How many units this request costs, at most `burst`.
    pub cost: u32,
    /// Whether a refusal by this policy is one of the request.
    pub enforced: bool,
}

impl<'a> Ration<'a> {
    /// Asks an enforced policy without tiers for one unit.
    #[must_use]
    pub const fn new(
        limiter: &'a str,
        policy: &'a str,
        key: Key,
        interval: u64,
        burst: u32,
    ) -> Self {
        let longest = interval.saturating_mul(burst as u64);
        Self { policy, limiter, key, interval, burst, longest, cost: 1, enforced: true }
    }
}

/// How a store answers.
#[derive(Debug)]
#[non_exhaustive]
pub enum Taking<T> {
    /// It knows.
    Done(Result<Debts, StoreError>),
    /// It has to ask.
    Trip(T),
}

/// How far ahead of the store's clock each policy's arrival time is, in nanoseconds, by the
/// policy's place in what was asked: after the request was spent, if it was, and as it stands if
/// not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Debts {
    /// Nanoseconds; 0 for an idle key.
    pub ahead: [u64; 4],
    /// Bit by place: which policies refuse.
    pub refused: u8,
}

/// Why a store could not decide.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StoreError {
    /// It said something that is no answer.
    Garbled,
    /// It did not answer within its deadline.
    Late,
    /// It cannot be reached, or was not asked since it could not be reached just now.
    Unreachable,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Garbled => "the store gave no sound answer",
            Self::Late => "the store did not answer in time",
            Self::Unreachable => "the store cannot be reached",
        })
    }
}

impl Error for StoreError {}
