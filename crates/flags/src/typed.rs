//! Evaluation by name, for flags that have no handle.

use serde_json::Value;

use crate::engine::Flags;
use crate::flag::FlagType;
use crate::name::hash;
use crate::{Details, EvaluationContext};

impl Flags {
    /// Evaluates a flag whose variants are booleans.
    #[must_use]
    pub fn bool(&self, flag: &str, context: &EvaluationContext, default: bool) -> bool {
        self.value(flag, hash(flag), context, bool::read).unwrap_or(default)
    }

    /// Evaluates a flag whose variants are booleans, and tells how the value came about.
    #[must_use]
    pub fn bool_details(
        &self,
        flag: &str,
        context: &EvaluationContext,
        default: bool,
    ) -> Details<bool> {
        self.details_with(flag, context, bool::read, || default)
    }

    /// Evaluates a flag whose variants are strings.
    #[must_use]
    pub fn string(&self, flag: &str, context: &EvaluationContext, default: &str) -> String {
        self.value(flag, hash(flag), context, <&'static str>::read)
            .unwrap_or_else(|| default.to_owned())
    }

    /// Evaluates a flag whose variants are strings, and tells how the value came about.
    #[must_use]
    pub fn string_details(
        &self,
        flag: &str,
        context: &EvaluationContext,
        default: &str,
    ) -> Details<String> {
        self.details_with(flag, context, <&'static str>::read, || default.to_owned())
    }

    /// Evaluates a flag whose variants are whole numbers.
    #[must_use]
    pub fn integer(&self, flag: &str, context: &EvaluationContext, default: i64) -> i64 {
        self.value(flag, hash(flag), context, i64::read).unwrap_or(default)
    }

    /// Evaluates a flag whose variants are whole numbers, and tells how the value came about.
    #[must_use]
    pub fn integer_details(
        &self,
        flag: &str,
        context: &EvaluationContext,
        default: i64,
    ) -> Details<i64> {
        self.details_with(flag, context, i64::read, || default)
    }

    /// Evaluates a flag whose variants are numbers.
    #[must_use]
    pub fn float(&self, flag: &str, context: &EvaluationContext, default: f64) -> f64 {
        self.value(flag, hash(flag), context, f64::read).unwrap_or(default)
    }

    /// Evaluates a flag whose variants are numbers, and tells how the value came about.
    #[must_use]
    pub fn float_details(
        &self,
        flag: &str,
        context: &EvaluationContext,
        default: f64,
    ) -> Details<f64> {
        self.details_with(flag, context, f64::read, || default)
    }

    /// Evaluates a flag whose variants are objects.
    #[must_use]
    pub fn object(&self, flag: &str, context: &EvaluationContext, default: Value) -> Value {
        self.value(flag, hash(flag), context, object).unwrap_or(default)
    }

    /// Evaluates a flag whose variants are objects, and tells how the value came about.
    #[must_use]
    pub fn object_details(
        &self,
        flag: &str,
        context: &EvaluationContext,
        default: Value,
    ) -> Details<Value> {
        self.details_with(flag, context, object, || default)
    }
}

fn object(value: &Value) -> Option<Value> {
    value.is_object().then(|| value.clone())
}
