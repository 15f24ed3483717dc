//! From a flag's name to its value.

use bartizan_core::Mode;
use serde_json::Value;

use super::{Flags, near};
use crate::context::Attributes;
use crate::definition::FlagSet;
use crate::name::hash;
use crate::resolve::{Absent, Resolved};
use crate::{Details, ErrorCode, EvaluationContext, Reason};

impl Flags {
    /// Evaluates a flag of any type, and tells how the value came about.
    #[must_use]
    pub fn details<T>(
        &self,
        flag: &str,
        context: &EvaluationContext,
        default: T,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Details<T> {
        self.details_with(flag, context, read, || default)
    }

    pub(crate) fn details_with<T>(
        &self,
        flag: &str,
        context: &EvaluationContext,
        read: impl FnOnce(&Value) -> Option<T>,
        default: impl FnOnce() -> T,
    ) -> Details<T> {
        let set = self.0.set.load();
        let index = set.index(flag, hash(flag));
        let attributes = Attributes::of(context);
        let mut resolved =
            self.resolve(&set, index, |index| set.resolve(index, attributes, &self.0.clock));
        let value = index.and_then(|index| set.value(index, &mut resolved, read));
        self.0.counts.evaluated(resolved.reason());
        self.dated(set.details(index, resolved, value.unwrap_or_else(default)))
    }

    /// The value alone, or `None` where the caller's default holds: tells nothing, so that it
    /// allocates nothing.
    #[inline]
    pub(crate) fn value<T>(
        &self,
        flag: &str,
        hash: u64,
        context: &EvaluationContext,
        read: impl Fn(&Value) -> Option<T> + Copy,
    ) -> Option<T> {
        near::look(&self.0, |set| self.value_in(set, flag, hash, context, read))
            .unwrap_or_else(|| self.value_in(&self.set(), flag, hash, context, read))
    }

    // Not left to the optimiser: as a call it costs a tenth of a flag without a rule.
    #[inline(always)]
    fn value_in<T>(
        &self,
        set: &FlagSet,
        flag: &str,
        hash: u64,
        context: &EvaluationContext,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let attributes = Attributes::of(context);
        let index = set.index(flag, hash);
        let mut resolved =
            self.resolve(set, index, |index| set.resolve(index, attributes, &self.0.clock));
        let value = index.and_then(|index| set.value(index, &mut resolved, read));
        self.0.counts.evaluated(resolved.reason());
        value
    }

    /// Evaluates by `evaluate` unless something speaks against it beforehand.
    #[inline]
    pub(crate) fn resolve(
        &self,
        set: &FlagSet,
        index: Option<u32>,
        evaluate: impl FnOnce(u32) -> Resolved,
    ) -> Resolved {
        // A shadow would be an evaluation whose result nobody sees, so it counts as off.
        if self.0.switch.setting().0 != Mode::Enforce {
            return Resolved::Absent(Absent::Reason(Reason::Disabled));
        }
        match index {
            Some(index) => evaluate(index),
            None if set.loaded => Resolved::error(ErrorCode::FlagNotFound),
            None => Resolved::error(ErrorCode::ProviderNotReady),
        }
    }
}
