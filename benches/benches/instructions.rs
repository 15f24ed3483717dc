//! Instructions per admitted request, by layer.
//!
//! Each case runs under valgrind's callgrind twice, with few and with many requests; the difference
//! is what a request costs. The inner service alone is measured the same way and subtracted. Times
//! would be noise on a shared machine; instruction counts are repeatable.
//!
//! Exits with 1 if a bar is not met, and with 2 if valgrind is missing.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::process::{Command, ExitCode};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bartizan::auth::{Algorithm, AuthLayer, Authenticator, Jwt, KeySet, Principal, RequireLayer};
use bartizan::cache::{CacheControl, CacheControlLayer, CacheLayer, ResponseCache};
use bartizan::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use bartizan::core::key::{self, Key};
use bartizan::core::{Clock, Engine};
use bartizan::flags::{Flag, Flags, FlagsLayer, RequestFlags};
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bartizan::shed::{LoadShedLayer, LoadShedder};
use bartizan_testing::{Bodied, Bodiless, Inner, request};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use tower_layer::{Identity, Layer};
use tower_service::Service;

const FEW: u64 = 1_000;
const MANY: u64 = 11_000;

/// Case, what it is measured beside, and the instructions that it may add to that.
const BARS: [(&str, &str, u64); 10] = [
    ("auth-known-token", "bearing", 2800),
    ("auth-scope-guard", "introduced", 350),
    ("cache-hit", "none", 2700),
    ("circuit-breaker", "none", 350),
    ("flags", "none", 620),
    ("off-by-flag", "none", 400),
    ("rate-limit", "none", 400),
    ("rate-limit-by-address", "none", 400),
    ("shed", "none", 350),
    ("shed-timed", "none", 700),
];

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Signed by the secret; good until the year 2100.
const BEARER: &str = concat!(
    "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOi",
    "JodHRwczovL2FwaS5leGFtcGxlIiwic3ViIjoiYWxpY2UiLCJleHAiOjQxMDI0NDQ4MDAsInNjb3BlIjoib3JkZXJz",
    "OnJlYWQgb3JkZXJzOndyaXRlIn0.5cNhhDYshox3FHsAfGDJI51x_o-MOJnOalcdSu8w3Js",
);

static KILLED: Flag<bool> = Flag::new("killed", false);

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
    let base = |case| (case, per_request(case));
    let bases = HashMap::from(["none", "bearing", "introduced"].map(base));
    println!("instructions without a layer: {bases:?}");
    let mut all_met = true;
    for (case, base, limit) in BARS {
        let added = per_request(case).saturating_sub(bases[base]);
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
        "bearing" => exchange_each(Inner::default(), requests, bearing),
        "introduced" => exchange_each(Inner::default(), requests, introduced()),
        "auth-known-token" => {
            let keys = KeySet::secret(Algorithm::Hs256, SECRET).expect("long enough");
            let jwt = Jwt::new(keys, "https://id.example", "https://api.example");
            let layer = AuthLayer::new(Authenticator::new("bench").scheme(jwt));
            exchange_each(layer.layer(Inner::default()), requests, bearing);
        }
        "auth-scope-guard" => {
            let guard = RequireLayer::new(Authenticator::new("bench")).scopes(["orders:write"]);
            exchange_each(guard.layer(Inner::default()), requests, introduced());
        }
        "cache-hit" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let runtime = runtime.expect("a runtime");
            let _entered = runtime.enter();
            let fresh = CacheControl::public().max_age(Duration::from_secs(3600));
            let layers =
                (CacheLayer::new(ResponseCache::new("bench")), CacheControlLayer::new(&fresh));
            exchange(Bodied(layers.layer(Bodiless(Inner::default()))), requests);
        }
        "circuit-breaker" => {
            let layer = CircuitBreakerLayer::new(CircuitBreaker::new("bench"));
            exchange(layer.layer(Inner::default()), requests);
        }
        "flags" => {
            let layer = FlagsLayer::new(flags("killed"));
            exchange(layer.layer(Asking(Inner::default())), requests);
        }
        "off-by-flag" => {
            let limiter = RateLimiter::new(quota());
            flags("limiter").control("limiter", limiter.switch().clone());
            exchange(RateLimitLayer::new(limiter).layer(Inner::default()), requests);
        }
        "rate-limit" => {
            let layer = rate_limit().key(key::global());
            exchange(layer.layer(Inner::default()), requests);
        }
        "rate-limit-by-address" => {
            // The hash of an address is what it costs beyond the one key for all.
            let layer = rate_limit().key(|_: &Request<()>| Some(Key::of(&0x7f00_0001_u32)));
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

/// A flag that is switched off.
fn flags(key: &str) -> Flags {
    let json = format!(
        r#"{{"flags": {{"{key}": {{"state": "ENABLED", "variants": {{"off": false}},
        "defaultVariant": "off"}}}}}}"#
    );
    Flags::from_json(&json).expect("a sound document")
}

/// A service that asks for a flag.
#[derive(Clone)]
struct Asking(Inner);

impl Service<Request<()>> for Asking {
    type Response = <Inner as Service<Request<()>>>::Response;
    type Error = Infallible;
    type Future = <Inner as Service<Request<()>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let flags = RequestFlags::current().expect("it is behind the layer");
        std::hint::black_box(flags.get(&KILLED));
        self.0.call(request)
    }
}

fn bearing() -> Request<()> {
    let mut request = request("/");
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static(BEARER));
    request
}

/// A caller who is known and has the scope, among six.
fn introduced() -> impl FnMut() -> Request<()> {
    let scopes = "openid profile email orders:read orders:write customers:read";
    let caller = Principal::new("alice").with_scopes(scopes.split(' '));
    move || {
        let mut request = request("/");
        request.extensions_mut().insert(caller.clone());
        request
    }
}

fn exchange<S, B>(service: S, requests: u64)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    exchange_each(service, requests, || request("/"));
}

/// Serves requests one after the other, each to the end of its body.
fn exchange_each<S, B>(mut service: S, requests: u64, mut request: impl FnMut() -> Request<()>)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..requests {
        assert!(service.poll_ready(&mut cx).is_ready());
        let call = pin!(service.call(request()));
        let Poll::Ready(Ok(response)) = call.poll(&mut cx) else {
            panic!("the inner service answers at once");
        };
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = pin!(response.into_body());
        while !body.is_end_stream() {
            let Poll::Ready(frame) = body.as_mut().poll_frame(&mut cx) else {
                panic!("the inner body is there at once");
            };
            std::hint::black_box(frame).transpose().ok();
        }
    }
}
