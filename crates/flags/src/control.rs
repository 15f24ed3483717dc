//! What follows a flag for the whole process: switches and settings.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use bartizan_core::{ConfigError, Mode, Switch};
use serde_json::Value;

use crate::engine::Flags;
use crate::{EvaluationContext, Reason};

/// A flag, and what is done with its value.
pub(crate) struct Binding {
    flag: String,
    apply: Mutex<Box<Apply>>,
}

type Apply = dyn FnMut(&Value) -> Applied + Send;

enum Applied {
    Changed,
    Same,
    Unusable,
    Refused(ConfigError),
}

impl Binding {
    pub(crate) fn switch(flag: String, switch: Switch) -> Self {
        Self::new(flag, move |value| {
            let Some((mode, share)) = setting(value) else { return Applied::Unusable };
            let before = switch.setting();
            switch.set_fraction(mode, share);
            if before == switch.setting() { Applied::Same } else { Applied::Changed }
        })
    }

    pub(crate) fn setting<V: PartialEq + Send + 'static>(
        flag: &'static str,
        read: fn(&Value) -> Option<V>,
        mut set: impl FnMut(&V) -> Result<(), ConfigError> + Send + 'static,
    ) -> Self {
        let mut last = None;
        Self::new(flag.to_owned(), move |value| {
            let Some(value) = read(value) else { return Applied::Unusable };
            if last.as_ref() == Some(&value) {
                return Applied::Same;
            }
            let result = set(&value);
            // What was refused is not tried again with every document.
            last = Some(value);
            result.map_or_else(Applied::Refused, |()| Applied::Changed)
        })
    }

    fn new(flag: String, apply: impl FnMut(&Value) -> Applied + Send + 'static) -> Self {
        Self { flag, apply: Mutex::new(Box::new(apply)) }
    }

    /// Applies what the flag says; changes nothing when the flag says nothing usable.
    pub(crate) fn turn(&self, flags: &Flags) {
        let nobody = EvaluationContext::new();
        let details = flags.details(&self.flag, &nobody, None, |value| {
            let mut apply = self.apply.lock().unwrap_or_else(PoisonError::into_inner);
            Some(Some(apply(value)))
        });
        let flag = &self.flag;
        match details.value {
            Some(Applied::Changed) => {
                tracing::info!(target: "bartizan::flags", flag, "what is bound to the flag was changed");
            }
            Some(Applied::Same) => {}
            Some(Applied::Refused(error)) => {
                tracing::warn!(target: "bartizan::flags", flag, %error, "value refused, the setting stays");
            }
            // A disabled flag is a way to let go; anything else deserves a look.
            None if details.reason == Reason::Disabled => {}
            Some(Applied::Unusable) | None => {
                tracing::warn!(target: "bartizan::flags", flag, "flag gives no usable value, what is bound to it stays");
            }
        }
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding").field("flag", &self.flag).finish_non_exhaustive()
    }
}

/// What a variant says of a switch: a mode, and the share of keys that it is for.
fn setting(value: &Value) -> Option<(Mode, f64)> {
    let Value::Object(members) = value else { return Some((mode(value)?, 1.0)) };
    let share = members.get("share").map_or(Some(1.0), Value::as_f64)?;
    Some((mode(members.get("mode")?)?, share)).filter(|_| (0.0..=1.0).contains(&share))
}

pub(crate) fn mode(value: &Value) -> Option<Mode> {
    match value {
        Value::Bool(true) => Some(Mode::Enforce),
        Value::Bool(false) => Some(Mode::Off),
        Value::String(word) => word.parse().ok(),
        _ => None,
    }
}
