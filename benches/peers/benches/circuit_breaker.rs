//! Bartizan's circuit breaker beside tower-resilience's, both closed and over the same window.
//!
//! The peer judges by the response's head; ours watches the body to its end as well.

use std::process::ExitCode;

use bartizan::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, Settings};
use bartizan_bench_peers::{Case, NoOp, Serve, Traffic, run};
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use tower::Layer;

const WINDOW: u32 = 100;
const MINIMUM_CALLS: u32 = 20;
const FAILURE_RATE: f64 = 0.5;

const fn inner() -> NoOp<Full<Bytes>> {
    NoOp::new()
}

fn main() -> ExitCode {
    let traffic = Traffic::default();
    let ours = move || {
        let settings = Settings::default().window(WINDOW, MINIMUM_CALLS).failure_rate(FAILURE_RATE);
        let breaker = CircuitBreaker::new("bench").settings(settings).expect("a fit window");
        Serve::new(CircuitBreakerLayer::new(breaker).layer(inner()), traffic)
    };
    let theirs = move || {
        let layer = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder()
            .sliding_window_size(WINDOW as usize)
            .minimum_number_of_calls(MINIMUM_CALLS as usize)
            .failure_rate_threshold(FAILURE_RATE)
            .classify_response(|response: &Response<Full<Bytes>>| {
                response.status().is_server_error()
            })
            .build()
            .expect("a fit window");
        Serve::new(layer.layer(inner()), traffic)
    };
    run(&[Case::new("circuit-breaker-closed", move || Serve::new(inner(), traffic), ours)
        .beside("tower-resilience", theirs)])
}
