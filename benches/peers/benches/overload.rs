//! What load shedding is worth, of Bartizan and its peers: the simulation of
//! `cargo run --release -p bartizan-benches --bin overload`, with each peer's worst cell.
//!
//! Peers that wait at their limit stand behind tower's `LoadShed`. They read the system's clock, so this
//! program defines it. `--quick` runs fewer variants, `--seed N` draws other random numbers.

#![allow(unsafe_code, reason = "to define the system's clock: see `clock_gettime`")]

use std::convert::Infallible;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::ExitCode;
use std::task::{Context, Waker};
use std::time::Duration;

use bartizan::core::{Clock, Http};
use bartizan::shed::{LoadShedLayer, LoadShedder};
use bartizan_bench_peers::NoOp;
use bartizan_bench_peers::overload::{
    Ask, Cell, Contestant, Plan, Suite, Variant, Worker, now, run,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use little_loadshedder::LoadShedResponse;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_resilience_adaptive::{AdaptiveLimiterLayer, Aimd, ConcurrencyAlgorithm, Vegas};

/// A point in time, as the system's clock tells it.
#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanos: i64,
}

/// Stands in for the C library's function of this name in this program: every clock shows the
/// simulation's time.
///
/// # Safety
///
/// `time` points to a place for the time, as its callers promise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(_: c_int, time: *mut Timespec) -> c_int {
    let nanos = now();
    let value =
        Timespec { seconds: (nanos / 1_000_000_000) as i64, nanos: (nanos % 1_000_000_000) as i64 };
    // SAFETY: the caller's promise.
    unsafe { time.write(value) };
    0
}

const UNLIMITED: &str = "tower, no limit";
/// Without a limit millions of calls wait in a large service, for nothing: it is spared that.
const UNLIMITED_WORKERS: u32 = 16;

const LOADS: [f64; 3] = [1.0, 1.5, 10.0];

fn main() -> ExitCode {
    let suite = Suite { seeds: 1, ..Suite::from_arguments() };
    let variants = suite.variants();
    let contestants = [
        bartizan(),
        contestant(UNLIMITED, |worker| worker),
        contestant("tower, limit 32", |worker| LoadShed::new(ConcurrencyLimit::new(worker, 32))),
        told(),
        contestant("little-loadshedder, 125 ms", |worker| {
            let shed = little_loadshedder::LoadShed::new(worker, 0.01, Duration::from_millis(125));
            ServiceExt::<Request<Ask>>::map_result(shed, |answer| match answer {
                Ok(LoadShedResponse::Inner(response)) => Ok(response),
                Ok(LoadShedResponse::Overload) | Err(_) => Err(tower::BoxError::from("refused")),
            })
        }),
        contestant("tower-resilience, AIMD", |worker| {
            let algorithm = Aimd::builder().build().expect("its defaults");
            adaptive(algorithm, worker)
        }),
        contestant("tower-resilience, Vegas", |worker| {
            adaptive(Vegas::builder().build().expect("its defaults"), worker)
        }),
        contestant("tower-resilience, Gradient2", |worker| {
            let algorithm = tower_resilience_adaptive::Gradient2::builder().build();
            adaptive(algorithm.expect("its defaults"), worker)
        }),
        contestant("tower-acc, AIMD", |worker| {
            let algorithm = tower_acc::Aimd::builder().build();
            LoadShed::new(tower_acc::ConcurrencyLimit::new(worker, algorithm))
        }),
        contestant("tower-acc, Vegas", |worker| {
            let algorithm = tower_acc::Vegas::builder().build();
            LoadShed::new(tower_acc::ConcurrencyLimit::new(worker, algorithm))
        }),
        contestant("tower-acc, Gradient2", |worker| {
            let algorithm = tower_acc::Gradient2::builder().build();
            LoadShed::new(tower_acc::ConcurrencyLimit::new(worker, algorithm))
        }),
    ];
    let mut table = Vec::new();
    for contestant in &contestants {
        println!("\n{}: goodput in %, p99 in ms, at 1x, 1.5x, 10x", contestant.name);
        let mut worst: Option<(f64, String)> = None;
        let mut sizes = Vec::new();
        let is_spared = |variant: &&Variant| {
            contestant.name == UNLIMITED && variant.workers > UNLIMITED_WORKERS
        };
        for &variant in variants.iter().filter(|variant| !is_spared(variant)) {
            print!("{:<24}", variant.to_string());
            let mut least = f64::INFINITY;
            for load in LOADS {
                let Cell { goodput, p99, .. } = suite.cell(contestant, variant, load);
                print!(" | {goodput:5.1} {p99:4.0}");
                if load > 1.0 {
                    least = least.min(goodput);
                    if worst.as_ref().is_none_or(|worst| goodput < worst.0) {
                        worst = Some((goodput, format!("{variant}, {load}x")));
                    }
                }
            }
            println!();
            sizes.push((variant.workers, least));
        }
        table.push((contestant.name.clone(), worst.unwrap_or_default(), sizes));
    }

    println!("\nworst goodput from 1.5x to 10x in %, by the number of workers, and the worst cell");
    let mut workers: Vec<u32> = variants.iter().map(|variant| variant.workers).collect();
    workers.dedup();
    for (name, (goodput, cell), sizes) in &table {
        print!("{name:<30}");
        for &workers in &workers {
            let of_size = sizes.iter().filter(|size| size.0 == workers).map(|size| size.1);
            match of_size.reduce(f64::min) {
                Some(least) => print!(" | {least:5.1}"),
                None => print!(" |      "),
            }
        }
        println!(" | {goodput:5.1} {cell}");
    }
    // Of those that are not told.
    let peers = table.iter().skip(1).filter(|row| !row.0.contains("told"));
    let best_peer = peers.map(|row| row.1.0).fold(0.0, f64::max);
    let mut bars = bartizan_bench_peers::Bars::default();
    bars.at_least("overload-worst-cell-vs-best-peer", table[0].1.0, best_peer);
    bars.at_most("shed-slots-of-64-idle-ready-clones", idle().into(), 0.0);
    bars.at_most("shed-slots-after-10000-cut-short", cut_short().into(), 0.0);
    bars.exit()
}

/// The slots that clones hold which are ready, and have nothing to do.
fn idle() -> u32 {
    let shedder = LoadShedder::new("idle");
    let mut clones =
        vec![LoadShedLayer::new(shedder.clone()).layer(NoOp::<Full<Bytes>>::new()); 64];
    let mut cx = Context::from_waker(Waker::noop());
    assert!(clones.iter_mut().all(|clone| clone.poll_ready(&mut cx).is_ready()));
    shedder.in_flight()
}

/// The slots that are held, or waited for, after so many exchanges that were cancelled, panicked, or were not read
/// to the end.
fn cut_short() -> u32 {
    let shedder = LoadShedder::new("cut short");
    let layer = LoadShedLayer::new(shedder.clone());
    let mut service = layer.layer(NoOp::<Full<Bytes>>::new());
    let panics = |_: Request<()>| async {
        std::panic::resume_unwind(Box::new("on purpose"));
        #[expect(unreachable_code, reason = "says what would be answered")]
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    };
    let mut panicking = layer.layer(service_fn(panics));
    let mut cx = Context::from_waker(Waker::noop());
    for round in 0..10_000 {
        assert!(service.poll_ready(&mut cx).is_ready() && panicking.poll_ready(&mut cx).is_ready());
        match round % 3 {
            0 => drop(service.call(Request::new(()))),
            1 => assert!(pin!(service.call(Request::new(()))).poll(&mut cx).is_ready()),
            _ => {
                let call = panicking.call(Request::new(()));
                let poll = || pin!(call).poll(&mut cx).is_ready();
                assert!(catch_unwind(AssertUnwindSafe(poll)).is_err());
            }
        }
    }
    shedder.in_flight() + shedder.waiting()
}

fn contestant<S, B>(name: &str, make: impl Fn(Worker) -> S + 'static) -> Contestant<'static>
where
    S: Service<Request<Ask>, Response = Response<B>> + Clone,
{
    let run = move |plan: &Plan, seed| run(plan, seed, &make, |_| {});
    Contestant { name: name.to_owned(), run: Box::new(run) }
}

/// What tower does if somebody tells it the number of workers, and keeps telling.
fn told() -> Contestant<'static> {
    let run = |plan: &Plan, seed| {
        let limit = 2 * plan.workers as usize;
        run(plan, seed, |worker| LoadShed::new(ConcurrencyLimit::new(worker, limit)), |_| {})
    };
    Contestant { name: "tower, told: twice the workers".to_owned(), run: Box::new(run) }
}

fn bartizan() -> Contestant<'static> {
    let curt = Http::new().respond_with(|_, rejection| {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = rejection.status();
        Some(response)
    });
    let run = move |plan: &Plan, seed| {
        let clock = Clock::manual();
        let shedder = LoadShedder::new("overload").clock(clock.clone());
        let layer = LoadShedLayer::new(shedder).http(curt.clone());
        run(
            plan,
            seed,
            |worker| layer.layer(worker),
            |nanos| {
                clock.advance(Duration::from_nanos(nanos));
            },
        )
    };
    Contestant { name: "bartizan".to_owned(), run: Box::new(run) }
}

fn adaptive<A: ConcurrencyAlgorithm + 'static>(
    algorithm: A,
    worker: Worker,
) -> LoadShed<tower_resilience_adaptive::AdaptiveService<Worker, A>> {
    LoadShed::new(AdaptiveLimiterLayer::new(algorithm).layer(worker))
}
