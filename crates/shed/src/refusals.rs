use std::time::Duration;

use bartizan_core::Timestamp;

/// How often the share is taken anew.
const INTERVAL: Duration = Duration::from_millis(500);
/// How much the newest counts.
const WEIGHT: f64 = 0.5;

/// Which share of the requests of the last second or two was refused.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Refusals {
    share: f64,
    since: Timestamp,
    refused: u64,
    ended: u64,
}

impl Refusals {
    /// Takes note of how many have ever been refused, which is asked only if it is time to, and how many
    /// calls have ended.
    pub(crate) fn note(&mut self, now: Timestamp, ended: u64, refused: impl FnOnce() -> u64) {
        if now.saturating_since(self.since) < INTERVAL {
            return;
        }
        let refused = refused();
        let new = refused.saturating_sub(self.refused) as f64;
        let all = new + ended.saturating_sub(self.ended) as f64;
        self.share += WEIGHT * (new / all.max(1.0) - self.share);
        (self.since, self.refused, self.ended) = (now, refused, ended);
    }

    /// From 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        self.share
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_share_follows_what_is_refused_and_is_forgotten() {
        let mut refusals = Refusals::default();
        let at = |step: u64| Timestamp::from_nanos(1_000_000_000_000 + step * 500_000_000);
        for step in 0..20 {
            refusals.note(at(step), step * 100, || step * 300);
        }
        assert!((refusals.share() - 0.75).abs() < 0.01, "{refusals:?}");
        refusals.note(at(19), 0, || unreachable!("it is not time yet"));
        for step in 20..40 {
            refusals.note(at(step), step * 100, || 5_700);
        }
        assert!(refusals.share() < 0.01, "{refusals:?}");
    }
}
