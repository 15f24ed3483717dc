use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bartizan_core::Timestamp;

use crate::priority::LEVELS;

/// The threshold is set anew so often, …
const INTERVAL: Duration = Duration::from_millis(100);
/// … if so many have come since.
const LEAST_ARRIVALS: f64 = 50.0;
/// As many as are served and half as many more may wait, so that the queue does not run dry.
const MARGIN: f64 = 1.5;
/// Gains of the integral and of the proportional part.
const INTEGRAL: f64 = 0.5;
const PROPORTIONAL: f64 = 0.2;
const MOST_REFUSED: f64 = 0.99;
/// As good as nothing.
const LEAST_REFUSED: f64 = 0.001;

/// Levels are cut into so many parts, so that a share of one can be let in.
const PARTS: u32 = 256;
const ALL: u32 = LEVELS as u32 * PARTS;

/// Keeps out of the queue what would not be served from it: whoever comes while all slots are taken
/// and has a level above a threshold. That costs a look where waiting would cost a place and a timer.
///
/// The threshold follows the load by a PI controller whose error is a share of what is *offered*:
/// scaled by anything else its gain would grow with the overload. It never stands in the way of a free
/// slot, so if it is wrong the queue runs dry, and no worker.
#[derive(Debug)]
pub(crate) struct Door {
    threshold: AtomicU32,
    arrived: AtomicU32,
    joined: AtomicU32,
    served: AtomicU32,
    levels: Box<[AtomicU32]>,
    updated: AtomicU64,
    /// The integral part, as the bits of an `f64`.
    integral: AtomicU64,
    /// The share refused, likewise.
    share: AtomicU64,
}

impl Door {
    pub(crate) fn new() -> Self {
        Self {
            threshold: AtomicU32::new(ALL),
            arrived: AtomicU32::new(0),
            joined: AtomicU32::new(0),
            served: AtomicU32::new(0),
            levels: (0..LEVELS).map(|_| AtomicU32::new(0)).collect(),
            updated: AtomicU64::new(0),
            integral: AtomicU64::new(0),
            share: AtomicU64::new(0),
        }
    }

    /// Whether somebody of this level, who comes while all slots are taken, may wait.
    pub(crate) fn lets_in(&self, level: u16) -> bool {
        self.arrived.fetch_add(1, Relaxed);
        if let Some(count) = self.levels.get(usize::from(level)) {
            count.fetch_add(1, Relaxed);
        }
        let threshold = self.threshold.load(Relaxed);
        threshold >= ALL || u32::from(level) * PARTS + u32::from(fastrand::u8(..)) < threshold
    }

    /// Whether others are being refused so that this level is served.
    pub(crate) fn favours(&self, level: u16) -> bool {
        let threshold = self.threshold.load(Relaxed);
        threshold < ALL && u32::from(level) < threshold / PARTS
    }

    /// Somebody has begun to wait.
    pub(crate) fn joined(&self) {
        self.joined.fetch_add(1, Relaxed);
    }

    /// So many were given a slot.
    pub(crate) fn served(&self, count: u32) {
        self.served.fetch_add(count, Relaxed);
    }

    /// The share of those who came while all slots were taken that is refused here.
    pub(crate) fn share(&self) -> f64 {
        f64::from_bits(self.share.load(Relaxed))
    }

    /// Sets the threshold anew if it is time to.
    pub(crate) fn update(&self, now: Timestamp) {
        let updated = self.updated.load(Relaxed);
        if now.saturating_since(Timestamp::from_nanos(updated)) < INTERVAL
            || self.updated.compare_exchange(updated, now.as_nanos(), Relaxed, Relaxed).is_err()
        {
            return;
        }
        let arrived = f64::from(self.arrived.load(Relaxed));
        let integral = f64::from_bits(self.integral.load(Relaxed));
        if arrived < LEAST_ARRIVALS {
            // Most of the time there is nothing to forget.
            if self.share() > 0.0 {
                let rest = if integral > LEAST_REFUSED { integral / 2.0 } else { 0.0 };
                self.set(rest, rest);
            }
            return;
        }
        self.arrived.store(0, Relaxed);
        let joined = f64::from(self.joined.swap(0, Relaxed));
        let served = f64::from(self.served.swap(0, Relaxed));
        let error = (joined - MARGIN * served) / arrived;
        let integral = (integral + INTEGRAL * error).clamp(0.0, MOST_REFUSED);
        self.set(integral, (integral + PROPORTIONAL * error).clamp(0.0, MOST_REFUSED));
    }

    fn set(&self, integral: f64, share: f64) {
        self.integral.store(integral.to_bits(), Relaxed);
        self.share.store(share.to_bits(), Relaxed);
        self.threshold.store(self.quantile(1.0 - share), Relaxed);
    }

    /// Below which point the `share` of recent arrivals lies that matters most. Forgets half of
    /// them.
    fn quantile(&self, share: f64) -> u32 {
        let counts = || self.levels.iter().map(|count| f64::from(count.load(Relaxed)));
        let (mut rest, mut threshold) = (share * counts().sum::<f64>(), None);
        for (level, here) in (0..).zip(counts()) {
            if threshold.is_none() && here > rest {
                threshold = Some(level * PARTS + (rest / here * f64::from(PARTS)) as u32);
            }
            rest -= here;
        }
        for count in &self.levels {
            count.store(count.load(Relaxed) / 2, Relaxed);
        }
        if share > 1.0 - LEAST_REFUSED { ALL } else { threshold.unwrap_or(ALL) }
    }
}
