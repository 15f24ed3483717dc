//! The breaker's state: pure, and told the time.

mod machine;
mod window;

pub use self::machine::State;
pub(crate) use self::machine::{Machine, Token};
