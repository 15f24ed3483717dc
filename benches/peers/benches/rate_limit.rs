//! Bartizan's rate limit beside its peers, by the peer's address, all at the same rate and burst.
//!
//! The inner service answers with axum's body because two peers want one that they know how to
//! build; and every request carries the address in the words of all. tower-resilience has no keys
//! and is asked without one; governor itself is asked by the address, without any layer.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use bartizan::core::{PeerAddr, key};
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bartizan_bench_peers::{Bars, Case, NoOp, Results, Serve, Traffic, run_with, two_threads};
use governor::DefaultKeyedRateLimiter;
use http::{Request, StatusCode};
use tower::{Layer, Service};
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;
use tower_resilience_ratelimiter::RateLimiterLayer;

/// One per nanosecond, and a second's worth at once: more than can be asked for.
const AMPLE: Rate = Rate { period: Duration::from_nanos(1), burst: 1_000_000_000 };

/// One per hundred seconds: nothing comes back while it is measured, and the wait is no long number.
const SCARCE: Rate = Rate { period: Duration::from_secs(100), burst: 1 };

#[derive(Clone, Copy)]
struct Rate {
    period: Duration,
    burst: u32,
}

fn main() -> ExitCode {
    let admitted = Traffic { introduce, ..Traffic::default() };
    let refused = Traffic { status: StatusCode::TOO_MANY_REQUESTS, ..admitted };
    let many = Traffic { addresses: 10_000, ..admitted };
    let plain = |name: &str, traffic| {
        case(name, AMPLE, traffic, false)
            .beside("governor", move || alone(AMPLE, traffic))
            .beside("tower_governor", move || tower_governor(AMPLE, traffic, false))
            .beside("tower-resilience", move || tower_resilience(traffic))
    };
    let told = |name: &str, rate, traffic| {
        case(name, rate, traffic, true)
            .beside("tower_governor", move || tower_governor(rate, traffic, true))
            .beside("axum-governor", move || axum_governor(rate, traffic))
    };
    let cases = [
        plain("admit", admitted),
        plain("admit-10000-keys", many),
        told("admit-fields", AMPLE, admitted),
        told("refuse", SCARCE, refused),
    ];
    run_with(&cases, hold)
}

fn hold(results: &Results<'_>, bars: &mut Bars) {
    for (case, peers) in [
        ("admit", &["tower_governor", "tower-resilience"][..]),
        ("admit-10000-keys", &["tower_governor", "tower-resilience"]),
        ("admit-fields", &["tower_governor", "axum-governor"]),
        ("refuse", &["tower_governor", "axum-governor"]),
    ] {
        let ours = results.over(case, "bartizan");
        // The best of them in each respect, whichever it is.
        let best = |figure: fn(bartizan_bench_peers::Figures) -> f64| {
            peers.iter().map(|peer| figure(results.over(case, peer))).fold(f64::INFINITY, f64::min)
        };
        let bar = |what: &str| format!("rate-limit-{case}-vs-best-peer-{what}");
        let instructions = best(|figures| figures.instructions);
        bars.at_most(&bar("instructions"), ours.instructions, instructions);
        let time = ours.nanoseconds / best(|figures| figures.nanoseconds);
        bars.at_most(&bar("time"), time, 1.0);
        bars.at_most(&bar("allocations"), ours.allocations, best(|figures| figures.allocations));
    }
    let whole = |case| results.whole(case, "bartizan").nanoseconds;
    bars.at_most(
        "rate-limit-refuse-vs-admit-fields-time",
        whole("refuse") / whole("admit-fields"),
        2.0,
    );

    let traffic = Traffic { introduce, ..Traffic::default() };
    let ours = RateLimitLayer::new(limiter(AMPLE)).key(key::ip()).fields(false);
    let theirs = GovernorLayer::new(governor_config(AMPLE).finish().expect("a quota above 0"));
    let pair = |make: &dyn Fn() -> Serve| [make(), make()];
    let mut pairs = [
        pair(&|| Serve::new(ours.layer(NoOp::<Body>::new()), traffic)),
        pair(&|| Serve::new(theirs.layer(NoOp::<Body>::new()), traffic)),
    ];
    let nanoseconds = two_threads(&mut pairs);
    println!(
        "two threads, one key: {:.0} ns, tower_governor {:.0} ns",
        nanoseconds[0], nanoseconds[1]
    );
    let ratio = nanoseconds[0] / nanoseconds[1];
    bars.at_most("rate-limit-two-threads-one-key-vs-tower_governor-time", ratio, 1.0);
}

fn introduce(request: &mut Request<()>, address: SocketAddr) {
    request.extensions_mut().insert(PeerAddr::new(address));
    request.extensions_mut().insert(ConnectInfo(address));
}

fn case(name: &str, rate: Rate, traffic: Traffic, fields: bool) -> Case {
    // A refusal never reaches the no-op: this is what the request and an answer cost.
    let served = Traffic { status: StatusCode::OK, ..traffic };
    let ours = move || {
        let layer = RateLimitLayer::new(limiter(rate)).key(key::ip()).fields(fields);
        Serve::new(layer.layer(NoOp::<Body>::new()), traffic)
    };
    Case::new(name, move || Serve::new(NoOp::<Body>::new(), served), ours)
}

fn limiter(rate: Rate) -> RateLimiter {
    let quota = Quota::every(rate.period).and_then(|quota| quota.burst(rate.burst));
    RateLimiter::new(quota.expect("a quota above 0"))
}

type PeerIpConfig = GovernorConfigBuilder<
    tower_governor::key_extractor::PeerIpKeyExtractor,
    governor::middleware::NoOpMiddleware<governor::clock::QuantaInstant>,
>;

fn governor_config(rate: Rate) -> PeerIpConfig {
    let mut config = GovernorConfigBuilder::default();
    config.period(rate.period).burst_size(rate.burst);
    config
}

fn tower_governor(rate: Rate, traffic: Traffic, headers: bool) -> Serve {
    let mut config = governor_config(rate);
    // With headers it is another type, so the rest has to be said twice.
    if headers {
        let config = config.use_headers().finish().expect("a quota above 0");
        Serve::new(GovernorLayer::new(config).layer(NoOp::<Body>::new()), traffic)
    } else {
        let config = config.finish().expect("a quota above 0");
        Serve::new(GovernorLayer::new(config).layer(NoOp::<Body>::new()), traffic)
    }
}

fn axum_governor(rate: Rate, traffic: Traffic) -> Serve {
    let quota = governor::Quota::with_period(rate.period).expect("a period above 0");
    let quota = quota.allow_burst(NonZeroU32::new(rate.burst).expect("a burst above 0"));
    let config = axum_governor::GovernorConfigBuilder::default()
        .with_extractor(axum_governor::extractor::PeerIp::default())
        .expect_connect_info()
        .quota_default(quota.into())
        .body_preset(axum_governor::BodyPreset::ProblemJson)
        // Its sweep is a task of a runtime, which is not there.
        .gc_disable()
        .finish()
        .expect("a sound configuration");
    let layer = axum_governor::GovernorLayer::new(config);
    Serve::new(layer.layer(NoOp::<Body>::new()), traffic)
}

fn tower_resilience(traffic: Traffic) -> Serve {
    let layer = RateLimiterLayer::builder()
        .limit_for_period(1_000_000_000)
        .refresh_period(Duration::from_secs(1))
        .timeout_duration(Duration::ZERO)
        .build()
        .expect("a sound configuration");
    Serve::new(layer.layer(NoOp::<Body>::new()), traffic)
}

/// Governor's own keyed limiter around the inner service, with nothing that a layer does.
#[derive(Clone)]
struct Alone {
    limiter: Arc<DefaultKeyedRateLimiter<std::net::IpAddr>>,
    inner: NoOp<Body>,
}

fn alone(rate: Rate, traffic: Traffic) -> Serve {
    let quota = governor::Quota::with_period(rate.period).expect("a period above 0");
    let quota = quota.allow_burst(NonZeroU32::new(rate.burst).expect("a burst above 0"));
    let limiter = Arc::new(governor::RateLimiter::keyed(quota));
    Serve::new(Alone { limiter, inner: NoOp::new() }, traffic)
}

impl Service<Request<()>> for Alone {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = <NoOp<Body> as Service<Request<()>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let address = address.expect("every request says where it is from").ip();
        assert!(self.limiter.check_key(&address).is_ok());
        self.inner.call(request)
    }
}
