//! Bartizan's shedding beside tower's fixed limit and tower-acc's adaptive one.
//!
//! Both peers wait at their limit unless tower's `LoadShed` around them turns requests away. They
//! hold a slot to the response's head, ours to the end of its body.

use std::hint::black_box;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use bartizan::core::{Clock, Http};
use bartizan::shed::{LoadShedLayer, LoadShedder, Settings, Slot};
use bartizan_bench_peers::{Bars, Case, NoOp, Results, Serve, Traffic, run_with, two_threads};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::Layer;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower_acc::Gradient2;

const FLOOR: u32 = 20;
const START: u32 = 64;
const CEILING: u32 = 200;
/// Instructions of a pass.
const PASS: f64 = 350.0;

const fn inner() -> NoOp<Full<Bytes>> {
    NoOp::new()
}

fn main() -> ExitCode {
    let admitted = case("shed-admitted", || layered(shedder(0)))
        .beside("tower", || {
            let limit = ConcurrencyLimit::new(inner(), START as usize);
            Serve::new(LoadShed::new(limit), Traffic::default())
        })
        .beside("tower-acc", || {
            let gradient = Gradient2::builder()
                .min_limit(FLOOR as usize)
                .initial_limit(START as usize)
                .max_limit(CEILING as usize)
                .build();
            let limit = tower_acc::ConcurrencyLimit::new(inner(), gradient);
            Serve::new(LoadShed::new(limit), Traffic::default())
        })
        .beside("two clock readings", || {
            Serve::new(inner(), Traffic { introduce: read, ..Traffic::default() })
        });
    // By a clock that costs next to nothing. At full speed one call in many is timed; where there are fewer than
    // 10 000 a second, all are.
    let unread = by_hand::<4>("shed-admitted-without-clock");
    let timed = by_hand::<1000>("shed-timed-without-clock");
    let queued = case("shed-admitted-with-queue", || layered(shedder(1024)));
    let refused =
        case("shed-refused", || refusing(Http::new())).beside("empty body", || refusing(curt()));
    run_with(&[admitted, unread, timed, queued, refused], hold)
}

fn hold(results: &Results<'_>, bars: &mut Bars) {
    let ours = results.over("shed-admitted", "bartizan");
    let theirs = results.over("shed-admitted", "tower-acc");
    let clock = results.over("shed-admitted", "two clock readings");
    println!("two clock readings: {:.0} ns", clock.nanoseconds);
    // With the readings for the few calls that are timed, and room for two.
    let limit = PASS + clock.instructions;
    bars.at_most("shed-admitted-instructions", ours.instructions.round(), limit.round());
    for case in ["shed-admitted-without-clock", "shed-timed-without-clock"] {
        let instructions = results.over(case, "bartizan").instructions;
        bars.at_most(&format!("{case}-instructions"), instructions.round(), PASS);
    }
    bars.at_most("shed-admitted-allocations", ours.allocations, 0.0);
    let ratio = ours.nanoseconds / theirs.nanoseconds;
    bars.at_most("shed-admitted-vs-tower-acc-time", ratio, 0.5);
    let whole = |case, contestant| results.whole(case, contestant).nanoseconds;
    let pass = whole("shed-admitted", "bartizan");
    for (name, contestant) in [("", "bartizan"), ("-empty-body", "empty body")] {
        let ratio = whole("shed-refused", contestant) / pass;
        bars.at_most(&format!("shed-refused{name}-vs-pass-time"), ratio, 2.0);
    }
    let shared = shedder(0);
    let mut pairs = [[(); 2].map(|()| layered(shared.clone()))];
    let nanoseconds = two_threads(&mut pairs);
    bars.at_most("shed-two-threads-vs-one-time", nanoseconds[0] / pass, 2.0);
}

fn case(name: &str, ours: impl Fn() -> Serve + 'static) -> Case {
    Case::new(name, || Serve::new(inner(), Traffic::default()), ours)
}

fn shedder(queue: u32) -> LoadShedder {
    let settings = Settings::default().limits(FLOOR, START, CEILING).queue(queue);
    LoadShedder::new("bench").settings(settings).expect("limits in order")
}

fn layered(shedder: LoadShedder) -> Serve {
    Serve::new(LoadShedLayer::new(shedder).layer(inner()), Traffic::default())
}

fn read(_: &mut Request<()>, _: SocketAddr) {
    black_box((Clock::system().now(), Clock::system().now()));
}

static BY_HAND: LazyLock<Clock> = LazyLock::new(Clock::manual);

/// A call every so many microseconds, as the layer's clock has it.
fn by_hand<const MICROS: u64>(name: &str) -> Case {
    let tick = |_: &mut Request<()>, _| BY_HAND.advance(Duration::from_micros(MICROS));
    let traffic = move || Traffic { introduce: tick, ..Traffic::default() };
    Case::new(
        name,
        move || Serve::new(inner(), traffic()),
        move || {
            let shedder = shedder(0).clock(BY_HAND.clone());
            Serve::new(LoadShedLayer::new(shedder).layer(inner()), traffic())
        },
    )
}

fn curt() -> Http {
    Http::new().respond_with(|_, rejection| {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = rejection.status();
        Some(response)
    })
}

/// All slots are taken, for as long as it is measured.
fn refusing(http: Http) -> Serve {
    let settings = Settings::fixed(1).queue(0).critical_slots(0.0);
    let shedder = LoadShedder::new("bench").settings(settings).expect("a fit limit");
    let held: Slot = shedder.admit().expect("it is free");
    std::mem::forget(held);
    let traffic = Traffic { status: StatusCode::SERVICE_UNAVAILABLE, ..Traffic::default() };
    Serve::new(LoadShedLayer::new(shedder).http(http).layer(inner()), traffic)
}
