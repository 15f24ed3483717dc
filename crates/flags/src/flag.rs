//! Typed handles.

use std::fmt;

use bartizan_core::ConfigError;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::definition::{Entry, FlagSet};
use crate::engine::Flags;
use crate::name::hash;
use crate::{Details, EvaluationContext};

/// A flag's name, type and default in one place.
///
/// # Examples
///
/// ```
/// use bartizan_flags::{EvaluationContext, Flag, Flags};
/// use serde::Deserialize;
///
/// #[derive(Debug, Deserialize, PartialEq)]
/// struct Limits {
///     items: u32,
/// }
///
/// const fn limits() -> Limits {
///     Limits { items: 10 }
/// }
///
/// static NEW_SEARCH: Flag<bool> = Flag::new("new-search", false);
/// // An object is read by serde; its default is made by a function.
/// static LIMITS: Flag<fn() -> Limits> = Flag::new("limits", limits);
///
/// let nobody = EvaluationContext::new();
/// assert!(!NEW_SEARCH.get(&Flags::empty(), &nobody));
/// assert_eq!(LIMITS.get(&Flags::empty(), &nobody), Limits { items: 10 });
/// ```
#[derive(Clone, Copy)]
pub struct Flag<T> {
    name: &'static str,
    hash: u64,
    default: T,
}

impl<T> Flag<T> {
    /// Creates a handle; `default` is what the caller gets whenever the flag gives no answer.
    pub const fn new(name: &'static str, default: T) -> Self {
        Self { name, hash: hash(name), default }
    }

    /// The flag's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Flag<T> {
    /// The hash of the name.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }
}

impl<T: FlagType> Flag<T> {
    /// Evaluates the flag.
    #[must_use]
    #[inline]
    pub fn get(&self, flags: &Flags, context: &EvaluationContext) -> T::Value {
        flags.value(self.name, self.hash, context, T::read).unwrap_or_else(|| self.default())
    }

    /// Evaluates the flag, and tells how the value came about.
    #[must_use]
    pub fn details(&self, flags: &Flags, context: &EvaluationContext) -> Details<T::Value> {
        flags.details_with(self.name, context, T::read, || self.default())
    }

    /// What the caller gets whenever the flag gives no answer.
    #[must_use]
    pub fn default(&self) -> T::Value {
        self.default.value()
    }

    /// The name and type of the flag, for [`Flags::declare`].
    #[must_use]
    pub const fn declaration(&self) -> Declaration {
        Declaration { name: self.name, kind: T::KIND, reads: |value| T::read(value).is_some() }
    }
}

/// The type of a flag's variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlagKind {
    /// True or false.
    Boolean,
    /// Whole or not.
    Number,
    /// A map of names to values.
    Object,
    /// Text.
    String,
}

impl FlagKind {
    /// The type of a variant; `None` for what flagd does not allow.
    pub(crate) const fn of(variant: &Value) -> Option<Self> {
        match variant {
            Value::Bool(_) => Some(Self::Boolean),
            Value::Number(_) => Some(Self::Number),
            Value::Object(_) => Some(Self::Object),
            Value::String(_) => Some(Self::String),
            Value::Array(_) | Value::Null => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

/// That the program reads a flag of some name as some type; made by [`Flag::declaration`].
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    name: &'static str,
    kind: FlagKind,
    /// Whether the program can read a variant of that value.
    reads: fn(&Value) -> bool,
}

/// Compares what the program reads with what a document holds.
pub(crate) fn lint(declared: &[Declaration], set: &FlagSet) -> Vec<ConfigError> {
    let mut findings = Vec::new();
    for flag in declared {
        let field = format!("flags.{}", flag.name);
        let entry =
            set.index(flag.name, hash(flag.name)).and_then(|index| set.entries.get(index as usize));
        match entry {
            None => findings.push(ConfigError::new(
                field,
                "is read by the program, but the document lacks it",
                "define it, or remove its handle",
            )),
            Some(Entry::Sound(definition)) if definition.kind != flag.kind => {
                findings.push(ConfigError::new(
                    field,
                    format!("holds {} variants", definition.kind.as_str()),
                    format!("give it {} variants, as the program reads it", flag.kind.as_str()),
                ));
            }
            Some(Entry::Sound(definition)) => {
                let unread = definition.variants.iter().filter(|one| !(flag.reads)(&one.value));
                findings.extend(unread.map(|variant| {
                    ConfigError::new(
                        format!("{field}.variants.{}", variant.name),
                        "cannot be read as the type that the program has for it",
                        "give it a whole number, or the members that the type wants",
                    )
                }));
            }
            // That it is broken is reported as a problem of the document.
            Some(Entry::Broken) => {}
        }
    }
    let read = |name: &str| declared.iter().any(|flag| flag.name == name);
    let mut unused: Vec<_> = set.names().filter(|name| !read(name)).collect();
    unused.sort_unstable();
    findings.extend(unused.into_iter().map(|name| {
        ConfigError::new(
            format!("flags.{name}"),
            "is read by nobody",
            "remove it, or declare its handle",
        )
    }));
    findings
}

/// What a flag can be: `bool`, `i64`, `f64`, `&'static str`, or a function that makes the default
/// of anything that serde can read from an object.
pub trait FlagType: sealed::Sealed {
    /// What an evaluation gives.
    type Value;
    #[doc(hidden)]
    const KIND: FlagKind;
    #[doc(hidden)]
    fn value(&self) -> Self::Value;
    #[doc(hidden)]
    fn read(value: &Value) -> Option<Self::Value>;
}

mod sealed {
    #[allow(unnameable_types, reason = "that is its purpose")]
    pub trait Sealed {}
    impl Sealed for bool {}
    impl Sealed for i64 {}
    impl Sealed for f64 {}
    impl Sealed for &'static str {}
    impl<T> Sealed for fn() -> T {}
}

impl FlagType for bool {
    type Value = Self;
    const KIND: FlagKind = FlagKind::Boolean;

    fn value(&self) -> Self {
        *self
    }

    #[inline]
    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FlagType for i64 {
    type Value = Self;
    const KIND: FlagKind = FlagKind::Number;

    fn value(&self) -> Self {
        *self
    }

    /// `2.0` is read as 2, but `1.99` is a mismatch: silently cutting it off would be worse.
    fn read(value: &Value) -> Option<Self> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        value.as_i64().or_else(|| {
            let float = value.as_f64()?;
            (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as Self)
        })
    }
}

impl FlagType for f64 {
    type Value = Self;
    const KIND: FlagKind = FlagKind::Number;

    fn value(&self) -> Self {
        *self
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_f64()
    }
}

impl FlagType for &'static str {
    type Value = String;
    const KIND: FlagKind = FlagKind::String;

    fn value(&self) -> String {
        (*self).to_owned()
    }

    fn read(value: &Value) -> Option<String> {
        value.as_str().map(str::to_owned)
    }
}

impl<T: DeserializeOwned> FlagType for fn() -> T {
    type Value = T;
    const KIND: FlagKind = FlagKind::Object;

    fn value(&self) -> T {
        self()
    }

    fn read(value: &Value) -> Option<T> {
        value.is_object().then(|| T::deserialize(value).ok()).flatten()
    }
}

impl<T: fmt::Debug> fmt::Debug for Flag<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flag").field("name", &self.name).field("default", &self.default).finish()
    }
}
