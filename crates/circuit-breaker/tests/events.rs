//! What goes to `tracing`. Alone in its program: a test beside it, on another thread and without a
//! subscriber, could have the events taken for unwanted.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use bartizan_circuit_breaker::{CircuitBreaker, Settings};
use bartizan_core::{Outcome, Watch};
use bartizan_testing::Log;

#[test]
fn an_event_tells_the_transition() {
    let log = Log::default();
    let _listening = log.listen();
    let settings = Settings::default().window(10, 10).open_jitter(0.0);
    let breaker = CircuitBreaker::new("test").settings(settings).unwrap();
    (0..10).for_each(|_| breaker.try_acquire().unwrap().settle(Outcome::Failure));
    let text = log.text();
    for part in [
        "INFO bartizan::circuit_breaker: state changed",
        "name=\"test\"",
        "from=\"closed\" to=\"open\" reason=\"failure_rate\"",
        "calls=10 failures=10 slow=0 wait_ms=5000",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(text.lines().count(), 1, "{text}");
}
