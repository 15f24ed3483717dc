//! A flag that turns a switch.

use bartizan_core::{Mode, Switch};
use serde_json::Value;

use crate::engine::Flags;
use crate::{EvaluationContext, Reason};

/// A switch and the flag that turns it.
#[derive(Debug)]
pub(crate) struct Control {
    flag: String,
    switch: Switch,
}

impl Control {
    pub(crate) fn new(flag: String, switch: Switch) -> Self {
        Self { flag, switch }
    }

    /// Turns the switch to what the flag says; leaves it when the flag says nothing usable.
    pub(crate) fn turn(&self, flags: &Flags) {
        let details =
            flags.details(&self.flag, &EvaluationContext::new(), None, |value| Some(mode(value)));
        match details.value {
            Some(mode) => {
                let (before, _) = self.switch.setting();
                self.switch.set(mode);
                if before != mode {
                    tracing::info!(target: "bartizan::flags", flag = self.flag, %mode, "switch turned");
                }
            }
            // A disabled flag is a way to let go of a switch; anything else deserves a look.
            None if details.reason == Reason::Disabled => {}
            None => {
                tracing::warn!(target: "bartizan::flags", flag = self.flag, "flag gives no mode, the switch stays");
            }
        }
    }
}

fn mode(value: &Value) -> Option<Mode> {
    match value {
        Value::Bool(true) => Some(Mode::Enforce),
        Value::Bool(false) => Some(Mode::Off),
        Value::String(word) => word.parse().ok(),
        _ => None,
    }
}
