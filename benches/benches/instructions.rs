//! Instructions per admitted request, by layer.
//!
//! Each case runs under valgrind's callgrind twice, with few and with many requests; the difference
//! is what a request costs. The inner service alone is measured the same way and subtracted. Times
//! would be noise on a shared machine; instruction counts are repeatable.
//!
//! Exits with 1 if a bar is not met, and with 2 if valgrind is missing.

use std::pin::pin;
use std::process::{Command, ExitCode};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bartizan::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use bartizan::core::key::{self, Key};
use bartizan::core::{Clock, Engine};
use bartizan::flags::Flags;
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bartizan::shed::{LoadShedLayer, LoadShedder};
use bartizan_testing::{Inner, request};
use tower_layer::{Identity, Layer};
use tower_service::Service;

const FEW: u64 = 1_000;
const MANY: u64 = 11_000;

/// Case and the instructions that it may add to the inner service.
const BARS: [(&str, u64); 6] = [
    ("circuit-breaker", 350),
    ("off-by-flag", 400),
    ("rate-limit", 400),
    ("rate-limit-by-address", 400),
    ("shed", 400),
    ("shed-timed", 750),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, case, count] = &arguments[..]
        && flag == "--case"
    {
        run(case, count.parse().expect("a number of requests"));
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("valgrind is missing: install the package `valgrind`");
        return ExitCode::from(2);
    }
    let base = per_request("none");
    println!("inner service alone: {base} instructions");
    let mut all_met = true;
    for (case, limit) in BARS {
        let added = per_request(case).saturating_sub(base);
        let met = added <= limit;
        all_met &= met;
        let verdict = if met { "ok" } else { "short" };
        println!("bar: {case}-admitted-instructions {added} {limit} {verdict}");
    }
    if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn per_request(case: &str) -> u64 {
    (count(case, MANY) - count(case, FEW)) / (MANY - FEW)
}

/// The instructions of a whole run.
fn count(case: &str, requests: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--case", case, &requests.to_string()])
        .output()
        .expect("valgrind runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text.lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, figure)| figure.trim().parse().ok())
        .unwrap_or_else(|| panic!("callgrind gave no figure: {text}"))
}

fn run(case: &str, requests: u64) {
    match case {
        "none" => exchange(Identity::new().layer(Inner::default()), requests),
        "circuit-breaker" => {
            let layer = CircuitBreakerLayer::new(CircuitBreaker::new("bench"));
            exchange(layer.layer(Inner::default()), requests);
        }
        "off-by-flag" => {
            let flags = Flags::from_json(
                r#"{"flags": {"limiter": {"state": "ENABLED", "variants": {"off": false},
                "defaultVariant": "off"}}}"#,
            );
            let limiter = RateLimiter::new(quota());
            flags.expect("a sound document").control("limiter", limiter.switch().clone());
            exchange(RateLimitLayer::new(limiter).layer(Inner::default()), requests);
        }
        "rate-limit" => {
            let layer = rate_limit().key(key::global());
            exchange(layer.layer(Inner::default()), requests);
        }
        "rate-limit-by-address" => {
            // The hash of an address is what it costs beyond the one key for all.
            let layer = rate_limit().key(|_: &http::Request<()>| Some(Key::of(&0x7f00_0001_u32)));
            exchange(layer.layer(Inner::default()), requests);
        }
        // At full speed one call in many is timed; where there are few, all are.
        "shed" => shed(Duration::from_micros(4), requests),
        "shed-timed" => shed(Duration::from_millis(1), requests),
        _ => panic!("unknown case {case}"),
    }
}

/// A request every so often by the layer's clock: how many are timed is not for valgrind to decide.
fn shed(every: Duration, requests: u64) {
    let clock = Clock::manual();
    let layer = LoadShedLayer::new(LoadShedder::new("bench").clock(clock.clone()));
    let mut service = layer.layer(Inner::default());
    for _ in 0..requests {
        clock.advance(every);
        exchange(&mut service, 1);
    }
}

fn rate_limit() -> RateLimitLayer {
    RateLimitLayer::new(RateLimiter::new(quota())).fields(false)
}

fn quota() -> Quota {
    Quota::per_second(1_000_000_000).expect("a quota above 0")
}

/// Serves requests one after the other, each to the end of its body.
fn exchange<S, B>(mut service: S, requests: u64)
where
    S: Service<http::Request<()>, Response = http::Response<B>, Error = std::convert::Infallible>,
    B: http_body::Body<Data = bytes::Bytes>,
{
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..requests {
        assert!(service.poll_ready(&mut cx).is_ready());
        let call = pin!(service.call(request("/")));
        let Poll::Ready(Ok(response)) = call.poll(&mut cx) else {
            panic!("the inner service answers at once");
        };
        assert_eq!(response.status(), http::StatusCode::OK);
        let mut body = pin!(response.into_body());
        while !body.is_end_stream() {
            let Poll::Ready(frame) = body.as_mut().poll_frame(&mut cx) else {
                panic!("the inner body is there at once");
            };
            std::hint::black_box(frame).transpose().ok();
        }
    }
}
