//! Typed handles.

use std::fmt;

use crate::engine::Flags;
use crate::{Details, EvaluationContext};

/// A flag's name, type and default in one place.
///
/// # Examples
///
/// ```
/// use bartizan_flags::{EvaluationContext, Flag, Flags};
///
/// static NEW_SEARCH: Flag<bool> = Flag::new("new-search", false);
///
/// assert!(!NEW_SEARCH.get(&Flags::empty(), &EvaluationContext::new()));
/// ```
#[derive(Clone, Copy)]
pub struct Flag<T> {
    name: &'static str,
    default: T,
}

impl<T> Flag<T> {
    /// Creates a handle; `default` is what the caller gets whenever the flag gives no answer.
    pub const fn new(name: &'static str, default: T) -> Self {
        Self { name, default }
    }

    /// The flag's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

macro_rules! getters {
    ($($handle:ty => $value:ty, $method:ident, $details:ident;)*) => {$(
        impl Flag<$handle> {
            /// Evaluates the flag.
            #[must_use]
            pub fn get(&self, flags: &Flags, context: &EvaluationContext) -> $value {
                flags.$method(self.name, context, self.default)
            }

            /// Evaluates the flag, and tells how the value came about.
            #[must_use]
            pub fn details(&self, flags: &Flags, context: &EvaluationContext) -> Details<$value> {
                flags.$details(self.name, context, self.default)
            }
        }
    )*};
}

getters! {
    bool => bool, bool, bool_details;
    i64 => i64, integer, integer_details;
    f64 => f64, float, float_details;
    &'static str => String, string, string_details;
}

impl<T: fmt::Debug> fmt::Debug for Flag<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flag").field("name", &self.name).field("default", &self.default).finish()
    }
}
