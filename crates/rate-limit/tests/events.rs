//! What the log tells.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::io::Write;
use std::sync::{Arc, Mutex};

use bartizan_rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bartizan_testing::{Inner, request};
use tower::{Layer, ServiceExt};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_limit_by_address_without_addresses_is_warned_of_once() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let limiter = RateLimiter::new(Quota::per_day(1).unwrap()).named("by-address");
    for _ in 0..3 {
        let service = RateLimitLayer::new(limiter.clone()).layer(Inner::default());
        assert_eq!(service.oneshot(request("/")).await.unwrap().status(), 200);
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("WARN bartizan::rate_limit: a request has no key"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}
