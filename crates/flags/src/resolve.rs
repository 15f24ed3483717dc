//! From a flag and a context to a variant.

use std::sync::Arc;

use bartizan_core::Clock;
use serde_json::{Map, Value};

use crate::context::Attributes;
use crate::definition::{Definition, Entry, FlagSet};
use crate::name::hash;
use crate::rule::{Decision, Plan, Problem, Scope, Val};
use crate::{Details, ErrorCode, Exposure, Reason};

/// What an evaluation came to: small, so that a request can remember it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Resolved {
    /// A variant, by its place in the definition.
    Variant(u32, Reason),
    /// The caller's default.
    Absent(Absent),
}

/// Why there is no variant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Absent {
    Error(ErrorCode),
    Reason(Reason),
}

impl Absent {
    pub(crate) const fn reason(self) -> Reason {
        match self {
            Self::Error(_) => Reason::Error,
            Self::Reason(reason) => reason,
        }
    }
}

impl Resolved {
    pub(crate) const fn error(code: ErrorCode) -> Self {
        Self::Absent(Absent::Error(code))
    }

    pub(crate) const fn reason(self) -> Reason {
        match self {
            Self::Variant(_, reason) => reason,
            Self::Absent(absent) => absent.reason(),
        }
    }
}

impl FlagSet {
    /// The sound definition at `index`.
    #[inline]
    pub(crate) fn definition(&self, index: u32) -> Option<&Definition> {
        match self.entries.get(index as usize) {
            Some(Entry::Sound(definition)) => Some(definition),
            _ => None,
        }
    }

    /// Where a flag that is on stands, and its variant of that name.
    pub(crate) fn place(&self, flag: &str, variant: &str) -> Option<(u32, u32)> {
        let index = self.index(flag, hash(flag))?;
        let definition = self.definition(index).filter(|definition| definition.enabled)?;
        let at = definition.variants.iter().position(|known| &*known.name == variant)?;
        Some((index, at as u32))
    }

    /// Evaluates the flag at `index`.
    #[inline]
    pub(crate) fn resolve(
        &self,
        index: u32,
        attributes: Attributes<'_>,
        clock: &Clock,
    ) -> Resolved {
        let Some(definition) = self.definition(index) else {
            return Resolved::error(ErrorCode::ParseError);
        };
        if !definition.enabled {
            return Resolved::Absent(Absent::Reason(Reason::Disabled));
        }
        match &definition.targeting {
            None => fallback(definition, Reason::Static),
            Some(plan) => self.target(definition, plan, attributes, clock),
        }
    }

    // Apart, so that a flag without a rule does not pay for the room that a rule takes.
    #[inline(never)]
    fn target(
        &self,
        definition: &Definition,
        plan: &Plan,
        attributes: Attributes<'_>,
        clock: &Clock,
    ) -> Resolved {
        let scope = Scope::new(&definition.name, attributes, self.bucketing, clock);
        match plan.decide(&scope) {
            Ok(Decision::Variant(at)) => Resolved::Variant(at, Reason::TargetingMatch),
            Ok(Decision::Value(value)) => targeted(definition, &value),
            Err(problem) => given_up(definition, &problem),
        }
    }

    /// The value that was resolved, read as the caller's type. A variant that cannot be read turns
    /// the resolution into a mismatch.
    #[inline]
    pub(crate) fn value<T>(
        &self,
        index: u32,
        resolved: &mut Resolved,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let Resolved::Variant(variant, _) = *resolved else { return None };
        let value = self.definition(index)?.variants.get(variant as usize)?;
        let value = read(&value.value);
        if value.is_none() {
            *resolved = Resolved::error(ErrorCode::TypeMismatch);
        }
        value
    }

    /// What is told about a resolution besides its value; `None` if there is no variant.
    pub(crate) fn exposure(&self, index: u32, resolved: Resolved) -> Option<Exposure> {
        let Resolved::Variant(variant, reason) = resolved else { return None };
        let definition = self.definition(index)?;
        Some(Exposure {
            flag: Arc::clone(&definition.name),
            variant: Arc::clone(&definition.variants.get(variant as usize)?.name),
            reason,
            set: definition.labels.set.clone(),
            version: definition.labels.version.clone(),
            caller: None,
        })
    }

    /// Tells how `value` came about.
    pub(crate) fn details<T>(
        &self,
        index: Option<u32>,
        resolved: Resolved,
        value: T,
    ) -> Details<T> {
        let definition = index.and_then(|index| self.definition(index));
        let metadata = definition
            .map_or_else(Arc::<Map<_, _>>::default, |definition| Arc::clone(&definition.metadata));
        let (variant, error) = match resolved {
            Resolved::Variant(variant, _) => {
                let variant = definition.and_then(|flag| flag.variants.get(variant as usize));
                (variant.map(|variant| Arc::clone(&variant.name)), None)
            }
            Resolved::Absent(Absent::Error(code)) => (None, Some(code)),
            Resolved::Absent(Absent::Reason(_)) => (None, None),
        };
        Details { value, variant, reason: resolved.reason(), error, metadata }
    }
}

#[cold]
fn given_up(definition: &Definition, problem: &Problem) -> Resolved {
    tracing::debug!(target: "bartizan::flags", flag = %definition.name, %problem, "evaluation given up");
    Resolved::error(ErrorCode::General)
}

/// The variant that a rule's result names.
fn targeted(definition: &Definition, result: &Val<'_>) -> Resolved {
    let find = |name: &str| definition.variants.iter().position(|variant| &*variant.name == name);
    let found = match result {
        Val::Null => return fallback(definition, Reason::Default),
        Val::Text(variant) => find(variant),
        // Rules may name the variants "true", "false" or "1" without quotes.
        Val::Bool(true) => find("true"),
        Val::Bool(false) => find("false"),
        Val::Number(number) => find(&number.to_string()),
        Val::Float(_) => find(&result.clone().into_json().to_string()),
        Val::Owned(value) if value.is_array() || value.is_object() => None,
        Val::Owned(value) => return targeted(definition, &Val::of(value)),
        Val::Tree(_) | Val::Words(_) | Val::Headers(_) => None,
    };
    found.map_or(Resolved::error(ErrorCode::General), |variant| {
        Resolved::Variant(variant as u32, Reason::TargetingMatch)
    })
}

#[inline]
fn fallback(definition: &Definition, reason: Reason) -> Resolved {
    definition
        .default_variant
        .map_or(Resolved::Absent(Absent::Reason(Reason::Default)), |variant| {
            Resolved::Variant(variant, reason)
        })
}
