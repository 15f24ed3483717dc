//! What Bartizan's layers cost, and how it is measured. See `benches/`, and `peers/` for the same beside
//! others.

mod bars;
mod case;
mod measure;
pub mod overload;
mod serve;

pub use self::bars::Bars;
pub use self::case::{Case, Figures, Results, run, run_with};
pub use self::measure::two_threads;
pub use self::serve::{NoOp, Serve, Traffic};
