//! What the log tells.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use bartizan_rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bartizan_testing::{Inner, Log, request};
use tower::{Layer, ServiceExt};

#[tokio::test]
async fn a_limit_by_address_without_addresses_is_warned_of_once() {
    let log = Log::default();
    let _listening = log.listen();
    let limiter = RateLimiter::new(Quota::per_day(1).unwrap()).named("by-address");
    for _ in 0..3 {
        let service = RateLimitLayer::new(limiter.clone()).layer(Inner::default());
        assert_eq!(service.oneshot(request("/")).await.unwrap().status(), 200);
    }
    let text = log.text();
    assert!(text.contains("WARN bartizan::rate_limit: a request has no key"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}
