//! What the rate limit costs, and what its table takes.
//!
//! The peers are beside it in `benches/peers`; what is shared over Redis is in the bench `redis`.

use std::process::ExitCode;

use bartizan::core::key;
use bartizan::rate_limit::{Engine, Key, Mode, Policy, Quota, RateLimitLayer, RateLimiter};
use bartizan_benches::{Bars, Case, NoOp, Results, Serve, Traffic, run_with};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use tower_layer::Layer;

fn main() -> ExitCode {
    let cases = [
        case("admit", &["1000000000/s;burst=1000"], false, StatusCode::OK)
            .beside("switched-off", || {
                serve(limiter(&["1/s"]).mode(Mode::Off), false, StatusCode::OK)
            }),
        case("admit-fields", &["1000000000/s;burst=1000"], true, StatusCode::OK),
        case("admit-fields-large", &["1000000000/s"], true, StatusCode::OK),
        case("admit-two", &["1000000000/s;burst=1000", "1000000000/s"], false, StatusCode::OK),
        // A hundred seconds to wait, and a hundred days.
        case("refuse", &["1/100s"], true, StatusCode::TOO_MANY_REQUESTS),
        case("refuse-long", &["1/100day"], true, StatusCode::TOO_MANY_REQUESTS),
    ];
    run_with(&cases, |results, bars| {
        costs(results, bars);
        memory(bars);
    })
}

fn case(name: &str, quotas: &'static [&'static str], fields: bool, status: StatusCode) -> Case {
    let served = Traffic { status: StatusCode::OK, ..Traffic::default() };
    Case::new(
        name,
        move || Serve::new(NoOp::<Full<Bytes>>::new(), served),
        move || serve(limiter(quotas), fields, status),
    )
}

fn limiter(quotas: &[&str]) -> RateLimiter {
    let quota = |quota: &&str| quota.parse::<Quota>().expect("a quota");
    let policies = quotas.iter().map(|text| Policy::new(text, quota(text)));
    RateLimiter::with_policies(policies).expect("one to four policies")
}

fn serve(limiter: RateLimiter, fields: bool, status: StatusCode) -> Serve {
    let layer = RateLimitLayer::new(limiter).key(key::global()).fields(fields);
    let traffic = Traffic { status, ..Traffic::default() };
    Serve::new(layer.layer(NoOp::<Full<Bytes>>::new()), traffic)
}

fn costs(results: &Results<'_>, bars: &mut Bars) {
    let over = |case: &str| results.over(case, "bartizan");
    let admit = over("admit");
    let core = results.over("admit", "switched-off");
    bars.at_most("admit-instructions-over-core", admit.instructions - core.instructions, 250.0);
    bars.at_most("admit-instructions", admit.instructions, 500.0);
    bars.at_most("admit-allocations", admit.allocations, 0.0);
    for case in ["admit-fields", "admit-fields-large"] {
        bars.at_most(&format!("{case}-instructions"), over(case).instructions, 900.0);
        bars.at_most(&format!("{case}-allocations"), over(case).allocations, 2.0);
    }
    for case in ["refuse", "refuse-long"] {
        bars.at_most(&format!("{case}-instructions"), over(case).instructions, 2000.0);
        bars.at_most(&format!("{case}-allocations"), over(case).allocations, 6.0);
        let nanoseconds = |case| results.whole(case, "bartizan").nanoseconds;
        let ratio = nanoseconds(case) / nanoseconds("admit-fields");
        bars.at_most(&format!("{case}-time-vs-admit-fields"), ratio, 2.0);
    }
    let two = over("admit-two");
    bars.at_most("two-limits-instructions-ratio", two.instructions / admit.instructions, 1.7);
    bars.at_most("two-limits-time-ratio", two.nanoseconds / admit.nanoseconds, 1.7);
}

/// A million keys at no more than 40 bytes each, and ten million in the same memory.
fn memory(bars: &mut Bars) {
    const KEYS: u64 = 1_000_000;
    let before = resident();
    let quota = Quota::per_hour(1).expect("a quota above 0");
    let limiter = RateLimiter::new(quota).memory(36 * KEYS as usize);
    let spend = |keys: std::ops::Range<u64>| {
        for n in keys {
            std::hint::black_box(limiter.check(Key::of(&n)));
        }
    };
    spend(0..KEYS);
    let full = resident();
    let snapshot = limiter.snapshot();
    let kept = snapshot.value("bartizan_rate_limit_keys", "").expect("a gauge of this room");
    println!("of {KEYS} keys, {kept} are kept apart");
    bars.at_most("bytes-per-key-at-1000000", (full - before) as f64 / KEYS as f64, 40.0);
    spend(KEYS..10 * KEYS);
    bars.at_most("bytes-grown-by-10000000-keys", resident().saturating_sub(full) as f64, 0.0);
}

/// The bytes of this process that are in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux tells its processes");
    let pages = status.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number of pages") * 4096
}
