//! How many exchanges may be in flight: algorithms that learn it, pure and told the time.
//!
//! [`BandwidthDelay`] is the default and needs no telling. The others are those of the field, as
//! they are published, for who knows them; each says what it is bad at. All of them move only by
//! calls that ended while the limit was in the way: a service at rest teaches nothing about how
//! much it can take.

mod aimd;
mod bandwidth_delay;
mod envoy_gradient;
mod fixed;
mod gradient2;
mod moments;
mod vegas;
mod window;

use std::fmt;
use std::time::Duration;

use bartizan_core::Timestamp;

pub use self::aimd::Aimd;
pub use self::bandwidth_delay::BandwidthDelay;
pub(crate) use self::bandwidth_delay::{HEADROOM, SPARE};
pub use self::envoy_gradient::EnvoyGradient;
pub use self::fixed::Fixed;
pub use self::gradient2::Gradient2;
pub use self::vegas::Vegas;
pub(crate) use self::window::{Window, seconds};

/// Learns how many exchanges may be in flight.
///
/// Told of calls as they end, in the order of time. Where calls are many, only every 2nd, 4th, … is
/// told, so rates come from [`Sample::completed`] and not from how often `record` is called.
pub trait Limit: fmt::Debug + Send {
    /// Takes note of a call that has ended.
    fn record(&mut self, sample: &Sample);

    /// The limit as it stands: at least 1, within the bounds.
    fn limit(&self) -> u32;

    /// The limit, but for a moment in which it is lowered to measure something.
    fn settled(&self) -> u32 {
        self.limit()
    }

    /// Keeps the limit within new bounds from now on.
    fn bound(&mut self, bounds: Bounds);

    /// What calls take when nothing waits inside the service, if the algorithm knows.
    fn base(&self) -> Option<Base> {
        None
    }
}

/// What calls take when nothing waits inside the service.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "whoever writes a limit makes it")]
pub struct Base {
    /// The mean.
    pub latency: Duration,
    /// The square of the coefficient of variation: 0 if all take the same time, 1 if they are
    /// exponentially distributed.
    pub spread: f64,
}

/// What is known of a call that has ended.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "whoever writes a limit makes samples in its tests")]
pub struct Sample {
    /// When it ended.
    pub now: Timestamp,
    /// How long it held its slot. Of a call that was given up, a lower bound.
    pub latency: Duration,
    /// How many exchanges were in flight as it ended, itself included.
    pub in_flight: u32,
    /// Whether the limit was reached as it ended, or others waited for a slot.
    pub is_full: bool,
    /// Whether it was given up, or failed, after longer than a call usually takes.
    pub is_overload: bool,
    /// How many calls have ever ended well.
    pub completed: u64,
}

/// Where a limit may move.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a pair with names")]
pub struct Bounds {
    /// The least, at least 1.
    pub min: u32,
    /// The most.
    pub max: u32,
}

impl Bounds {
    pub(crate) fn clamp(self, limit: f64) -> f64 {
        // Not `f64::clamp`, which panics where the bounds are the wrong way round.
        limit.min(self.max.into()).max(f64::from(self.min).max(1.0))
    }
}
