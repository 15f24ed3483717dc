//! `docs/operations.md` lists every metric that the engines show, every setting that they take, and
//! no other.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeSet;

use bartizan::auth::{
    self, Audit, Authenticator, Denylist, HttpClient, Introspection, Jwks, Jwt, TracingSink,
};
use bartizan::cache::{self, ResponseCache};
use bartizan::circuit_breaker::{self, CircuitBreaker, KeyedCircuitBreaker};
use bartizan::core::Registry;
use bartizan::flags::{Flag, Flags, RolloutSettings, SplitLayer};
use bartizan::rate_limit::{Quota, RateLimiter};
use bartizan::redis::{RateLimitStore, Redis};
use bartizan::shed::{self, LoadShedder};
use serde_json::{Value, json};

#[test]
fn the_page_lists_what_the_engines_show() {
    let registry = Registry::new();
    // Nobody is there, and nobody is asked.
    let redis = Redis::new("redis://127.0.0.1").unwrap();
    let audit = Audit::new(TracingSink::new());
    let keys = Jwks::new(HttpClient::https().unwrap(), "https://id.test/keys").unwrap();
    let jwt = Jwt::new(keys, "https://id.test", "test");
    let (client, id) = (HttpClient::https().unwrap(), ("test", "secret"));
    let opaque = Introspection::new(client, "https://id.test/ask", id, "https://id.test", "test");
    registry.register(
        Authenticator::new("test")
            .scheme(jwt)
            .scheme(opaque.unwrap())
            .audit(audit)
            .denylist(Denylist::new()),
    );
    registry.register(ResponseCache::new("test"));
    registry.register(CircuitBreaker::new("test"));
    registry.register(KeyedCircuitBreaker::new("test by key"));
    registry.register(Flags::empty());
    registry.register(
        RateLimiter::new(Quota::per_second(1).unwrap()).shared(RateLimitStore::new(redis.clone())),
    );
    let split = SplitLayer::new(Flags::empty(), Flag::new("test", "stable"), [("canary", ())]);
    registry.register(split.rollout());
    registry.register(LoadShedder::new("test"));
    registry.register(redis);

    let text = registry.to_prometheus();
    let shown: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    let listed: BTreeSet<&str> = include_str!("../../docs/operations.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `bartizan_")?.split('`').next())
        .collect();
    let listed: BTreeSet<String> = listed.iter().map(|name| format!("bartizan_{name}")).collect();
    assert_eq!(shown.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), listed);
    assert!(shown.len() >= 12);
}

#[test]
fn the_page_lists_the_settings_that_are_whole_documents() {
    // Its rows begin with the kind, and what is in backquotes after that are the keys.
    let page = include_str!("../../docs/operations.md");
    let section = page.split("## Settings").nth(1).unwrap().split("\n## ").next().unwrap();
    for (kind, defaults) in [
        ("auth", json!(auth::Settings::default())),
        ("cache", json!(cache::Settings::default())),
        ("circuit_breaker", json!(circuit_breaker::Settings::default())),
        ("shed", json!(shed::Settings::default())),
        ("split", json!(RolloutSettings::default())),
    ] {
        let row = section.lines().find_map(|line| line.strip_prefix(&format!("| `{kind}` |")));
        let row = row.unwrap_or_else(|| panic!("there is no row of {kind}"));
        let named: BTreeSet<&str> = row.split('`').skip(1).step_by(2).collect();
        let Value::Object(defaults) = &defaults else { panic!("{kind} has no fields") };
        assert_eq!(named, defaults.keys().map(String::as_str).collect(), "{kind}");
    }
}
