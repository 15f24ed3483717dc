//! The breaker's state: pure, and told the time.

mod flight;
mod half_open;
mod machine;
mod ring;
mod rules;
mod slices;
mod tagged;
mod tally;
mod window;

pub(crate) use self::flight::{Flight, Slice};
pub(crate) use self::half_open::is_slow;
pub(crate) use self::machine::{Change, Machine, judge};
pub(crate) use self::rules::{Limits, Path, Rules};
pub(crate) use self::slices::SLICES;
pub(crate) use self::tagged::Tag;
pub(crate) use self::tally::{Call, Tally};
pub(crate) use self::window::{AnotherFilling, Shape, Window};
