//! The overload simulation held against reality: hyper on loopback, with workers that sleep.
//!
//! Four and sixteen workers take 40 ms per call on average, exponentially distributed, and callers wait a
//! second: the simulation with time four times as slow, so that a client on the same machine keeps up.
//! What a call really takes, and so the capacity, is measured. Run by `benches/http/overload`.

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
use tokio::sync::Semaphore;
use tower_layer::Layer;

const MEAN: f64 = 0.040;
const DEADLINE: Duration = Duration::from_secs(1);
const WARM_UP: f64 = 15.0;
const SECONDS: f64 = 20.0;

/// What the workers have done, in calls and in microseconds.
#[derive(Default)]
struct Done {
    calls: AtomicU64,
    micros: AtomicU64,
}

fn main() -> ExitCode {
    let mut bars = Bars::default();
    println!("workers, load: goodput in % over loopback, in the simulation");
    for workers in [4, 16] {
        for load in [1.0, 2.0, 10.0] {
            let real = measure(workers, load) * 100.0;
            let simulated = simulate(workers, load) * 100.0;
            println!("{workers:>2}, {load}x: {real:.1}, {simulated:.1}");
            let apart = (real - simulated).abs();
            bars.at_most(&format!("overload-http-{workers}-{load}x-points-apart"), apart, 5.0);
        }
    }
    bars.exit()
}

fn simulate(workers: u32, load: f64) -> f64 {
    let clock = Clock::manual();
    let layer = LoadShedLayer::new(LoadShedder::new("simulated").clock(clock.clone()));
    let plan = Plan { workers, load, ..Plan::default() };
    run(&plan, 1, |worker| layer.layer(worker), |nanos| clock.advance(Duration::from_nanos(nanos)))
        .goodput()
}

/// Serves on a thread of its own; returns the port.
fn serve(workers: u32, done: Arc<Done>) -> u16 {
    let (tell, port) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("an address").port()).expect("who asks");
            let free = Arc::new(Semaphore::new(workers as usize));
            let work = tower::service_fn(move |_: Request<Incoming>| {
                let (free, done) = (Arc::clone(&free), Arc::clone(&done));
                async move {
                    let _worker = free.acquire().await;
                    let start = now();
                    let time = -MEAN * (1.0 - fastrand::f64()).ln();
                    tokio::time::sleep(Duration::from_secs_f64(time)).await;
                    done.calls.fetch_add(1, Relaxed);
                    done.micros.fetch_add(start.elapsed().as_micros() as u64, Relaxed);
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
                }
            });
            let service = LoadShedLayer::new(LoadShedder::new("real")).layer(work);
            while let Ok((socket, _)) = listener.accept().await {
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        });
    });
    port.recv().expect("a server that starts")
}

/// Sends requests at random times, whatever becomes of the earlier ones: the goodput of what is
/// possible.
fn measure(workers: u32, load: f64) -> f64 {
    let done = Arc::<Done>::default();
    let port = serve(workers, Arc::clone(&done));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let good = Arc::new(AtomicU64::new(0));
    let sent = runtime.expect("a runtime").block_on(async {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let mut rng = Rng::with_seed(1);
        let (start, mut due, mut sent) = (now(), 0.0, 0_u64);
        while due < WARM_UP + SECONDS {
            due += -(1.0 - rng.f64()).ln() / (load * f64::from(workers) / MEAN);
            tokio::time::sleep_until((start + Duration::from_secs_f64(due)).into()).await;
            let is_counted = (WARM_UP..WARM_UP + SECONDS).contains(&due);
            sent += u64::from(is_counted);
            let (client, good) = (client.clone(), Arc::clone(&good));
            tokio::spawn(async move {
                let begun = now();
                let request = Request::get(format!("http://127.0.0.1:{port}/"));
                let request = request.body(Empty::new()).expect("a sound request");
                let Ok(response) = client.request(request).await else { return };
                let is_ok = response.status() == StatusCode::OK;
                let is_read = response.into_body().collect().await.is_ok();
                let is_good = is_ok && is_read && begun.elapsed() <= DEADLINE;
                good.fetch_add(u64::from(is_good && is_counted), Relaxed);
            });
        }
        tokio::time::sleep(2 * DEADLINE).await;
        sent
    });
    let mean = done.micros.load(Relaxed) as f64 / 1e6 / done.calls.load(Relaxed) as f64;
    let capacity = f64::from(workers) / mean * SECONDS;
    good.load(Relaxed) as f64 / capacity.min(sent as f64)
}

#[expect(clippy::disallowed_methods, reason = "this is about real time")]
fn now() -> Instant {
    Instant::now()
}
