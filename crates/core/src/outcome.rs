use std::fmt;
use std::time::Duration;

use http::HeaderMap;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The caller went away before the end was known: the future was dropped, or the body half read.
    Abandoned,
    /// The service failed: an error, a 5xx status, a failing `grpc-status`, or a broken body.
    Failure,
    /// A layer further in turned the request away: it says nothing about the service itself.
    Refused,
    /// The service answered, to the end of its body: or with one that nobody asked for, as the one of an
    /// answer to HEAD.
    Success,
}

/// Is told, exactly once, how an exchange ended.
///
/// A watch that is dropped untold must treat the exchange as [`Outcome::Abandoned`].
pub trait Watch {
    /// Whether the outcome matters. If not, nobody takes the trouble to judge the exchange.
    const CARES: bool = true;

    /// Is told before a failure how long the service asks not to be called, as by `Retry-After`.
    /// Does nothing by default.
    fn retry_after(&self, _wait: Duration) {}

    /// Takes note of `outcome`.
    fn settle(self, outcome: Outcome);
}

/// For a layer that does not care how an exchange ends.
impl Watch for () {
    const CARES: bool = false;

    fn settle(self, _: Outcome) {}
}

/// What a response's head says about the exchange.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Verdict {
    /// The end of the body decides; the function judges it by its trailers, if any came.
    AtEnd(fn(Option<&HeaderMap>) -> Outcome),
    /// The head decides.
    Known(Outcome),
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtEnd(_) => f.write_str("AtEnd"),
            Self::Known(outcome) => f.debug_tuple("Known").field(outcome).finish(),
        }
    }
}
