//! What load shedding is worth: a service under too much load, in virtual time.
//!
//! A discrete-event simulation drives real tower services: clients send requests at random times,
//! whatever becomes of the earlier ones (an open loop); a server with so many workers takes its time
//! for each; the layer under test stands between them. Time is a number that jumps from one event to the
//! next, so that minutes take seconds and every run of one seed is the same to the digit.

mod plan;
mod run;
mod server;
mod suite;
mod tally;

pub use self::plan::{Discipline, Mix, Plan, Spread, Story};
pub use self::run::{now, run};
pub use self::server::{Ask, Work, Worker};
pub use self::suite::{Cell, Contestant, LOADS, Run, Suite, Variant};
pub use self::tally::{Group, Tally};
