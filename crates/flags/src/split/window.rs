//! A window that slides, and the judgement over two of them.

use super::settings::RolloutSettings;

/// Into how many parts a window is cut; it slides by one of them.
const PARTS: u64 = 16;

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    pub(super) exchanges: u64,
    pub(super) failures: u64,
    /// Of all exchanges together, in microseconds.
    pub(super) micros: u64,
}

impl Sum {
    const fn add(&mut self, other: Self) {
        self.exchanges += other.exchanges;
        self.failures += other.failures;
        self.micros = self.micros.saturating_add(other.micros);
    }

    pub(super) fn failure_share(self) -> f64 {
        if self.exchanges == 0 { 0.0 } else { self.failures as f64 / self.exchanges as f64 }
    }

    fn mean_micros(self) -> f64 {
        if self.exchanges == 0 { 0.0 } else { self.micros as f64 / self.exchanges as f64 }
    }
}

/// The exchanges of the last while, to a sixteenth of it.
#[derive(Debug, Default)]
pub(super) struct Window {
    parts: [Sum; PARTS as usize],
    /// The number of the newest part, counted from the clock's origin.
    newest: u64,
    /// The length of a part, in nanoseconds; a window of another length starts anew.
    length: u64,
}

impl Window {
    fn slide(&mut self, now: u64, window: u64) {
        let length = (window / PARTS).max(1);
        let part = now / length;
        if length != self.length {
            *self = Self { length, newest: part, ..Self::default() };
        }
        // A clock reading that is late by a moment belongs to the newest part.
        for step in 1..=part.saturating_sub(self.newest).min(PARTS) {
            let stale = (self.newest + step) % PARTS;
            if let Some(stale) = self.parts.get_mut(stale as usize) {
                *stale = Sum::default();
            }
        }
        self.newest = self.newest.max(part);
    }

    pub(super) fn record(&mut self, now: u64, window: u64, failed: bool, micros: u64) {
        self.slide(now, window);
        if let Some(part) = self.parts.get_mut((self.newest % PARTS) as usize) {
            part.add(Sum { exchanges: 1, failures: u64::from(failed), micros });
        }
    }

    pub(super) fn sum(&mut self, now: u64, window: u64) -> Sum {
        self.slide(now, window);
        let mut sum = Sum::default();
        self.parts.iter().for_each(|part| sum.add(*part));
        sum
    }
}

/// Why a variant is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Failures,
    Latency,
}

/// Compares a variant with stable. Without enough exchanges of the variant there is no judgement;
/// without any of stable its share of failures counts as none, and latency is not compared.
pub(super) fn judge(stable: Sum, variant: Sum, settings: &RolloutSettings) -> Option<Fault> {
    if variant.exchanges < settings.minimum() {
        return None;
    }
    if variant.failure_share() > stable.failure_share() + settings.margin() {
        return Some(Fault::Failures);
    }
    let enough = stable.exchanges >= settings.minimum();
    let slow = |factor: f64| variant.mean_micros() > stable.mean_micros() * factor;
    settings.factor().filter(|_| enough).is_some_and(slow).then_some(Fault::Latency)
}

/// How many times stable's mean latency an answer may take before it is overdue, where the settings
/// give latency no bound.
const OVERDUE: f64 = 10.0;

/// Whether a caller who left after so long had reason to: by then stable, if it is known well enough,
/// would have answered. A service that hangs shows in nothing else.
pub(super) fn is_overdue(stable: Sum, micros: u64, settings: &RolloutSettings) -> bool {
    let factor = settings.factor().unwrap_or(OVERDUE);
    stable.exchanges >= settings.minimum() && micros as f64 > stable.mean_micros() * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_agrees_with_a_list_over_a_long_run() {
        const WINDOW: u64 = 16_000;
        let mut random = fastrand::Rng::with_seed(7);
        let (mut window, mut all, mut now) = (Window::default(), Vec::new(), 5_000_000u64);
        for _ in 0..20_000 {
            now += random.u64(0..900);
            let (failed, micros) = (random.bool(), random.u64(0..50));
            window.record(now, WINDOW, failed, micros);
            all.push((now / 1000, failed, micros));
            let part = now / 1000;
            let mut expected = Sum::default();
            for (_, failed, micros) in all.iter().rev().take_while(|(at, ..)| at + 16 > part) {
                let failures = u64::from(*failed);
                expected.add(Sum { exchanges: 1, failures, micros: *micros });
            }
            assert_eq!(window.sum(now, WINDOW), expected);
        }
        assert_eq!(window.sum(now + 2 * WINDOW, WINDOW), Sum::default());
    }

    #[test]
    fn a_variant_is_judged_by_margin_and_factor() {
        let settings = RolloutSettings::default().minimum_exchanges(10).latency_factor(2.0);
        let sum = |failures, micros| Sum { exchanges: 100, failures, micros };
        assert_eq!(judge(sum(2, 100), sum(7, 100), &settings), None);
        assert_eq!(judge(sum(2, 100), sum(8, 100), &settings), Some(Fault::Failures));
        assert_eq!(judge(sum(0, 100), sum(0, 200), &settings), None);
        assert_eq!(judge(sum(0, 100), sum(0, 201), &settings), Some(Fault::Latency));
        let few = Sum { exchanges: 9, failures: 9, micros: 9 };
        assert_eq!(judge(sum(0, 0), few, &settings), None);
        assert_eq!(judge(few, sum(100, 9), &settings), None);
        assert_eq!(judge(Sum::default(), sum(6, 9), &settings), Some(Fault::Failures));
    }

    #[test]
    fn an_answer_is_overdue_by_what_stable_takes() {
        let settings = RolloutSettings::default();
        let stable = Sum { exchanges: 50, failures: 0, micros: 5000 };
        assert!(!is_overdue(stable, 1000, &settings) && is_overdue(stable, 1001, &settings));
        let settings = settings.latency_factor(2.0);
        assert!(!is_overdue(stable, 200, &settings) && is_overdue(stable, 201, &settings));
        let unknown = Sum { exchanges: 49, ..stable };
        assert!(!is_overdue(unknown, u64::MAX, &settings));
    }
}
