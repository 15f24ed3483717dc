//! Purges: by resource, tag, group and prefix, in all variants, stale ones and those on their way.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod service;

use std::time::Duration;

use bartizan_cache::{CacheLayer, KeyRules, Purge, ResponseCache, Settings};
use http::{HeaderName, Request};

use self::service::{Service, answer, get as ask, read_all};

fn tagged() -> Service {
    Service::new(|request| {
        let path = request.uri().path().to_owned();
        answer("max-age=60", path.clone())
            .header("vary", "x")
            .header("etag", "\"1\"")
            .header("surrogate-key", format!("all {}", &path[1..2]))
            .header("cache-groups", "\"g\"")
    })
}

async fn is_stored(service: &Service, path: &str, x: &str) -> bool {
    let only = ask(path).header("x", x).header("cache-control", "only-if-cached, max-stale");
    service.call(only).await.code.is_success()
}

#[tokio::test]
async fn every_variant_and_every_stale_copy_is_gone() {
    let uri = || "https://a.test/a/1".parse().unwrap();
    for purge in [
        Purge::all(),
        Purge::uri(uri()),
        Purge::tag("a"),
        Purge::tag("all"),
        Purge::prefix("https://a.test/a/"),
        Purge::group("https://a.test", "g"),
    ] {
        let service = tagged();
        for x in ["1", "2"] {
            service.call(ask("/a/1").header("x", x)).await;
        }
        service.clock.advance(Duration::from_secs(100));
        assert!(is_stored(&service, "/a/1", "1").await && is_stored(&service, "/a/1", "2").await);
        service.cache.purge(&purge);
        for x in ["1", "2"] {
            assert!(!is_stored(&service, "/a/1", x).await, "{purge:?} left a variant");
        }
        assert_eq!(service.call(ask("/a/1").header("x", "1")).await.code, 200);
        assert!(is_stored(&service, "/a/1", "1").await, "{purge:?} reaches into the future");
    }
}

#[tokio::test]
async fn what_is_not_named_stays() {
    for purge in [
        Purge::uri("https://a.test/a/2".parse().unwrap()),
        Purge::uri("https://b.test/a/1".parse().unwrap()),
        Purge::tag("b"),
        Purge::tag("g"),
        Purge::prefix("https://a.test/b"),
        Purge::prefix("http://a.test/"),
        Purge::group("https://b.test", "g"),
        Purge::group("https://a.test", "G"),
    ] {
        let service = tagged();
        service.call(ask("/a/1").header("x", "1")).await;
        service.cache.purge(&purge);
        assert!(is_stored(&service, "/a/1", "1").await, "{purge:?}");
    }
}

#[tokio::test]
async fn what_is_on_its_way_when_it_is_purged_is_not_served_after() {
    for purge in [Purge::tag("all"), Purge::prefix("https://a.test/"), Purge::all()] {
        let service = tagged();
        let layer = CacheLayer::new(service.cache.clone());
        let response = service.start_by(&layer, ask("/a/1").header("x", "1")).await;
        service.cache.purge(&purge);
        assert_eq!(read_all(response).await.body, "/a/1");
        assert!(!is_stored(&service, "/a/1", "1").await, "{purge:?}");
    }
}

#[tokio::test]
async fn what_was_confirmed_keeps_its_tags() {
    let service = Service::new(|request| {
        if request.headers().contains_key("if-none-match") {
            answer("max-age=60", "").status(304)
        } else {
            answer("max-age=60", "hello").header("etag", "\"1\"").header("cache-tag", "a, b")
        }
    });
    service.call(ask("/")).await;
    service.clock.advance(Duration::from_secs(100));
    service.call(ask("/")).await;
    assert!(service.call(ask("/")).await.status().starts_with("test; hit"));
    service.cache.purge(&Purge::tag("b"));
    assert_eq!(service.call(ask("/")).await.status(), "test; fwd=uri-miss; stored");
}

#[tokio::test]
async fn unsafe_requests_invalidate_the_groups_that_the_answer_names() {
    let service = Service::new(|request| match request.method().as_str() {
        "GET" => answer("max-age=60", "x").header("cache-groups", "\"prices\""),
        _ => answer("no-store", "")
            .status(request.headers()["x-status"].to_str().unwrap())
            .header("cache-group-invalidation", "\"prices\""),
    });
    let change = |method: &str, status: &str| {
        let request = Request::builder().method(method).uri("/elsewhere").header("host", "a.test");
        request.header("x-status", status)
    };
    for (method, status, gone) in
        [("POST", "200", true), ("POST", "500", false), ("OPTIONS", "200", false)]
    {
        service.call(ask("/list")).await;
        service.call(change(method, status)).await;
        let hit = service.call(ask("/list")).await.status().contains("hit");
        assert_eq!(hit, !gone, "{method} {status}");
    }
}

#[tokio::test]
async fn a_purge_finds_every_tag_and_group_however_many_there_are() {
    let names = |separator: &str, quote: &str| {
        let names = (0..400).map(|n| format!("{quote}n{n}-{}{quote}", "x".repeat(n)));
        names.collect::<Vec<_>>().join(separator)
    };
    let service = Service::new(move |_| {
        answer("max-age=60", "x")
            .header("surrogate-key", names(" ", ""))
            .header("cache-groups", names(", ", "\""))
    });
    for n in [0, 127, 128, 200, 399] {
        let name = format!("n{n}-{}", "x".repeat(n));
        for purge in [Purge::tag(&name), Purge::group("https://a.test", &name)] {
            service.call(ask("/")).await;
            assert!(service.call(ask("/")).await.status().contains("hit"), "{n}");
            service.cache.purge(&purge);
            assert!(!service.call(ask("/")).await.status().contains("hit"), "{purge:?}");
        }
    }
}

#[tokio::test]
async fn what_has_more_tags_than_are_kept_is_not_stored() {
    for (tags, stored) in [(1000, true), (1001, false)] {
        let service = Service::new(move |_| {
            let tags = (0..tags).map(|n| format!("n{n}")).collect::<Vec<_>>().join(",");
            answer("max-age=60", "x").header("cache-tag", tags)
        });
        service.call(ask("/")).await;
        assert_eq!(service.call(ask("/")).await.status().contains("hit"), stored, "{tags}");
    }
}

#[tokio::test]
async fn more_groups_than_are_purged_by_name_are_all_of_the_origin() {
    for count in [128, 129, 500] {
        let service = Service::new(move |request| match request.method().as_str() {
            "GET" => {
                answer("max-age=60", "x").header("cache-groups", format!("\"n{}\"", count - 1))
            }
            _ => {
                let names = (0..count).map(|n| format!("\"n{n}\"")).collect::<Vec<_>>().join(", ");
                answer("no-store", "").header("cache-group-invalidation", names)
            }
        });
        let elsewhere = || Request::get("/list").header("host", "b.test");
        service.call(ask("/list")).await;
        service.call(elsewhere()).await;
        service.call(Request::post("/other").header("host", "a.test")).await;
        assert!(!service.call(ask("/list")).await.status().contains("hit"), "{count}");
        assert!(service.call(elsewhere()).await.status().contains("hit"), "{count}");
    }
}

#[tokio::test]
async fn unsafe_requests_invalidate_in_all_partitions() {
    let by_language = KeyRules::default().header(HeaderName::from_static("x-language"));
    let service = Service::of(ResponseCache::new("test").keyed_by(by_language), |_| {
        answer("max-age=60", "x")
    });
    let get = |language: &str| ask("/").header("x-language", language);
    service.call(get("de")).await;
    service.call(get("en")).await;
    service.call(Request::post("/").header("host", "a.test").header("x-language", "de")).await;
    for language in ["de", "en"] {
        assert!(!service.call(get(language)).await.status().contains("hit"), "{language}");
    }
}

#[tokio::test]
async fn a_purge_costs_the_same_for_any_number_of_responses() {
    let settings = Settings::default().max_bytes(64 << 20);
    let service = Service::with(settings, |request| {
        answer("max-age=60", "x").header("cache-tag", request.uri().path())
    });
    for n in 0..2_000 {
        service.call(ask(&format!("/{n}"))).await;
    }
    let allocations = bartizan_testing::allocations(|| service.cache.purge(&Purge::tag("/7")));
    assert!(allocations <= 8, "{allocations}: it walks through what is stored");
    assert!(!service.call(ask("/7")).await.status().contains("hit"));
    assert!(service.call(ask("/8")).await.status().contains("hit"));
}
