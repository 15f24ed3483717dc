//! What requests are told apart by: the target URI, what [`KeyRules`] add to it, and `Vary`.

mod query;
mod rules;
mod target;
mod vary;

pub(crate) use self::query::Query;
pub use self::rules::{KeyRules, RequestHead};
pub(crate) use self::rules::{Keyed, Suffix};
pub(crate) use self::target::{Target, sent};
pub(crate) use self::vary::{Vary, portable_value};
