//! What goes to `tracing`. Alone in its program: a test beside it, on another thread and without a
//! subscriber, could have the events taken for unwanted.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::io::Write;
use std::sync::{Arc, Mutex};

use bartizan_circuit_breaker::{CircuitBreaker, Settings};
use bartizan_core::{Outcome, Watch};

/// Where the events of this thread go.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_event_tells_the_transition() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    tracing::subscriber::with_default(subscriber.finish(), || {
        let settings = Settings::default().window(10, 10).open_jitter(0.0);
        let breaker = CircuitBreaker::new("test").settings(settings).unwrap();
        (0..10).for_each(|_| breaker.try_acquire().unwrap().settle(Outcome::Failure));
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
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
