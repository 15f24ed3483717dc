//! The set of flags in force.

use std::sync::{Arc, Mutex, PoisonError};

use bartizan_core::{Clock, ConfigError, Engine, Live, Mode, Snapshot, Switch};
use serde_json::Value;

use crate::control::Control;
use crate::definition::{Definition, Entry, FlagSet};
use crate::observe::Counts;
use crate::rule::{Scope, evaluate};
use crate::{Bucketing, Details, ErrorCode, EvaluationContext, Reason};

/// Feature flags, evaluated in process. Clones share the set.
///
/// Every evaluation takes a default and returns it whenever the flag gives no answer; none fails,
/// waits or performs I/O.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
pub struct Flags(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    set: Live<FlagSet>,
    switch: Switch,
    clock: Clock,
    counts: Counts,
    /// Locked while a set is replaced, so that switches and set cannot disagree.
    controls: Mutex<Vec<Control>>,
}

impl Flags {
    /// Creates a handle without flags: every evaluation returns its default.
    #[must_use]
    pub fn empty() -> Self {
        Self::named("flags")
    }

    /// Creates a handle without flags whose figures carry `name`.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            set: Live::new(FlagSet::default()),
            switch: Switch::default(),
            clock: Clock::system(),
            counts: Counts::default(),
            controls: Mutex::default(),
        }))
    }

    /// Reads a flagd document. A flag that is wrong is left out; see [`problems`](Self::problems).
    ///
    /// # Errors
    ///
    /// If the document itself cannot be read.
    pub fn from_json(document: &str) -> Result<Self, ConfigError> {
        let flags = Self::empty();
        flags.replace(document)?;
        Ok(flags)
    }

    /// Puts another flagd document in force, and turns the controlled switches.
    ///
    /// # Errors
    ///
    /// If the document itself cannot be read; the set in force stays.
    pub fn replace(&self, document: &str) -> Result<(), ConfigError> {
        self.install(FlagSet::parse(document))
    }

    fn install(&self, set: Result<FlagSet, ConfigError>) -> Result<(), ConfigError> {
        let set = match set {
            Ok(set) => set,
            Err(error) => {
                self.0.counts.refused();
                tracing::warn!(target: "bartizan::flags", name = self.0.name, %error, "document refused, the last good one stays");
                return Err(error);
            }
        };
        for problem in &set.problems {
            tracing::warn!(target: "bartizan::flags", name = self.0.name, %problem, "flag left out");
        }
        if set.bucketing_is_a_guess {
            tracing::warn!(target: "bartizan::flags", name = self.0.name, version = set.bucketing.as_str(), "document does not name its bucketing version, a change of the default would move users");
        }
        let controls = self.0.controls.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::info!(target: "bartizan::flags", name = self.0.name, flags = set.flags.len(), "document in force");
        self.0.set.store(set);
        self.0.counts.applied();
        controls.iter().for_each(|control| control.turn(self));
        Ok(())
    }

    /// Lets a flag turn a switch: now, and whenever another document comes into force.
    ///
    /// A string flag says `enforce`, `shadow` or `off`; a boolean flag means `enforce` when true
    /// and `off` when false. A flag that is missing, broken, disabled or says something else leaves
    /// the switch as it is. The flag is evaluated without a context, for the whole process.
    pub fn control(&self, flag: impl Into<String>, switch: Switch) {
        let control = Control::new(flag.into(), switch);
        let mut controls = self.0.controls.lock().unwrap_or_else(PoisonError::into_inner);
        control.turn(self);
        controls.push(control);
    }

    /// What was wrong with single flags of the document in force.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigError> {
        self.0.set.load().problems.clone()
    }

    /// The definition by which `fractional` places callers in the document in force.
    #[must_use]
    pub fn bucketing(&self) -> Bucketing {
        self.0.set.load().bucketing
    }

    /// The `version` in the metadata of the document in force.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.0.set.load().version.clone()
    }

    /// Evaluates a boolean flag.
    #[must_use]
    pub fn bool(&self, flag: &str, context: &EvaluationContext, default: bool) -> bool {
        self.bool_details(flag, context, default).value
    }

    /// Evaluates a boolean flag, and tells how the value came about.
    #[must_use]
    pub fn bool_details(
        &self,
        flag: &str,
        context: &EvaluationContext,
        default: bool,
    ) -> Details<bool> {
        self.details(flag, context, default, Value::as_bool)
    }

    /// Evaluates a flag whose variants are strings.
    #[must_use]
    pub fn string(&self, flag: &str, context: &EvaluationContext, default: &str) -> String {
        self.string_details(flag, context, default).value
    }

    /// Evaluates a flag whose variants are strings, and tells how the value came about.
    #[must_use]
    pub fn string_details(
        &self,
        flag: &str,
        context: &EvaluationContext,
        default: &str,
    ) -> Details<String> {
        self.details(flag, context, default.to_owned(), |value| value.as_str().map(str::to_owned))
    }

    /// Evaluates a flag whose variants are whole numbers.
    #[must_use]
    pub fn integer(&self, flag: &str, context: &EvaluationContext, default: i64) -> i64 {
        self.integer_details(flag, context, default).value
    }

    /// Evaluates a flag whose variants are whole numbers, and tells how the value came about.
    #[must_use]
    pub fn integer_details(
        &self,
        flag: &str,
        context: &EvaluationContext,
        default: i64,
    ) -> Details<i64> {
        // `2.0` is read as 2, but `1.99` is a mismatch: silently cutting it off would be worse.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        self.details(flag, context, default, |value| {
            value.as_i64().or_else(|| {
                let float = value.as_f64()?;
                (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64)
            })
        })
    }

    /// Evaluates a flag whose variants are numbers.
    #[must_use]
    pub fn float(&self, flag: &str, context: &EvaluationContext, default: f64) -> f64 {
        self.float_details(flag, context, default).value
    }

    /// Evaluates a flag whose variants are numbers, and tells how the value came about.
    #[must_use]
    pub fn float_details(
        &self,
        flag: &str,
        context: &EvaluationContext,
        default: f64,
    ) -> Details<f64> {
        self.details(flag, context, default, Value::as_f64)
    }

    /// Evaluates a flag whose variants are objects.
    #[must_use]
    pub fn object(&self, flag: &str, context: &EvaluationContext, default: Value) -> Value {
        self.object_details(flag, context, default).value
    }

    /// Evaluates a flag whose variants are objects, and tells how the value came about.
    #[must_use]
    pub fn object_details(
        &self,
        flag: &str,
        context: &EvaluationContext,
        default: Value,
    ) -> Details<Value> {
        self.details(flag, context, default, |value| value.is_object().then(|| value.clone()))
    }

    /// Evaluates a flag of any type, and tells how the value came about.
    #[must_use]
    pub fn details<T>(
        &self,
        flag: &str,
        context: &EvaluationContext,
        default: T,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Details<T> {
        let set = self.0.set.load();
        let resolved = self.resolve(&set, flag, context);
        let details = match resolved {
            Ok((variant, value, reason)) => match read(value) {
                Some(value) => {
                    Details { value, variant: Some(variant.to_owned()), reason, error: None }
                }
                None => Absent::Error(ErrorCode::TypeMismatch).details(default),
            },
            Err(absent) => absent.details(default),
        };
        self.0.counts.evaluated(details.reason);
        details
    }

    fn resolve<'a>(
        &self,
        set: &'a FlagSet,
        flag: &str,
        context: &EvaluationContext,
    ) -> Result<(&'a str, &'a Value, Reason), Absent> {
        // A shadow would be an evaluation whose result nobody sees, so it counts as off.
        if self.0.switch.mode(|| None) != Mode::Enforce {
            return Err(Absent::Reason(Reason::Disabled));
        }
        let definition = match set.flags.get(flag) {
            None => return Err(Absent::Error(ErrorCode::FlagNotFound)),
            Some(Entry::Broken) => return Err(Absent::Error(ErrorCode::ParseError)),
            Some(Entry::Sound(definition)) => definition,
        };
        if !definition.enabled {
            return Err(Absent::Reason(Reason::Disabled));
        }
        let Some(rule) = &definition.targeting else {
            return fallback(definition, Reason::Static);
        };
        let scope = Scope {
            flag,
            attributes: context.attributes(),
            bucketing: set.bucketing,
            timestamp: self.0.clock.unix().as_secs(),
        };
        let general = Absent::Error(ErrorCode::General);
        let result = evaluate(rule, scope).map_err(|problem| {
            tracing::debug!(target: "bartizan::flags", flag, %problem, "evaluation given up");
            Absent::Error(ErrorCode::General)
        })?;
        let found = match &*result {
            Value::Null => return fallback(definition, Reason::Default),
            Value::String(variant) => definition.variants.get_key_value(variant.as_str()),
            // Rules may name the variants "true", "false" or "1" without quotes.
            Value::Bool(true) => definition.variants.get_key_value("true"),
            Value::Bool(false) => definition.variants.get_key_value("false"),
            Value::Number(number) => definition.variants.get_key_value(&number.to_string()),
            Value::Array(_) | Value::Object(_) => None,
        };
        let (variant, value) = found.ok_or(general)?;
        Ok((variant, value, Reason::TargetingMatch))
    }
}

/// Why there is no variant.
enum Absent {
    Error(ErrorCode),
    Reason(Reason),
}

impl Absent {
    fn details<T>(self, value: T) -> Details<T> {
        let (reason, error) = match self {
            Self::Error(code) => (Reason::Error, Some(code)),
            Self::Reason(reason) => (reason, None),
        };
        Details { value, variant: None, reason, error }
    }
}

fn fallback(definition: &Definition, reason: Reason) -> Result<(&str, &Value, Reason), Absent> {
    let variant = definition.default_variant.as_deref();
    let (variant, value) = variant
        .and_then(|variant| definition.variants.get_key_value(variant))
        .ok_or(Absent::Reason(Reason::Default))?;
    Ok((variant, value, reason))
}

impl Engine for Flags {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn kind(&self) -> &'static str {
        "flags"
    }

    fn switch(&self) -> &Switch {
        &self.0.switch
    }

    fn snapshot(&self) -> Snapshot {
        let set = self.0.set.load();
        let broken = set.problems.len();
        self.0.counts.snapshot(self, set.flags.len() - broken, broken)
    }

    /// Takes a flagd document as settings.
    fn apply(&self, settings: Value) -> Result<(), ConfigError> {
        self.install(FlagSet::from_value(&settings))
    }
}
