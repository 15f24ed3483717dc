//! What cannot be is refused with the field that is wrong and the fix, and what was in force stays.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use bartizan::auth::{Algorithm, ApiKeys, Authenticator, KeySet, Principal};
use bartizan::cache::ResponseCache;
use bartizan::circuit_breaker::{CircuitBreaker, KeyedCircuitBreaker};
use bartizan::core::{ConfigError, Engine};
use bartizan::flags::{EvaluationContext, Flag, Flags, SplitLayer};
use bartizan::rate_limit::{Quota, RateLimiter};
use bartizan::redis::Redis;
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

/// One of each kind.
fn engines() -> Vec<Box<dyn Engine>> {
    let split = SplitLayer::new(Flags::empty(), Flag::new("test", "stable"), [("canary", ())]);
    vec![
        Box::new(Authenticator::new("test")),
        Box::new(CircuitBreaker::new("test")),
        Box::new(KeyedCircuitBreaker::new("test")),
        Box::new(Flags::empty()),
        Box::new(LoadShedder::new("test")),
        Box::new(RateLimiter::new(Quota::per_second(1).unwrap())),
        Box::new(Redis::new("redis://127.0.0.1").unwrap()),
        Box::new(ResponseCache::new("test")),
        Box::new(split.rollout()),
    ]
}

#[test]
fn what_is_in_force_can_be_read_and_applied() {
    let changes = [
        ("auth", json!({"preflight": true})),
        ("cache", json!({"max_variants": 7})),
        ("circuit_breaker", json!({"probe_deadline_ms": 777})),
        ("flags", json!({"flags": {"a": {"state": "ENABLED", "variants": {"on": true}}}})),
        ("rate_limit", json!({"quota": "7/min", "tiers": {"gold": "70/min"}})),
        ("redis", json!({"deadline_ms": 7})),
        ("shed", json!({"max_limit": 777, "forced_share": 0.5})),
        ("split", json!({"window_ms": 7777})),
    ];
    for engine in engines() {
        let before = engine.current_settings();
        engine.apply(before.clone()).unwrap_or_else(|error| panic!("{}: {error}", engine.kind()));
        assert_eq!(engine.current_settings(), before, "{}", engine.kind());
        let (_, change) = changes.iter().find(|(kind, _)| *kind == engine.kind()).unwrap();
        engine.apply(change.clone()).unwrap_or_else(|error| panic!("{}: {error}", engine.kind()));
        let after = engine.current_settings();
        assert_ne!(after, before, "{}", engine.kind());
        engine.apply(after.clone()).unwrap();
        assert_eq!(engine.current_settings(), after, "{}", engine.kind());
    }
}

#[test]
fn an_unknown_setting_of_every_engine() {
    for engine in engines().iter().filter(|engine| engine.kind() != "flags") {
        let error = engine.apply(json!({ "no_such_setting": 1 })).unwrap_err();
        assert!(error.to_string().contains("no_such_setting"), "{}: {error}", engine.kind());
    }
}
