//! Bartizan's rate limit beside tower_governor, both by the peer's address.
//!
//! The inner service answers with axum's body because tower_governor wants one that it knows how to
//! build; and every request carries the address in the words of both.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use bartizan::core::{PeerAddr, key};
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bartizan_bench_peers::{Case, NoOp, Serve, Traffic, run};
use http::{Request, StatusCode};
use tower::Layer;
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;

fn main() -> ExitCode {
    let admitted = Traffic { introduce, ..Traffic::default() };
    let refused = Traffic { status: StatusCode::TOO_MANY_REQUESTS, ..admitted };
    let many_keys = Traffic { addresses: 10_000, ..admitted };
    let mut cases = Vec::new();
    for fields in [false, true] {
        cases.push(case("admitted", Rate::Ample, admitted, fields));
        cases.push(case("refused", Rate::Scarce, refused, fields));
        cases.push(case("10000-keys", Rate::Ample, many_keys, fields));
    }
    run(&cases)
}

fn introduce(request: &mut Request<()>, address: SocketAddr) {
    request.extensions_mut().insert(PeerAddr::new(address));
    request.extensions_mut().insert(ConnectInfo(address));
}

/// How much both let through.
#[derive(Clone, Copy)]
enum Rate {
    /// One per nanosecond, and a second's worth at once: more than can be asked for.
    Ample,
    /// One per day.
    Scarce,
}

const NANOS_PER_SEC: u32 = 1_000_000_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn case(name: &str, rate: Rate, traffic: Traffic, fields: bool) -> Case {
    let with = if fields { "with-fields" } else { "without-fields" };
    // A refusal never reaches the no-op: this is what the request and an answer cost.
    let served = Traffic { status: StatusCode::OK, ..traffic };
    Case::new(
        format!("rate-limit-{name}-{with}"),
        move || Serve::new(NoOp::<Body>::new(), served),
        move || ours(rate, traffic, fields),
    )
    .beside("tower_governor", move || theirs(rate, traffic, fields))
}

fn ours(rate: Rate, traffic: Traffic, fields: bool) -> Serve {
    let quota = match rate {
        Rate::Ample => Quota::per_second(NANOS_PER_SEC),
        Rate::Scarce => Quota::per_day(1),
    };
    let limiter = RateLimiter::new(quota.expect("a quota above 0"));
    let layer = RateLimitLayer::new(limiter).key(key::ip()).fields(fields);
    Serve::new(layer.layer(NoOp::<Body>::new()), traffic)
}

fn theirs(rate: Rate, traffic: Traffic, headers: bool) -> Serve {
    let mut config = GovernorConfigBuilder::default();
    match rate {
        Rate::Ample => config.per_nanosecond(1).burst_size(NANOS_PER_SEC),
        Rate::Scarce => config.period(DAY).burst_size(1),
    };
    // With headers it is another type, so the rest has to be said twice.
    if headers {
        let config = config.use_headers().finish().expect("a quota above 0");
        Serve::new(GovernorLayer::new(config).layer(NoOp::<Body>::new()), traffic)
    } else {
        let config = config.finish().expect("a quota above 0");
        Serve::new(GovernorLayer::new(config).layer(NoOp::<Body>::new()), traffic)
    }
}
