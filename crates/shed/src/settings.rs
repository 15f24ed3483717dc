use std::time::Duration;

use bartizan_core::ConfigError;
use serde::{Deserialize, Serialize};

use crate::gate::MOST;
use crate::limit::{Aimd, BandwidthDelay, Bounds, EnvoyGradient, Fixed, Gradient2, Limit, Vegas};

/// How the limit is found.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Algorithm {
    /// [`Aimd`]: has to be told a latency target.
    Aimd,
    /// [`BandwidthDelay`]: has to be told nothing. The default.
    #[default]
    BandwidthDelay,
    /// [`EnvoyGradient`].
    EnvoyGradient,
    /// [`Fixed`]: stays at the initial limit.
    Fixed,
    /// [`Gradient2`].
    Gradient2,
    /// [`Vegas`].
    Vegas,
}

/// What a [`LoadShedder`](crate::LoadShedder) can be told, also while it runs.
///
/// Fields of the same names make up its JSON, with times in milliseconds and algorithms as
/// `"bandwidth_delay"`. What a document leaves out has its default:
///
/// ```
/// use bartizan_core::Engine;
/// use bartizan_shed::LoadShedder;
///
/// let shedder = LoadShedder::new("api");
/// shedder.apply(serde_json::json!({
///     "initial_limit": 64,
///     "max_limit": 500,
///     "queue_capacity": 256,
///     "max_wait_ms": 250,
/// }))?;
/// # Ok::<(), bartizan_shed::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Settings {
    algorithm: Algorithm,
    /// The limit's floor, in exchanges.
    min_limit: u32,
    /// Where the limit starts.
    initial_limit: u32,
    /// The limit's ceiling.
    max_limit: u32,
    /// The time to hold a slot above which the service is overloaded, in milliseconds; for
    /// [`Algorithm::Aimd`].
    latency_target_ms: u32,
    /// How many requests may wait; 0 for none.
    queue_capacity: u32,
    /// How long any of them waits at the most, in milliseconds.
    max_wait_ms: u32,
    /// How many slots beyond the limit are kept for critical requests, as a share of it.
    critical_share: f64,
    /// The share of requests that is refused whatever the load is, the critical ones left out.
    forced_share: f64,
}

impl Default for Settings {
    /// A limit that finds itself, from 1 to 10 000 exchanges, 8 at first; a queue of up to 1024
    /// requests that wait for a second at the most, and usually for much less; a tenth more slots for
    /// critical requests.
    fn default() -> Self {
        Self {
            algorithm: Algorithm::BandwidthDelay,
            min_limit: 1,
            initial_limit: 8,
            max_limit: 10_000,
            latency_target_ms: 250,
            queue_capacity: 1024,
            max_wait_ms: 1000,
            critical_share: 0.1,
            forced_share: 0.0,
        }
    }
}

impl Settings {
    /// A limit that stays at `limit`, and the rest as by default.
    pub fn fixed(limit: u32) -> Self {
        Self::default().algorithm_of(Algorithm::Fixed).limits(limit, limit, limit)
    }

    /// Sets how the limit is found.
    pub const fn algorithm_of(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Sets floor, start and ceiling of the limit, in exchanges in flight.
    pub const fn limits(mut self, min: u32, initial: u32, max: u32) -> Self {
        self.min_limit = min;
        self.initial_limit = initial;
        self.max_limit = max;
        self
    }

    /// Sets for how long a call may hold its slot before the service counts as overloaded, in whole
    /// milliseconds. Only [`Algorithm::Aimd`] has to be told.
    pub fn latency_target(mut self, target: Duration) -> Self {
        self.latency_target_ms = u32::try_from(target.as_millis()).unwrap_or(u32::MAX);
        self
    }

    /// Sets how many requests may wait for a slot; 0 for none, so that what finds no slot is refused
    /// at once.
    pub const fn queue(mut self, capacity: u32) -> Self {
        self.queue_capacity = capacity;
        self
    }

    /// Sets how long a request may wait for a slot at the most, in whole milliseconds.
    pub fn longest_wait(mut self, wait: Duration) -> Self {
        self.max_wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        self
    }

    /// Sets how many slots beyond the limit are kept for critical requests, as a share of it from 0
    /// to 1; at least one, if it is not 0.
    pub const fn critical_slots(mut self, share: f64) -> Self {
        self.critical_share = share;
        self
    }

    /// Has a share of the requests refused whatever the load is, from 0 to 1: to rehearse, or in an
    /// emergency. Critical requests are left out.
    pub const fn force(mut self, share: f64) -> Self {
        self.forced_share = share;
        self
    }

    /// Whether another algorithm, or one told otherwise, is wanted.
    pub(crate) fn limits_otherwise(&self, new: &Self) -> bool {
        self.algorithm != new.algorithm
            || match new.algorithm {
                Algorithm::Aimd => self.latency_target_ms != new.latency_target_ms,
                Algorithm::Fixed => self.initial_limit != new.initial_limit,
                _ => false,
            }
    }

    pub(crate) const fn initial(&self) -> u32 {
        self.initial_limit
    }

    pub(crate) const fn bounds(&self) -> Bounds {
        Bounds { min: self.min_limit, max: self.max_limit }
    }

    pub(crate) const fn queue_capacity(&self) -> usize {
        self.queue_capacity as usize
    }

    pub(crate) const fn max_wait(&self) -> Duration {
        Duration::from_millis(self.max_wait_ms as u64)
    }

    pub(crate) const fn critical_share(&self) -> f64 {
        self.critical_share
    }

    pub(crate) const fn forced_share(&self) -> f64 {
        self.forced_share
    }

    /// The algorithm, started at `initial`.
    pub(crate) fn make_limit(&self, initial: u32) -> Box<dyn Limit> {
        match self.algorithm {
            Algorithm::Aimd => {
                let target = Duration::from_millis(self.latency_target_ms.into());
                Box::new(Aimd::new(initial, target))
            }
            Algorithm::BandwidthDelay => Box::new(BandwidthDelay::new(initial)),
            Algorithm::EnvoyGradient => Box::new(EnvoyGradient::new(initial)),
            Algorithm::Fixed => Box::new(Fixed::new(self.initial_limit)),
            Algorithm::Gradient2 => Box::new(Gradient2::new(initial)),
            Algorithm::Vegas => Box::new(Vegas::new(initial)),
        }
    }

    /// Checks that the settings can be lived by.
    pub(crate) fn validated(self) -> Result<Self, ConfigError> {
        let error = |field, problem, fix| Err(ConfigError::new(field, problem, fix));
        if self.min_limit == 0 {
            return error("min_limit", "a floor of 0 would refuse everything", "use 1 or more");
        }
        if self.max_limit < self.min_limit {
            return error("max_limit", "below `min_limit`", "raise it, or lower the floor");
        }
        if self.max_limit > MOST {
            return error("max_limit", "more than can be counted", "use 524288 or less");
        }
        if !(self.min_limit..=self.max_limit).contains(&self.initial_limit) {
            return error(
                "initial_limit",
                "outside the limits",
                "put it between floor and ceiling",
            );
        }
        if self.latency_target_ms == 0 {
            return error("latency_target_ms", "no answer comes in no time", "use 1 or more");
        }
        if self.queue_capacity > 1 << 20 {
            return error("queue_capacity", "too many to be served in time", "use 1048576 or less");
        }
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        if !is_share(self.critical_share) {
            return error("critical_share", "not a share", "use a number from 0 to 1");
        }
        if !is_share(self.forced_share) {
            return error("forced_share", "not a share", "use a number from 0 to 1");
        }
        Ok(self)
    }
}
