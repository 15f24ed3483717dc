//! Bartizan's cache beside axum-response-cache, tower-http-cache, http-cache-tower-server and
//! http-cache-tower: hits, by size of body, and what a miss adds to its handler.
//!
//! All are given the same handler with the same fields, all store in memory, and each answer is
//! read to its end. Only ours and the two that build on http-cache-semantics judge the response's
//! fields at all; axum-response-cache answers by method and URI alone.

use std::convert::Infallible;
use std::fmt::Write;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use axum::body::Body;
use bartizan::cache::{CacheLayer, ResponseCache, Settings};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use http_cache::MokaManager;
use http_cache_tower_server::{QueryKeyer, ServerCacheLayer, ServerCacheOptions};
use tower::{Layer, Service, ServiceExt, service_fn};

const KIB: usize = 1024;
const SIZES: [(&str, usize); 3] = [("1KiB", KIB), ("10KiB", 10 * KIB), ("1MiB", KIB * KIB)];

/// How long a contestant is measured, in all its rounds.
const BUDGET: Duration = Duration::from_millis(1500);
const REQUESTS_PER_ROUND: u32 = 50;

/// A contestant with its types forgotten: makes so many requests, and says how long they took.
type Run = Box<dyn FnMut(u32) -> Duration>;

fn main() -> ExitCode {
    let mut sound = true;
    let mut bar = |name: String, measured: f64, limit: f64, decimals: usize| {
        let met = measured <= limit;
        sound &= met;
        let verdict = if met { "ok" } else { "short" };
        println!("bar: {name} {measured:.decimals$} {limit:.decimals$} {verdict}");
    };
    println!("Nanoseconds per request that is answered from the store.\n");
    let mut ours = Vec::new();
    let mut ratios = Vec::new();
    for (name, size) in SIZES {
        let mut contestants = hits(size);
        let figures = measured(&mut contestants);
        println!("hit {name}");
        for ((contestant, _), nanos) in contestants.iter().zip(&figures) {
            println!("  {contestant:<28}{nanos:>12.0}");
        }
        ours.push(figures[1]);
        ratios.push((name, figures[1] / figures[2]));
        let slowest = figures[2..].iter().copied().fold(0.0, f64::max);
        println!("  the slowest peer takes {:.0} times ours\n", slowest / figures[1]);
    }
    // The same request but for the tag.
    let (other, same) = (Some("\"0\""), Some("\"1\""));
    let mut conditional = vec![("200", hit(10 * KIB, other)), ("304", hit(10 * KIB, same))];
    let conditional = measured(&mut conditional);

    let mut misses = vec![("handler alone", handler_alone()), ("bartizan, a miss", miss())];
    let misses = measured(&mut misses);
    println!("miss 10KiB, rendered by the handler");
    println!("  {:<28}{:>12.0}", "handler alone", misses[0]);
    println!("  {:<28}{:>12.0}\n", "bartizan, stored", misses[1]);

    bar("cache-hit-10KiB-nanoseconds".into(), ours[1], 1500.0, 0);
    for (name, ratio) in ratios {
        bar(format!("cache-hit-{name}-vs-axum-response-cache-time"), ratio, 1.1, 2);
    }
    bar("cache-hit-1MiB-vs-1KiB-time".into(), ours[2] / ours[0], 1.1, 2);
    bar("cache-304-vs-200-time".into(), conditional[1] / conditional[0], 1.0, 2);
    bar("cache-miss-vs-handler-time".into(), misses[1] / misses[0], 1.1, 2);
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Nanoseconds per request of each: its best round, in which all take turns.
#[expect(clippy::disallowed_methods, reason = "the layers' own clock is among what is measured")]
fn measured(contestants: &mut [(&'static str, Run)]) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; contestants.len()];
    let mut spent = vec![Duration::ZERO; contestants.len()];
    let start = Instant::now();
    while start.elapsed() < BUDGET * contestants.len() as u32 {
        for (at, (_, run)) in contestants.iter_mut().enumerate() {
            // A slow one does not take the time of the others.
            if spent[at] > BUDGET {
                continue;
            }
            let took = run(REQUESTS_PER_ROUND);
            spent[at] += took;
            best[at] = best[at].min(took.as_nanos() as f64 / f64::from(REQUESTS_PER_ROUND));
        }
        if spent.iter().all(|spent| *spent > BUDGET) {
            break;
        }
    }
    best
}

fn hits(size: usize) -> Vec<(&'static str, Run)> {
    let minute = Duration::from_secs(60);
    let inner = || service_fn(move |_: Request<Body>| answer(size));
    // It takes bodies that are `Sync` only, which axum's are not.
    let unboxed = service_fn(move |_: Request<Body>| async move {
        let response = answer(size).await?;
        Ok::<_, Infallible>(response.map(|_| Full::new(page(size))))
    });
    let by_lifetime =
        axum_response_cache::CacheLayer::with_lifespan(minute).body_limit(4 * KIB * KIB);
    let by_backend =
        tower_http_cache::CacheLayer::builder(tower_http_cache::prelude::InMemoryBackend::new(100))
            .ttl(minute)
            .max_body_size(Some(4 * KIB * KIB))
            .build();
    let options = ServerCacheOptions::default();
    let by_server =
        ServerCacheLayer::with_keyer(MokaManager::default(), QueryKeyer).with_options(options);
    let by_client = http_cache_tower::HttpCacheLayer::new(MokaManager::default());
    vec![
        ("handler alone", run(inner(), get)),
        ("bartizan", hit(size, None)),
        ("axum-response-cache", run(by_lifetime.layer(inner()), get)),
        ("tower-http-cache", run(by_backend.layer(unboxed), get)),
        ("http-cache-tower-server", run(by_server.layer(inner()), get)),
        ("http-cache-tower", run(by_client.layer(inner()), get)),
    ]
}

fn hit(size: usize, if_none_match: Option<&'static str>) -> Run {
    let layer = CacheLayer::new(ResponseCache::new("bench"));
    let service = layer.layer(service_fn(move |_: Request<Body>| answer(size)));
    run(service, move || {
        let mut request = get();
        if let Some(tag) = if_none_match {
            let headers = request.headers_mut();
            headers.insert(http::header::IF_NONE_MATCH, http::HeaderValue::from_static(tag));
        }
        request
    })
}

/// A handler that makes its 10 KiB, as handlers do.
async fn rendered(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    let mut page = String::with_capacity(10 * KIB + 64);
    for row in 0_u32.. {
        let price = f64::from(row) * 1.37;
        let _ = writeln!(page, "<tr><td>{row}</td><td>item {row}</td><td>{price:.2}</td></tr>");
        if page.len() >= 10 * KIB {
            break;
        }
    }
    Ok(head().body(Body::from(page)).expect("a sound response"))
}

fn handler_alone() -> Run {
    run(service_fn(rendered), counted())
}

fn miss() -> Run {
    let settings = Settings::default().max_bytes(16 << 20);
    let cache = ResponseCache::new("bench").settings(settings).expect("sound settings");
    run(CacheLayer::new(cache).layer(service_fn(rendered)), counted())
}

/// Each request is for something else.
fn counted() -> impl FnMut() -> Request<Body> {
    let mut count = 0_u64;
    move || {
        count += 1;
        let uri = format!("http://example.test/path?{count}");
        Request::get(uri).body(Body::empty()).expect("a sound request")
    }
}

fn get() -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = http::Uri::from_static("http://example.test/path?query");
    request
}

fn head() -> http::response::Builder {
    Response::builder()
        .header("cache-control", "max-age=600")
        .header("content-type", "text/html")
        .header("etag", "\"1\"")
}

async fn answer(size: usize) -> Result<Response<Body>, Infallible> {
    Ok(head().body(Body::from(page(size))).expect("a sound response"))
}

fn page(size: usize) -> Bytes {
    static PAGE: [u8; KIB * KIB] = [b'x'; KIB * KIB];
    Bytes::from_static(&PAGE[..size])
}

#[expect(clippy::disallowed_methods, reason = "the layers' own clock is among what is measured")]
fn run<S, B>(mut service: S, mut request: impl FnMut() -> Request<Body> + 'static) -> Run
where
    S: Service<Request<Body>, Response = Response<B>> + 'static,
    B: http_body::Body<Data = Bytes>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    Box::new(move |requests| {
        runtime.block_on(async {
            // What was begun beside the requests before is not to wait for these.
            tokio::task::yield_now().await;
            let start = Instant::now();
            for _ in 0..requests {
                let Ok(ready) = service.ready().await else { panic!("it is ready") };
                let Ok(response) = ready.call(request()).await else { panic!("it answers") };
                let status = response.status();
                assert!(status == StatusCode::OK || status == StatusCode::NOT_MODIFIED);
                let mut body = std::pin::pin!(response.into_body());
                // As a server reads it.
                while !body.is_end_stream() {
                    match body.frame().await {
                        Some(Ok(frame)) => drop(black_box(frame)),
                        Some(Err(_)) => panic!("the body breaks off"),
                        None => break,
                    }
                }
            }
            start.elapsed()
        })
    })
}
