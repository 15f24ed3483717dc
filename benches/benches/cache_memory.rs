//! What a flood leaves of memory: distinct URLs, variants and tags against a small store.
//!
//! Prints the resident memory beyond what the process had before the flood, in MiB, and exits with 1
//! if it is more than 1.3 times what the store may take.

use std::convert::Infallible;
use std::pin::pin;
use std::process::ExitCode;
use std::task::{Context, Poll, Waker};

use bartizan::cache::{Cache, CacheLayer, Purge, ResponseCache, Settings};
use bartizan::core::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{Empty, Full};
use tower_layer::Layer;
use tower_service::Service;

const LIMIT: u64 = 64 << 20;
const URLS: u32 = 1_000_000;
const VARIANTS: u32 = 100_000;
const TAGS: u32 = 10_000;

#[derive(Clone)]
struct Origin;

impl Service<Request<Empty<Bytes>>> for Origin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        // The number that the path ends with: as many tags as there are, all the same often.
        let number = request.uri().path().rsplit('/').next().and_then(|n| n.parse::<u32>().ok());
        let tag = number.unwrap_or_default();
        let body = Full::new(Bytes::from(vec![b'x'; 700]));
        let response = Response::builder()
            .header("cache-control", "max-age=600")
            .header("content-type", "text/plain")
            .header("vary", "x-variant")
            .header("surrogate-key", format!("tag-{}", tag % TAGS))
            .body(body);
        std::future::ready(Ok(response.expect("a sound response")))
    }
}

fn main() -> ExitCode {
    let Some(before) = resident() else {
        println!("no /proc: resident memory is not known here");
        return ExitCode::SUCCESS;
    };
    let settings = Settings::default().max_bytes(LIMIT);
    let cache = ResponseCache::new("flood").settings(settings).expect("sound settings");
    let mut service = CacheLayer::new(cache.clone()).layer(Origin);
    let mut most = 0;
    let mut watch = |count: u32| {
        if count.is_multiple_of(10_000) {
            most = most.max(resident().unwrap_or_default().saturating_sub(before));
        }
    };
    for n in 0..URLS {
        exchange(&mut service, &format!("http://a.test/items/{n}"), 0);
        watch(n);
    }
    for n in 0..VARIANTS {
        exchange(&mut service, &format!("http://a.test/varied/{}", n % 20_000), n);
        watch(n);
    }
    for n in 0..TAGS {
        cache.purge(&Purge::tag(format!("tag-{n}")));
    }
    for n in 0..100_000 {
        exchange(&mut service, &format!("http://a.test/items/{n}"), 0);
        watch(n);
    }
    let stored = cache.snapshot().value("bartizan_cache_stored_bytes", "").unwrap_or_default();
    println!("stored by its own account: {:.1} MiB", stored / f64::from(1 << 20));
    let (measured, limit) = (mebibytes(most), mebibytes(LIMIT) * 1.3);
    let met = measured <= limit;
    let verdict = if met { "ok" } else { "short" };
    println!("bar: cache-flood-resident-mebibytes {measured:.1} {limit:.1} {verdict}");
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn exchange(service: &mut Cache<Origin>, uri: &str, variant: u32) {
    let request = Request::get(uri).header("x-variant", variant).body(Empty::new());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let call = pin!(service.call(request.expect("a sound request")));
    let Poll::Ready(Ok(response)) = call.poll(&mut cx) else {
        panic!("the origin answers at once")
    };
    let mut body = pin!(response.into_body());
    while !body.is_end_stream() {
        let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut cx) else { break };
    }
}

/// Resident memory in bytes.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse::<u64>().ok().map(|pages| pages * 4096)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
