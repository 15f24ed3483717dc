//! The overload simulation held against reality: hyper on loopback, with workers that sleep.
//!
//! Four and sixteen workers take 40 ms per call on average, exponentially distributed, and callers wait a
//! second: the simulation with time four times as slow, so that a client on the same machine keeps up.
//! Sleeps take longer than they are asked to. What one really takes is measured first, and the load is
//! in proportion to that. Run by `benches/http/overload`.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use bartizan::core::Clock;
use bartizan::shed::{LoadShedLayer, LoadShedder};
use bartizan_benches::Bars;
use bartizan_benches::overload::{Plan, run};
use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tower_layer::Layer;

/// What workers are asked to sleep on average, in seconds.
const MEAN: f64 = 0.040;
const DEADLINE: Duration = Duration::from_secs(1);
/// How much slower this is than the simulation.
const SLOWER: u64 = 4;
/// In seconds of the simulation.
const FROM: u64 = 5;
const TO: u64 = 15;
/// A run of so few calls differs from the next: the simulation is averaged over so many.
const SEEDS: u64 = 5;

/// What came of a real run.
#[derive(Default)]
struct Real {
    sent: AtomicU64,
    /// How many of them were answered in time.
    good: AtomicU64,
    /// How long workers were at what was answered in time, in microseconds.
    work: AtomicU64,
    /// By how much requests were sent too late, in all and at most, in microseconds.
    late: AtomicU64,
    latest: AtomicU64,
}

fn main() -> ExitCode {
    let mut bars = Bars::default();
    let mean = MEAN + oversleep();
    println!("a sleep of {:.2} ms takes {:.2} ms on average", MEAN * 1e3, mean * 1e3);
    for workers in [4, 16] {
        for load in [1.0, 2.0, 10.0] {
            let real = measure(workers, load, mean);
            let sent = real.sent.load(Relaxed) as f64;
            let seconds = ((TO - FROM) * SLOWER) as f64;
            // The simulation's goodput: of the work if there is more of it than can be done, else of the
            // requests.
            let goodput = if load > 1.0 {
                real.work.load(Relaxed) as f64 / 1e6 / (f64::from(workers) * seconds)
            } else {
                real.good.load(Relaxed) as f64 / sent
            };
            let simulated = simulate(workers, load);
            println!(
                "{workers} workers, {load}x: goodput {:.1} % over loopback, {:.1} % in the simulation; {:.0} calls \
                 a second, sent {:.1} ms late on average and {:.0} ms at most",
                goodput * 100.0,
                simulated * 100.0,
                sent / seconds,
                real.late.load(Relaxed) as f64 / 1e3 / sent,
                real.latest.load(Relaxed) as f64 / 1e3,
            );
            let apart = (goodput - simulated).abs() * 100.0;
            bars.at_most(&format!("overload-http-{workers}-{load}x-points-apart"), apart, 5.0);
        }
    }
    bars.exit()
}

fn simulate(workers: u32, load: f64) -> f64 {
    let goodput = |seed| {
        let clock = Clock::manual();
        let shedder = LoadShedder::new("simulated").clock(clock.clone());
        let plan = Plan { workers, load, from: FROM, to: TO, ..Plan::default() };
        let tick = |nanos| clock.advance(Duration::from_nanos(nanos));
        run(&plan, seed, |worker| LoadShedLayer::new(shedder).layer(worker), tick).goodput()
    };
    (1..=SEEDS).map(goodput).sum::<f64>() / SEEDS as f64
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A time in seconds, of mean 1.
fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

/// By how much sleeps are longer than they are asked to be, in seconds.
fn oversleep() -> f64 {
    const SLEEPS: u32 = 500;
    let all = async {
        let sleeps = (0..SLEEPS).map(|_| tokio::spawn(work(MEAN * exponential(&mut Rng::new()))));
        let mut over = 0.0;
        for sleep in sleeps.collect::<Vec<_>>() {
            let (asked, took) = sleep.await.expect("a sleep");
            over += took.as_secs_f64() - asked;
        }
        over / f64::from(SLEEPS)
    };
    runtime().block_on(all)
}

/// What a worker does. Returns what it was asked for in seconds, and how long it took.
async fn work(asked: f64) -> (f64, Duration) {
    let start = now();
    tokio::time::sleep(Duration::from_secs_f64(asked)).await;
    (asked, start.elapsed())
}

/// Serves on a thread of its own, and says with each answer how many microseconds a worker was at it; returns the
/// port.
fn serve(workers: u32) -> u16 {
    let (tell, port) = std::sync::mpsc::channel();
    thread::spawn(move || {
        runtime().block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("an address").port()).expect("who asks");
            let free = Arc::new(Semaphore::new(workers as usize));
            let serve = tower::service_fn(move |_: Request<Incoming>| {
                let free = Arc::clone(&free);
                async move {
                    let worker = free.acquire().await;
                    let (_, took) = work(MEAN * exponential(&mut Rng::new())).await;
                    drop(worker);
                    Ok::<_, Infallible>(Response::new(Full::from(took.as_micros().to_string())))
                }
            });
            let service = LoadShedLayer::new(LoadShedder::new("real")).layer(serve);
            while let Ok((socket, _)) = listener.accept().await {
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        });
    });
    port.recv().expect("a server that starts")
}

/// Sends requests at random times, whatever becomes of the earlier ones, to workers that take `mean`.
fn measure(workers: u32, load: f64, mean: f64) -> Arc<Real> {
    let port = serve(workers);
    let real = Arc::<Real>::default();
    let span = (FROM * SLOWER) as f64..(TO * SLOWER) as f64;
    runtime().block_on(async {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let mut rng = Rng::with_seed(1);
        let (start, mut due) = (now(), 0.0);
        while due < span.end {
            due += exponential(&mut rng) * mean / (load * f64::from(workers));
            let at = start + Duration::from_secs_f64(due);
            tokio::time::sleep_until(at.into()).await;
            let is_counted = span.contains(&due);
            if is_counted {
                let late = at.elapsed().as_micros() as u64;
                real.sent.fetch_add(1, Relaxed);
                real.late.fetch_add(late, Relaxed);
                real.latest.fetch_max(late, Relaxed);
            }
            let (client, real, span) = (client.clone(), Arc::clone(&real), span.clone());
            tokio::spawn(async move {
                let begun = now();
                let request = Request::get(format!("http://127.0.0.1:{port}/"));
                let request = request.body(Empty::new()).expect("a sound request");
                let Ok(response) = client.request(request).await else { return };
                let is_ok = response.status() == StatusCode::OK;
                let Ok(text) = response.into_body().collect().await else { return };
                if !is_ok || begun.elapsed() > DEADLINE {
                    return;
                }
                real.good.fetch_add(u64::from(is_counted), Relaxed);
                if span.contains(&start.elapsed().as_secs_f64()) {
                    let text = text.to_bytes();
                    let micros = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
                    real.work.fetch_add(micros.expect("a number"), Relaxed);
                }
            });
        }
        tokio::time::sleep(2 * DEADLINE).await;
    });
    real
}

#[expect(clippy::disallowed_methods, reason = "this is about real time")]
fn now() -> Instant {
    Instant::now()
}
