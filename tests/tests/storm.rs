//! A dependency on loopback that fails for ten seconds under ten times its load. The seconds are
//! the breaker's own; the calls are real.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bartizan::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, Settings, State};
use bartizan::core::Clock;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt};

const TICK: Duration = Duration::from_millis(50);
const USUAL: usize = 5;
const STORM: usize = 10 * USUAL;
const PROBES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(4);

#[derive(Default)]
struct Dependency {
    fails: AtomicBool,
    hits: AtomicU64,
}

/// Serves on loopback, and returns the address.
async fn listen(dependency: Arc<Dependency>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let dependency = Arc::clone(&dependency);
            let answer = service_fn(move |_: Request<Incoming>| {
                dependency.hits.fetch_add(1, SeqCst);
                let mut response = Response::new(Full::<Bytes>::from("hello"));
                if dependency.fails.load(SeqCst) {
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                }
                std::future::ready(Ok::<_, Infallible>(response))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
        }
    });
    format!("http://{address}/")
}

/// So many calls at once, each read to its end; returns how many were answered well.
async fn calls<S, B>(service: &S, address: &str, count: usize) -> usize
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: std::fmt::Debug + Send,
    B: axum::body::HttpBody<Data = Bytes, Error: Send> + Send + 'static,
{
    let mut running = JoinSet::new();
    for _ in 0..count {
        let request = Request::get(address).body(Full::default()).unwrap();
        let service = service.clone();
        running.spawn(async move {
            let response = service.oneshot(request).await.unwrap();
            let status = response.status();
            assert!(response.into_body().collect().await.is_ok());
            status == 200
        });
    }
    running.join_all().await.into_iter().filter(|&well| well).count()
}

fn verdict(met: bool) -> &'static str {
    if met { "ok" } else { "short" }
}

#[tokio::test]
async fn a_storm_reaches_a_failing_dependency_by_its_probes_only() {
    let dependency = Arc::<Dependency>::default();
    let address = listen(Arc::clone(&dependency)).await;
    let clock = Clock::manual();
    let settings = Settings::default()
        .window(20, 10)
        .open_wait(FIRST_WAIT, LONGEST_WAIT)
        .half_open_probes(PROBES);
    let probing = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&probing);
    let breaker = CircuitBreaker::new("storm")
        .settings(settings)
        .unwrap()
        .clock(clock.clone())
        .on_transition(move |transition| {
            count.fetch_add(u64::from(transition.to() == State::HalfOpen), SeqCst);
        });
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let service = CircuitBreakerLayer::new(breaker.clone()).layer(client);

    for _ in 0..20 {
        assert_eq!(calls(&service, &address, USUAL).await, USUAL);
        clock.advance(TICK);
    }

    dependency.fails.store(true, SeqCst);
    calls(&service, &address, STORM).await;
    assert_eq!(breaker.state(), State::Open);
    dependency.hits.store(0, SeqCst);
    let (mut past, mut offered) = (Duration::ZERO, 0);
    while past < Duration::from_secs(10) {
        assert_eq!(calls(&service, &address, STORM).await, 0);
        offered += STORM;
        clock.advance(TICK);
        past += TICK;
    }
    let (hits, most) = (dependency.hits.load(SeqCst), probing.load(SeqCst) * u64::from(PROBES));
    println!("{offered} calls were offered");
    println!("bar: storm-calls-while-open {hits} {most} {}", verdict(hits <= most));
    assert!(hits <= most && most > 0, "{hits} of {most}");
    assert!(hits <= 15, "1, 2, 4 and 4 s: {hits}");

    dependency.fails.store(false, SeqCst);
    let mut recovery = Duration::ZERO;
    while calls(&service, &address, STORM).await < STORM {
        clock.advance(TICK);
        recovery += TICK;
        assert!(recovery <= 2 * LONGEST_WAIT, "full traffic is not back after {recovery:?}");
    }
    let (millis, most) = (recovery.as_millis(), 2 * LONGEST_WAIT.as_millis());
    println!("bar: storm-recovery-ms {millis} {most} {}", verdict(millis <= most));
    assert_eq!(breaker.state(), State::Closed);
}
