//! What cannot be is refused with the field that is wrong and the fix, and what was in force stays.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use bartizan::auth::{Algorithm, ApiKeys, Authenticator, KeySet, Principal};
use bartizan::cache::ResponseCache;
use bartizan::circuit_breaker::CircuitBreaker;
use bartizan::core::{ConfigError, Engine};
use bartizan::flags::{EvaluationContext, Flags};
use bartizan::rate_limit::{Quota, RateLimiter};
use bartizan::shed::LoadShedder;
use serde_json::json;

/// The error names the field, and says more than that it is wrong.
#[track_caller]
fn names(error: &ConfigError, field: &str) {
    assert!(error.field().contains(field), "{error}");
    let (problem, fix) =
        error.to_string().split_once("; ").map(|(a, b)| (a.len(), b.len())).unwrap();
    assert!(problem > 0 && fix > 0);
}

#[test]
fn a_quota_of_zero() {
    names(&Quota::per_second(0).unwrap_err(), "quota");
    names(&"0/min".parse::<Quota>().unwrap_err(), "quota");
    names(&Quota::per_second(1).unwrap().burst(0).unwrap_err(), "quota");
    names(&"10/fortnight".parse::<Quota>().unwrap_err(), "quota");
}

#[test]
fn an_empty_or_weak_key_set() {
    names(&KeySet::from_jwks(r#"{"keys": []}"#).unwrap_err(), "keys");
    names(&KeySet::from_jwks("{}").unwrap_err(), "keys");
    names(&KeySet::secret(Algorithm::Hs256, b"short").unwrap_err(), "secret");
    names(&ApiKeys::new().insert("", Principal::new("nobody")).unwrap_err(), "key");
}

#[test]
fn a_broken_flags_document_at_the_start_and_while_running() {
    names(&Flags::from_json("{ broken").unwrap_err(), "document");
    names(&Flags::from_json("{}").unwrap_err(), "flags");
    let flags = Flags::from_json(
        r#"{"flags": {"a": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}}}"#,
    )
    .unwrap();
    names(&flags.replace("{ broken").unwrap_err(), "document");
    assert!(flags.bool("a", &EvaluationContext::new(), false));
}

#[test]
fn an_unknown_setting_of_every_engine() {
    let engines: [&dyn Engine; 5] = [
        &Authenticator::new("test"),
        &CircuitBreaker::new("test"),
        &LoadShedder::new("test"),
        &RateLimiter::new(Quota::per_second(1).unwrap()),
        &ResponseCache::new("test"),
    ];
    for engine in engines {
        let error = engine.apply(json!({ "no_such_setting": 1 })).unwrap_err();
        assert!(error.to_string().contains("no_such_setting"), "{}: {error}", engine.kind());
    }
}
