//! Feature flags in [flagd]'s format, evaluated in process; a flag can also turn any Bartizan
//! layer on, to shadow, or off.
//!
//! [`Flags`] is the engine. It reads flagd's flag-definition JSON, compiles every targeting rule
//! once, and answers without waiting. [`Flag`] is a typed handle with a mandatory default,
//! [`FlagsLayer`] hands [`RequestFlags`] to the handlers, [`GateLayer`] hides a route behind a flag,
//! [`SplitLayer`] serves a request by the variant that a flag names, [`FileSource`] and [`HttpSource`]
//! follow a document, [`Flags::control`] and [`Flags::control_each`] tie a flag to a
//! [`Switch`] and [`Flags::bind`] one to a setting.
//!
//! # Examples
//!
//! Roll a feature out to the paying half of the world:
//!
//! ```
//! use bartizan_flags::{EvaluationContext, Flag, Flags, Reason};
//!
//! static NEW_SEARCH: Flag<bool> = Flag::new("new-search", false);
//!
//! # fn main() -> Result<(), bartizan_core::ConfigError> {
//! let flags = Flags::from_json(r#"{
//!     "metadata": { "bucketing": "v3" },
//!     "flags": {
//!         "new-search": {
//!             "state": "ENABLED",
//!             "variants": { "on": true, "off": false },
//!             "defaultVariant": "off",
//!             "targeting": { "if": [
//!                 { "==": [{ "var": "tier" }, "paid"] }, "on",
//!                 { "fractional": [["on", 1], ["off", 99]] }
//!             ] }
//!         }
//!     }
//! }"#)?;
//!
//! let ann = EvaluationContext::new().targeting_key("ann").attribute("tier", "paid");
//! assert!(NEW_SEARCH.get(&flags, &ann));
//! assert_eq!(NEW_SEARCH.details(&flags, &ann).reason, Reason::TargetingMatch);
//! # Ok(())
//! # }
//! ```
//!
//! Let a flag put a limiter in shadow while the process runs:
//!
//! ```
//! use bartizan_core::{Mode, Switch};
//! use bartizan_flags::Flags;
//!
//! # fn main() -> Result<(), bartizan_core::ConfigError> {
//! let document = |mode| {
//!     format!(
//!         r#"{{"flags": {{"limiter-mode": {{
//!             "state": "ENABLED",
//!             "variants": {{"enforce": "enforce", "shadow": "shadow", "off": "off"}},
//!             "defaultVariant": "{mode}"
//!         }}}}}}"#
//!     )
//! };
//! let flags = Flags::from_json(&document("enforce"))?;
//! // In earnest: the `switch()` of a limiter, a cache or any other engine.
//! let switch = Switch::new(Mode::Enforce);
//! flags.control("limiter-mode", switch.clone());
//!
//! flags.replace(&document("shadow"))?;
//! assert_eq!(switch.setting().0, Mode::Shadow);
//! # Ok(())
//! # }
//! ```
//!
//! # When not to use it
//!
//! When values never change while the process runs, settings are simpler. When decisions need data
//! of other systems, ask them: a rule sees only its context. A flag is no permission: whoever may
//! set an attribute may choose the variant.
//!
//! # Place in the stack
//!
//! Inside authentication, so that the [`Principal`] is known; outside every
//! layer that a flag turns request by request. A layer that works in another task, as a buffer does,
//! parts the request from its flags: put it outside, or see [`FlagsLayer::in_extensions`].
//!
//! # When things fail
//!
//! | what | answer |
//! |---|---|
//! | one flag of a document is wrong | it answers with the caller's default, the others work; [`Flags::problems`] |
//! | a new document or file cannot be read | the last good one stays, a warning is logged |
//! | the first one cannot be read | an error at start |
//! | a source is silent | the last good one stays, its age grows; [`Reason::Stale`] after [`Flags::stale_after`] |
//! | a source is silent at start | the caller's default, or what [`Feed::keep_in`] kept; [`Flags::ready`] waits, and its age grows |
//! | unknown flag, other type, unknown variant | the caller's default; [`Details::error`] |
//! | a rule takes too many steps, or throws | the caller's default, [`ErrorCode::General`] |
//! | no document yet | the caller's default, [`ErrorCode::ProviderNotReady`] |
//! | `fractional` without a targeting key | the flag's default variant |
//! | a flag that controls a switch gives no mode | the switch stays |
//! | an override that may not be believed | it is ignored |
//! | the engine's own switch is not on enforce | every evaluation gives its default |
//!
//! # Where it differs from flagd
//!
//! - The version of percentage bucketing is named by `metadata.bucketing`, `"v2"` or `"v3"`; `"v3"`
//!   holds when it is absent. flagd's first version is not supported.
//! - The array form of `flags` is refused.
//! - A rule may nest 64 levels and have 4096 nodes, references included, and texts of 64 KiB; all
//!   references of a document together may amount to two million nodes; a document is at most 16 MiB
//!   long, a name 1024 bytes.
//! - JsonLogic is that of its public suites: comparing with what is no number, or dividing by zero,
//!   throws. `val`, `exists`, `??`, `try`, `throw` and `preserve` are there as well.
//!
//! # Features
//!
//! - `axum`: `route` as an attribute, and [`RequestFlags`] as an extractor.
//! - `open-feature`: `OpenFeatureProvider`, for programs that speak OpenFeature's SDK.
//!
//! [flagd]: https://flagd.dev/reference/flag-definitions/

mod age;
mod bucket;
mod context;
mod control;
mod current;
mod definition;
mod details;
mod document;
mod engine;
mod exposure;
mod feed;
mod flag;
mod gate;
mod layer;
mod name;
mod observe;
#[cfg(feature = "open-feature")]
mod open_feature;
mod overrides;
mod resolve;
mod rule;
mod service;
mod snapshot;
mod source;
mod split;
mod typed;

pub use bartizan_core::{
    Clock, ConfigError, Engine, Http, Mode, Principal, Protocol, ResponseBody, Snapshot, Switch,
    Watch,
};

pub use self::bucket::Bucketing;
pub use self::context::EvaluationContext;
pub use self::details::{Details, ErrorCode, Reason};
pub use self::engine::Flags;
pub use self::exposure::{Exposure, Exposures};
pub use self::feed::Feed;
pub use self::flag::{Declaration, Flag, FlagKind, FlagType};
pub use self::gate::{Gate, GateFuture, GateLayer, Otherwise, OtherwiseFuture, OtherwiseLayer};
pub use self::layer::FlagsLayer;
#[cfg(feature = "open-feature")]
pub use self::open_feature::OpenFeatureProvider;
pub use self::overrides::Overrides;
pub use self::service::{WithFlags, WithFlagsFuture};
pub use self::snapshot::RequestFlags;
pub use self::source::{FileSource, HttpSource, SourceError};
pub use self::split::{Rollout, RolloutSettings, Split, SplitFuture, SplitLayer, SplitWatch};
