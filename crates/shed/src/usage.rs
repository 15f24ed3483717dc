use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use bartizan_core::{Key, Timestamp};

/// Cells per row; two rows.
const CELLS: usize = 1024;
/// What was asked for a second ago counts half.
const HALF_LIFE: u64 = 1_000_000_000;

/// Who has asked for how much of late: a count-min sketch (Cormode and Muthukrishnan, 2005) of a
/// fixed size that halves each second. A tenant may be thought to have asked for more than it has,
/// where others share both of its cells; never for less.
#[derive(Debug)]
pub(crate) struct Usage {
    rows: [Box<[AtomicU32]>; 2],
    total: AtomicU32,
    halved: AtomicU64,
}

impl Usage {
    pub(crate) fn new() -> Self {
        let row = || (0..CELLS).map(|_| AtomicU32::new(0)).collect();
        Self { rows: [row(), row()], total: AtomicU32::new(0), halved: AtomicU64::new(0) }
    }

    /// Counts a request, and returns its tenant's share of all, from 0 to 1.
    pub(crate) fn share(&self, now: Timestamp, tenant: Key) -> f64 {
        self.fade(now);
        let total = self.total.fetch_add(1, Relaxed).saturating_add(1);
        let hash = tenant.as_u128();
        let places = [hash as usize % CELLS, (hash >> 64) as usize % CELLS];
        let cells = self.rows.iter().zip(places).filter_map(|(row, place)| row.get(place));
        let count = cells.map(|cell| cell.fetch_add(1, Relaxed).saturating_add(1)).min();
        f64::from(count.unwrap_or(0)) / f64::from(total)
    }

    fn fade(&self, now: Timestamp) {
        let halved = self.halved.load(Relaxed);
        let periods = now.as_nanos().saturating_sub(halved) / HALF_LIFE;
        if periods == 0
            || self.halved.compare_exchange(halved, now.as_nanos(), Relaxed, Relaxed).is_err()
        {
            return;
        }
        let shift = periods.min(31) as u32;
        for cell in self.rows.iter().flatten().chain([&self.total]) {
            // What is counted meanwhile may be lost: it is a share, not a bill.
            cell.store(cell.load(Relaxed) >> shift, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    #[test]
    fn shares_follow_use_and_fade() {
        let usage = Usage::new();
        let (small, large) = (Key::of("small"), Key::of("large"));
        for round in 0..100 {
            usage.share(at(round), small);
            for _ in 0..20 {
                usage.share(at(round), large);
            }
        }
        assert!((usage.share(at(100), small) - 1.0 / 21.0).abs() < 0.01);
        assert!((usage.share(at(100), large) - 20.0 / 21.0).abs() < 0.01);
        // Ten seconds later nothing is left of it.
        for _ in 0..50 {
            usage.share(at(10_100), small);
        }
        assert!(usage.share(at(10_100), large) < 0.1);
    }
}
