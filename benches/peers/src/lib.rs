//! What Bartizan's layers cost beside their peers, on the same work and in the same run.
//!
//! See `benches/` for the cases and `docs/performance.md` for how to read the figures.

pub use bartizan_benches::*;
