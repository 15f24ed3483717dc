//! What an evaluation tells besides the value, in OpenFeature's words.

use std::sync::Arc;

use serde_json::{Map, Value};

/// An evaluated flag.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Details<T> {
    /// The flag's value, or the caller's default.
    pub value: T,
    /// The variant that was picked; `None` when the value is the caller's default.
    pub variant: Option<Arc<str>>,
    /// How the value came about.
    pub reason: Reason,
    /// What went wrong, if the reason is [`Reason::Error`].
    pub error: Option<ErrorCode>,
    /// What the document says about the flag besides: its own metadata over the document's.
    pub metadata: Arc<Map<String, Value>>,
}

/// How a value came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The rule gave no variant, or the flag has none to give.
    Default,
    /// The flag, or the whole engine, is off.
    Disabled,
    /// Something went wrong; see [`Details::error`].
    Error,
    /// The request names the variant, and may; see [`Overrides`](crate::Overrides).
    Override,
    /// A source has been silent for longer than [`Flags::stale_after`](crate::Flags::stale_after)
    /// allows; the value is the last one known.
    Stale,
    /// The flag has no rule.
    Static,
    /// The rule picked the variant.
    TargetingMatch,
}

impl Reason {
    /// In the order of the variants.
    pub(crate) const ALL: [Self; 7] = [
        Self::Default,
        Self::Disabled,
        Self::Error,
        Self::Override,
        Self::Stale,
        Self::Static,
        Self::TargetingMatch,
    ];

    /// OpenFeature's name for it, in lower case; `override` is one of ours.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Disabled => "disabled",
            Self::Error => "error",
            Self::Override => "override",
            Self::Stale => "stale",
            Self::Static => "static",
            Self::TargetingMatch => "targeting_match",
        }
    }
}

/// Why a flag could not be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The set has no flag of that name.
    FlagNotFound,
    /// The rule named an unknown variant or took too many steps.
    General,
    /// The flag's definition is wrong; [`Flags::problems`](crate::Flags::problems) says how.
    ParseError,
    /// No document has been in force yet.
    ProviderNotReady,
    /// The flag's variants are of another type.
    TypeMismatch,
}

impl ErrorCode {
    /// OpenFeature's name for it, in lower case, as OpenTelemetry's `error.type` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FlagNotFound => "flag_not_found",
            Self::General => "general",
            Self::ParseError => "parse_error",
            Self::ProviderNotReady => "provider_not_ready",
            Self::TypeMismatch => "type_mismatch",
        }
    }
}
