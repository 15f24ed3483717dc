//! A provider for OpenFeature's SDK.

use std::collections::HashMap;
use std::sync::Arc;

use bartizan_core::Engine;
use open_feature::provider::{
    FeatureProvider, ProviderMetadata, ProviderStatus, ResolutionDetails,
};
use open_feature::{
    EvaluationContextFieldValue as Field, EvaluationError, EvaluationErrorCode, EvaluationReason,
    EvaluationResult, FlagMetadata, StructValue, async_trait,
};
use serde_json::{Map, Value};

use crate::engine::Flags;
use crate::{Details, ErrorCode, EvaluationContext, Reason};

/// [`Flags`] as a provider for OpenFeature's SDK, version 0.3: for programs that speak it already.
///
/// Every evaluation through the SDK clones its context twice and boxes a future; a
/// [`Flag`](crate::Flag) does neither. The SDK has no defaults: where a flag gives no value, as when
/// it is disabled, the evaluation is an error, and `unwrap_or` the caller's business. Fields that hold
/// a structure of one's own are read if that is a [`serde_json::Value`]; moments are seconds since 1970,
/// as `$flagd.timestamp` is.
///
/// # Examples
///
/// ```
/// use bartizan_flags::{Flags, OpenFeatureProvider};
/// use open_feature::OpenFeature;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), bartizan_core::ConfigError> {
/// let flags = Flags::from_json(r#"{"flags": {"beta": {
///     "state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"
/// }}}"#)?;
/// let mut api = OpenFeature::singleton_mut().await;
/// api.set_provider(OpenFeatureProvider::new(flags)).await;
/// let client = api.create_client();
/// drop(api);
/// assert!(client.get_bool_value("beta", None, None).await.unwrap_or(false));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OpenFeatureProvider {
    flags: Flags,
    metadata: Arc<ProviderMetadata>,
}

impl OpenFeatureProvider {
    /// Creates a provider that evaluates `flags`.
    #[must_use]
    pub fn new(flags: Flags) -> Self {
        Self { flags, metadata: Arc::new(ProviderMetadata::new("bartizan")) }
    }

    fn details<T>(
        &self,
        flag: &str,
        context: &open_feature::EvaluationContext,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> EvaluationResult<ResolutionDetails<T>> {
        let context = own_context(context);
        let Details { value, variant, reason, error, metadata } =
            self.flags.details(flag, &context, None, |value| read(value).map(Some));
        let Some(value) = value else { return Err(failure(error, reason)) };
        Ok(ResolutionDetails {
            value,
            variant: variant.map(|variant| variant.as_ref().to_owned()),
            reason: Some(their_reason(reason)),
            flag_metadata: Some(their_metadata(&metadata)),
        })
    }
}

fn failure(error: Option<ErrorCode>, reason: Reason) -> EvaluationError {
    let code = match error {
        Some(ErrorCode::FlagNotFound) => EvaluationErrorCode::FlagNotFound,
        Some(ErrorCode::ParseError) => EvaluationErrorCode::ParseError,
        Some(ErrorCode::ProviderNotReady) => EvaluationErrorCode::ProviderNotReady,
        Some(ErrorCode::TypeMismatch) => EvaluationErrorCode::TypeMismatch,
        Some(ErrorCode::General) => EvaluationErrorCode::General("GENERAL".to_owned()),
        // No error, but no value either.
        None => EvaluationErrorCode::General(reason.as_str().to_uppercase()),
    };
    EvaluationError { code, message: None }
}

fn their_reason(reason: Reason) -> EvaluationReason {
    match reason {
        Reason::Default => EvaluationReason::Default,
        Reason::Disabled => EvaluationReason::Disabled,
        Reason::Error => EvaluationReason::Error,
        Reason::Static => EvaluationReason::Static,
        Reason::TargetingMatch => EvaluationReason::TargetingMatch,
        Reason::Override | Reason::Stale => EvaluationReason::Other(reason.as_str().to_uppercase()),
    }
}

fn their_metadata(metadata: &Map<String, Value>) -> FlagMetadata {
    metadata.iter().fold(FlagMetadata::default(), |all, (name, value)| match value {
        Value::Bool(value) => all.with_value(name, *value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => all.with_value(name, value),
            (None, value) => all.with_value(name, value.unwrap_or(f64::NAN)),
        },
        Value::String(value) => all.with_value(name, value.as_str()),
        // A document with any other is refused.
        Value::Null | Value::Array(_) | Value::Object(_) => all,
    })
}

fn own_context(context: &open_feature::EvaluationContext) -> EvaluationContext {
    let mut own = EvaluationContext::new();
    for (name, field) in &context.custom_fields {
        let value = match field {
            Field::Bool(value) => Value::from(*value),
            Field::Int(value) => Value::from(*value),
            Field::Float(value) => Value::from(*value),
            Field::String(value) => Value::from(value.as_str()),
            Field::DateTime(moment) => Value::from(moment.unix_timestamp()),
            Field::Struct(any) => match any.downcast_ref::<Value>() {
                Some(value) => value.clone(),
                None => continue,
            },
        };
        own.set(name.clone(), value);
    }
    match &context.targeting_key {
        Some(key) => own.targeting_key(key),
        None => own,
    }
}

fn their_value(value: &Value) -> Option<open_feature::Value> {
    Some(match value {
        // The SDK has no null.
        Value::Null => return None,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(value) => value.into(),
            None => number.as_f64()?.into(),
        },
        Value::String(value) => value.as_str().into(),
        Value::Array(items) => {
            open_feature::Value::Array(items.iter().filter_map(their_value).collect())
        }
        Value::Object(members) => open_feature::Value::Struct(their_struct(members)),
    })
}

fn their_struct(members: &Map<String, Value>) -> StructValue {
    let field = |(name, value): (&String, &Value)| Some((name.clone(), their_value(value)?));
    let fields: HashMap<_, _> = members.iter().filter_map(field).collect();
    StructValue { fields }
}

#[async_trait]
impl FeatureProvider for OpenFeatureProvider {
    /// Not ready before the flags [are](Flags::ready); in error if by then a document was refused.
    fn status(&self) -> ProviderStatus {
        let snapshot = self.flags.snapshot();
        let refused = snapshot.value("bartizan_flags_reloads_total", "refused");
        match (self.flags.is_ready(), refused) {
            (true, _) if self.flags.is_stale() => ProviderStatus::STALE,
            (true, _) => ProviderStatus::Ready,
            (false, Some(refused)) if refused > 0.0 => ProviderStatus::Error,
            (false, _) => ProviderStatus::NotReady,
        }
    }

    fn metadata(&self) -> &ProviderMetadata {
        &self.metadata
    }

    async fn resolve_bool_value(
        &self,
        flag: &str,
        context: &open_feature::EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<bool>> {
        self.details(flag, context, <bool as crate::FlagType>::read)
    }

    async fn resolve_int_value(
        &self,
        flag: &str,
        context: &open_feature::EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<i64>> {
        self.details(flag, context, <i64 as crate::FlagType>::read)
    }

    async fn resolve_float_value(
        &self,
        flag: &str,
        context: &open_feature::EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<f64>> {
        self.details(flag, context, <f64 as crate::FlagType>::read)
    }

    async fn resolve_string_value(
        &self,
        flag: &str,
        context: &open_feature::EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<String>> {
        self.details(flag, context, <&'static str as crate::FlagType>::read)
    }

    async fn resolve_struct_value(
        &self,
        flag: &str,
        context: &open_feature::EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<StructValue>> {
        self.details(flag, context, |value| value.as_object().map(their_struct))
    }
}
