//! `docs/operations.md` lists every metric that the engines show, and no other.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeSet;

use bartizan::auth::{
    Audit, Authenticator, Denylist, HttpClient, Introspection, Jwks, Jwt, TracingSink,
};
use bartizan::cache::ResponseCache;
use bartizan::circuit_breaker::{CircuitBreaker, KeyedCircuitBreaker};
use bartizan::core::Registry;
use bartizan::flags::{Flag, Flags, SplitLayer};
use bartizan::rate_limit::{Quota, RateLimiter};
use bartizan::redis::{RateLimitStore, Redis};
use bartizan::shed::LoadShedder;

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
