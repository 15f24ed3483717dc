//! Stale responses: while a fresh one is fetched, and in place of errors (RFC 5861).

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod service;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bartizan_cache::{CacheLayer, Clock, Purge, ResponseCache, Settings};
use bartizan_core::{Engine, Mode};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};

use self::service::{Service, answer, get as ask};

const MINUTE: Duration = Duration::from_secs(60);

/// Lets what was spawned go on.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn u14_stale_is_served_while_one_request_fetches_a_fresh_one() {
    let service = Service::new(|_| answer("max-age=60, stale-while-revalidate=30", "x"));
    service.call(ask("/")).await;
    service.clock.advance(MINUTE + Duration::from_secs(5));
    for _ in 0..10 {
        assert_eq!(service.call(ask("/")).await.status(), "test; hit; ttl=-5");
    }
    settle().await;
    assert_eq!(service.calls(), 2, "one refresh in the background");
    assert_eq!(service.call(ask("/")).await.status(), "test; hit; ttl=60");
    service.clock.advance(MINUTE + Duration::from_secs(31));
    assert_eq!(service.call(ask("/")).await.status(), "test; fwd=stale; stored");
}

#[tokio::test]
async fn what_a_head_asked_for_is_refreshed_with_its_body_rfc_9111_4_3_5() {
    for layer in [CacheLayer::safe, CacheLayer::rfc] {
        let service = Service::new(|request| {
            let body = if request.method() == Method::HEAD { "" } else { "hello" };
            answer("max-age=60, stale-while-revalidate=30", body)
        });
        let layer = layer(service.cache.clone());
        service.call_by(&layer, ask("/")).await;
        service.clock.advance(MINUTE + Duration::from_secs(5));
        let head = service.call_by(&layer, Request::head("/").header("host", "a.test")).await;
        assert_eq!(head.status(), "test; hit; ttl=-5");
        settle().await;
        let hit = service.call_by(&layer, ask("/")).await;
        assert_eq!(
            (&*hit.body, &*hit.status(), service.calls()),
            ("hello", "test; hit; ttl=60", 2)
        );
    }
}

#[tokio::test]
async fn a_refresh_asks_nothing_of_what_the_client_has() {
    let service = Service::new(|request| {
        assert!(!request.headers().contains_key("if-none-match"));
        answer("max-age=60, stale-while-revalidate=30", "hello")
    });
    service.call(ask("/")).await;
    service.clock.advance(MINUTE + Duration::from_secs(5));
    service.call(ask("/").header("if-none-match", "\"1\"")).await;
    settle().await;
    let hit = service.call(ask("/")).await;
    assert_eq!((&*hit.body, &*hit.status(), service.calls()), ("hello", "test; hit; ttl=60", 2));
}

#[tokio::test]
async fn a_refresh_validates_and_asks_for_the_whole() {
    let service = Service::new(|request| {
        assert!(!request.headers().contains_key("range"));
        if request.headers().contains_key("if-none-match") {
            answer("max-age=60, stale-while-revalidate=30", "").status(304)
        } else {
            answer("max-age=60, stale-while-revalidate=30", "hello").header("etag", "\"1\"")
        }
    });
    service.call(ask("/")).await;
    service.clock.advance(MINUTE);
    let part = service.call(ask("/").header("range", "bytes=0-1")).await;
    assert_eq!((part.code, &*part.body), (StatusCode::PARTIAL_CONTENT, "he"));
    settle().await;
    let hit = service.call(ask("/")).await;
    assert_eq!((&*hit.body, &*hit.status(), service.calls()), ("hello", "test; hit; ttl=60", 2));
}

#[test]
fn without_a_runtime_the_client_fetches_itself() {
    let service = Service::new(|_| answer("max-age=60, stale-while-revalidate=30", "x"));
    let call = || {
        let mut call = std::pin::pin!(service.call(ask("/")));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match call.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(read) => read.status(),
            std::task::Poll::Pending => panic!("the service answers at once"),
        }
    };
    call();
    service.clock.advance(MINUTE);
    assert_eq!(call(), "test; fwd=stale; stored");
}

#[tokio::test]
async fn stale_stands_in_for_errors() {
    for (said, failing, stands_in) in [
        ("max-age=60, stale-if-error=30", 500, true),
        ("max-age=60, stale-if-error=30", 503, true),
        ("max-age=60, stale-if-error=30", 404, false),
        ("max-age=60, stale-if-error=30, must-revalidate", 503, false),
        ("max-age=60, stale-if-error=4", 503, false),
        ("max-age=60", 503, false),
    ] {
        let failed = Arc::new(AtomicBool::new(false));
        let fails = Arc::clone(&failed);
        let service = Service::new(move |_| {
            if fails.load(Relaxed) {
                answer("no-store", "sorry").status(failing)
            } else {
                answer(said, "hello")
            }
        });
        service.call(ask("/")).await;
        failed.store(true, Relaxed);
        service.clock.advance(MINUTE + Duration::from_secs(5));
        let answer = service.call(ask("/")).await;
        if stands_in {
            let line = format!(
                "test; hit; fwd=stale; fwd-status={failing}; ttl=-5; detail=stale-if-error"
            );
            assert_eq!((answer.code, &*answer.body), (StatusCode::OK, "hello"), "{said}");
            assert_eq!(answer.status(), line);
            assert_eq!(service.value("bartizan_cache_requests_total", "stood_in"), 1);
        } else {
            assert_eq!((answer.code.as_u16(), &*answer.body), (failing, "sorry"), "{said}");
        }
    }
}

#[tokio::test]
async fn in_shadow_nothing_stands_in_for_an_error() {
    let service = Service::new(|request| {
        let fails = request.headers().contains_key("x-fail");
        let head = answer("max-age=60, stale-if-error=90", if fails { "sorry" } else { "hello" });
        head.status(if fails { 503 } else { 200 })
    });
    service.cache.switch().set(Mode::Shadow);
    service.call(ask("/")).await;
    service.clock.advance(MINUTE + Duration::from_secs(5));
    let failed = service.call(ask("/").header("x-fail", "1")).await;
    assert_eq!((failed.code.as_u16(), &*failed.body), (503, "sorry"));
    assert_eq!(service.value("bartizan_cache_requests_total", "stood_in"), 0);
}

#[tokio::test]
async fn stale_stands_in_for_a_service_that_is_gone() {
    let clock = Clock::manual();
    let cache = ResponseCache::new("test").clock(clock.clone());
    let gone = Arc::new(AtomicBool::new(false));
    let is_gone = Arc::clone(&gone);
    let inner = service_fn(move |request: Request<Empty<Bytes>>| {
        let is_gone = is_gone.load(Relaxed);
        async move {
            if is_gone {
                return Err(io::Error::other("connection refused"));
            }
            let said = request.uri().path().trim_start_matches('/').replace('_', ", ");
            let body = Full::new(Bytes::from_static(b"hello"));
            Ok(Response::builder().header("cache-control", said).body(body).unwrap())
        }
    });
    let safe = CacheLayer::safe(cache.clone()).layer(inner.clone());
    let rfc = CacheLayer::rfc(cache).layer(inner);
    let get = |path: &str| {
        Request::get(path.to_owned()).header("host", "a.test").body(Empty::new()).unwrap()
    };
    for path in ["/max-age=60_stale-if-error=90", "/max-age=60", "/max-age=60_must-revalidate"] {
        let response = safe.clone().oneshot(get(path)).await.unwrap();
        http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    }
    clock.advance(MINUTE * 2);
    gone.store(true, Relaxed);
    let graceful = safe.clone().oneshot(get("/max-age=60_stale-if-error=90")).await.unwrap();
    assert_eq!(graceful.headers()["age"], "120");
    assert!(safe.clone().oneshot(get("/max-age=60")).await.is_err(), "nobody allowed it");
    // By the letter of RFC 9111 §4.2.4 a cache that is disconnected may, unless forbidden. What
    // was stored by the safe preset was stored without that leave.
    assert!(rfc.clone().oneshot(get("/max-age=60_must-revalidate")).await.is_err());
}

#[tokio::test]
async fn grace_can_be_configured_and_is_not_forced_on_who_forbids_it() {
    let settings = Settings::default()
        .stale_while_revalidate(Duration::from_secs(30))
        .stale_if_error(Duration::from_secs(90));
    let service = Service::with(settings, |request| {
        let said = if request.uri().path() == "/strict" {
            "max-age=60, must-revalidate"
        } else {
            "max-age=60"
        };
        if request.headers().contains_key("x-fail") {
            answer("no-store", "").status(502)
        } else {
            answer(said, "x")
        }
    });
    service.call(ask("/")).await;
    service.call(ask("/strict")).await;
    service.clock.advance(MINUTE + Duration::from_secs(40));
    let failing = |path: &str| ask(path).header("x-fail", "1");
    assert_eq!(service.call(failing("/")).await.code, StatusCode::OK);
    assert_eq!(service.call(failing("/strict")).await.code, StatusCode::BAD_GATEWAY);
    assert_eq!(service.call(ask("/strict")).await.status(), "test; fwd=stale; stored");
}

#[tokio::test]
async fn what_is_missing_is_remembered_as_long_as_it_is_said() {
    let settings = Settings::default().status_ttl(404, Duration::from_secs(5));
    let service = Service::with(settings, |request| match request.uri().path() {
        "/missing" => answer("", "no such thing").status(404),
        "/broken" => answer("", "").status(500),
        _ => answer("", "x"),
    });
    for (path, calls) in [("/missing", 1), ("/broken", 2), ("/", 2)] {
        let before = service.calls();
        service.call(ask(path)).await;
        service.call(ask(path)).await;
        assert_eq!(service.calls() - before, calls, "{path}");
    }
    service.clock.advance(Duration::from_secs(5));
    assert_eq!(service.call(ask("/missing")).await.status(), "test; fwd=stale; stored");
}

#[tokio::test]
async fn a_soft_purge_is_an_expiry() {
    let service = Service::new(|_| {
        answer("max-age=60, stale-while-revalidate=30", "x").header("surrogate-key", "a b")
    });
    service.call(ask("/")).await;
    service.cache.purge(&Purge::tag("b").soft());
    assert_eq!(service.call(ask("/")).await.status(), "test; hit; ttl=60");
    settle().await;
    assert_eq!(service.calls(), 2, "it is fetched anew");
    service.call(ask("/")).await;
    settle().await;
    assert_eq!(service.calls(), 2, "and is then as fresh as any");
}
