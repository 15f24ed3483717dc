//! What Bartizan's layers cost beside their peers, on the same work and in the same run.
//!
//! See `benches/` for the cases and `docs/performance.md` for how to read the figures.

mod case;
mod measure;
mod serve;

pub use self::case::{Case, run};
pub use self::serve::{NoOp, Serve, Traffic};
