//! Stored, served, validated and invalidated through real tower services.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod service;

use std::time::Duration;

use axum::{Router, body::Body, routing::get};
use bartizan_cache::{CacheLayer, KeyRules, ResponseCache, Settings};
use bartizan_core::{Engine, Mode, Principal, Switch};
use http::{HeaderName, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use self::service::{Part, Service, answer, get as ask};

#[tokio::test]
async fn u09_a_response_that_sets_a_cookie_is_for_one_client_only() {
    let service = Service::new(|request| {
        let name = request.headers()["x-user"].to_str().unwrap();
        answer("max-age=60", "page").header("set-cookie", format!("s={name}"))
    });
    for user in ["A", "B"] {
        let response = service.call(ask("/p").header("x-user", user)).await;
        assert_eq!(response.headers["set-cookie"], format!("s={user}"));
        assert_eq!(response.status(), "test; fwd=uri-miss");
    }
    assert_eq!(service.calls(), 2);
}

#[tokio::test]
async fn u10_answers_to_credentials_are_not_shared() {
    for (said, safe, letter) in [
        ("max-age=60", false, false),
        ("max-age=60, private", false, false),
        ("max-age=60, PRIVATE", false, false),
        ("public, no-store", false, false),
        ("max-age=60, public", true, true),
        ("s-maxage=60", false, true),
        ("max-age=60, must-revalidate", false, true),
    ] {
        for (is_letter, shared) in [(false, safe), (true, letter)] {
            let service = Service::new(move |request| {
                let who = request.headers().get("authorization");
                answer(said, who.map_or("nobody", |who| who.to_str().unwrap()).to_owned())
            });
            let cache = service.cache.clone();
            let layer = if is_letter { CacheLayer::rfc(cache) } else { CacheLayer::safe(cache) };
            let me = |who: &str| ask("/me").header("authorization", format!("Bearer {who}"));
            assert_eq!(service.call_by(&layer, me("A")).await.body, "Bearer A");
            let second = service.call_by(&layer, me("B")).await;
            let third = service.call_by(&layer, ask("/me")).await;
            if shared {
                assert_eq!((&*second.body, &*third.body), ("Bearer A", "Bearer A"), "{said}");
            } else {
                assert_eq!((&*second.body, &*third.body), ("Bearer B", "nobody"), "{said}");
                // Nor is the page for nobody an answer to somebody.
                assert_eq!(service.call_by(&layer, me("C")).await.body, "Bearer C", "{said}");
            }
        }
    }
}

#[tokio::test]
async fn u10_a_principal_found_by_auth_is_a_credential_too() {
    let service = Service::new(|request| {
        let who = request.extensions().get::<Principal>();
        answer("max-age=60", who.map_or("nobody", Principal::subject).to_owned())
    });
    let by = |who: &str| ask("/me").extension(Principal::new(who));
    assert_eq!(service.call(by("alice")).await.body, "alice");
    assert_eq!(service.call(by("bob")).await.body, "bob");
    assert_eq!(service.call(ask("/me")).await.body, "nobody");
}

#[tokio::test]
async fn u11_variants_live_beside_each_other() {
    let service = Service::new(|request| {
        let coding = request.headers().get("accept-encoding");
        let coding = coding.map_or("plain", |coding| coding.to_str().unwrap()).to_owned();
        let vary = if request.uri().path() == "/star" { "*" } else { "Accept-Encoding" };
        answer("max-age=60", coding).header("vary", vary)
    });
    let coded = |path: &str, coding: &str| ask(path).header("accept-encoding", coding);
    assert_eq!(service.call(coded("/", "gzip")).await.status(), "test; fwd=uri-miss; stored");
    let plain = service.call(ask("/")).await;
    assert_eq!(plain.status(), "test; fwd=vary-miss; stored");
    assert_eq!(plain.body, "plain");
    assert_eq!(service.call(coded("/", "gzip, br")).await.body, "gzip, br");
    assert_eq!(service.calls(), 3);
    assert_eq!(service.call(coded("/", "gzip")).await.body, "gzip");
    assert_eq!(service.call(ask("/")).await.body, "plain");
    assert_eq!(service.call(coded("/", "gzip,br")).await.body, "gzip, br");
    assert_eq!(service.calls(), 3);
    for calls in [4, 5] {
        service.call(coded("/star", "gzip")).await;
        assert_eq!(service.calls(), calls, "`Vary: *` matched");
    }
}

#[tokio::test]
async fn u11_the_newest_variants_are_kept() {
    let service = Service::with(Settings::default().max_variants(2), |request| {
        answer("max-age=60", request.headers()["x"].to_str().unwrap().to_owned())
            .header("vary", "x")
    });
    for (x, calls) in [("1", 1), ("2", 2), ("3", 3), ("2", 3), ("3", 3), ("1", 4)] {
        assert_eq!(service.call(ask("/").header("x", x)).await.body, x);
        assert_eq!(service.calls(), calls, "{x}");
    }
}

#[tokio::test]
async fn u12_query_and_host_are_part_of_the_key() {
    let service = Service::new(|request| {
        let host = request.headers()["host"].to_str().unwrap();
        answer("max-age=60", format!("{host}{}", request.uri()))
    });
    let at = |host: &str, uri: &str| Request::get(uri.to_owned()).header("host", host);
    for _ in 0..2 {
        assert_eq!(service.call(at("a.test", "/x?page=1")).await.body, "a.test/x?page=1");
        assert_eq!(service.call(at("a.test", "/x?page=2")).await.body, "a.test/x?page=2");
        assert_eq!(service.call(at("b.test", "/x?page=1")).await.body, "b.test/x?page=1");
    }
    assert_eq!(service.calls(), 3);
    assert_eq!(service.call(at("A.test:443", "/x?page=1")).await.body, "a.test/x?page=1");
    let absolute = service.call(at("a.test", "https://a.test/x?page=1")).await;
    assert_eq!(absolute.body, "a.test/x?page=1");
    assert_eq!(service.calls(), 3);
    let two_hosts = at("a.test", "/x?page=1").header("host", "b.test");
    assert_eq!(service.call(two_hosts).await.status(), "test; fwd=bypass; detail=no-key");
}

#[tokio::test]
async fn u12_tenants_are_kept_apart() {
    let by_tenant = KeyRules::default().header(HeaderName::from_static("x-tenant"));
    let service = Service::of(ResponseCache::new("test").keyed_by(by_tenant), |request| {
        let tenant = request.headers().get("x-tenant");
        answer("max-age=60", tenant.map_or("", |tenant| tenant.to_str().unwrap()).to_owned())
    });
    for (tenant, calls) in [("a", 1), ("b", 2), ("a", 2), ("b", 2)] {
        let response = service.call(ask("/").header("x-tenant", tenant)).await;
        assert_eq!((&*response.body, service.calls()), (tenant, calls));
    }
    assert_eq!(service.call(ask("/")).await.body, "");
    service.cache.invalidate(&"https://a.test/".parse().unwrap());
    for tenant in ["a", "b"] {
        let again = service.call(ask("/").header("x-tenant", tenant)).await;
        assert_eq!(again.status(), "test; fwd=uri-miss; stored", "all tenants' are gone");
    }
}

#[tokio::test]
async fn u13_head_is_answered_from_get_and_never_the_reverse() {
    let service = Service::new(|request| {
        let body = if request.method() == Method::HEAD { "" } else { "hello" };
        answer("max-age=60", body)
    });
    let head = || Request::head("/f").header("host", "a.test");
    for calls in [1, 2] {
        assert_eq!(service.call(head()).await.status(), "test; fwd=uri-miss");
        assert_eq!(service.calls(), calls);
    }
    assert_eq!(service.call(ask("/f")).await.body, "hello");
    let hit = service.call(head()).await;
    assert_eq!(hit.status(), "test; hit; ttl=60");
    assert_eq!((&*hit.body, &hit.headers["content-length"]), ("", &"5".parse().unwrap()));
    assert_eq!(service.call(ask("/f")).await.body, "hello");
    assert_eq!(service.calls(), 3);
}

#[tokio::test]
async fn u13_a_part_is_never_served_as_the_whole() {
    let service = Service::new(|request| {
        if request.headers().contains_key("range") {
            answer("max-age=60", "he").status(206).header("content-range", "bytes 0-1/5")
        } else {
            answer("max-age=60", "hello")
        }
    });
    let range = || ask("/f").header("range", "bytes=0-1");
    assert_eq!(service.call(range()).await.status(), "test; fwd=uri-miss; stored");
    let again = service.call(range()).await;
    assert_eq!((&*again.status(), &*again.body), ("test; hit; ttl=60", "he"));
    let whole = service.call(ask("/f")).await;
    assert_eq!(whole.status(), "test; fwd=partial; stored");
    assert_eq!((whole.code, &*whole.body), (StatusCode::OK, "hello"));
    let part = service.call(range()).await;
    assert_eq!((part.code, &*part.body), (StatusCode::PARTIAL_CONTENT, "he"));
    assert_eq!(part.headers["content-range"], "bytes 0-1/5");
    assert_eq!(service.call(ask("/f")).await.body, "hello");
    assert_eq!(service.calls(), 2);
    // Nor if nobody asked for it, nor if it does not say clearly which part it is.
    for range in ["bytes 0-1/5", "bytes */5", "bytes 0-1/*", "bytes 0-2/5", "x"] {
        let service = Service::new(move |_| {
            answer("max-age=60", "he").status(206).header("content-range", range)
        });
        service.call(ask("/f")).await;
        service.call(ask("/f")).await;
        assert_eq!(service.calls(), 2, "{range}");
    }
}

#[tokio::test]
async fn u13_a_stale_part_is_not_validated_for_who_asks_for_what_it_has_not() {
    let service = Service::new(|request| {
        let head =
            |said: &'static str, body: &'static str| answer(said, body).header("etag", "\"1\"");
        match request.headers() {
            headers if headers.contains_key("if-none-match") => head("max-age=60", "").status(304),
            headers if headers.contains_key("range") => {
                head("max-age=60", "he").status(206).header("content-range", "bytes 0-1/5")
            }
            _ => head("max-age=60", "hello"),
        }
    });
    let range = |range: &str| ask("/f").header("range", range);
    service.call(range("bytes=0-1")).await;
    service.clock.advance(Duration::from_secs(61));
    // What it has is validated, and is what is asked for.
    let same = service.call(range("bytes=0-1")).await;
    assert_eq!(same.status(), "test; fwd=stale; fwd-status=304; stored");
    assert_eq!((same.code, &*same.body), (StatusCode::PARTIAL_CONTENT, "he"));
    service.clock.advance(Duration::from_secs(61));
    let other = service.call(range("bytes=2-4")).await;
    assert_eq!(other.status(), "test; fwd=stale; stored");
    let whole = service.call(ask("/f")).await;
    assert_eq!((whole.code, &*whole.body), (StatusCode::OK, "hello"), "RFC 9111 §3.3");

    let service = Service::new(|request| {
        let conditional = request.headers().contains_key("if-none-match");
        let part =
            answer("max-age=60", if conditional { "" } else { "he" }).header("etag", "\"1\"");
        if conditional {
            return part.status(304);
        }
        match request.headers().contains_key("range") {
            true => part.status(206).header("content-range", "bytes 0-1/5"),
            false => answer("max-age=60", "hello").header("etag", "\"1\""),
        }
    });
    service.call(range("bytes=0-1")).await;
    service.clock.advance(Duration::from_secs(61));
    let whole = service.call(ask("/f")).await;
    assert_eq!((whole.code, &*whole.body), (StatusCode::OK, "hello"), "RFC 9111 §3.3");
}

#[tokio::test]
async fn a_part_that_nothing_is_known_of_leaves_the_whole_in_place() {
    for (tag, stays) in [("", true), ("W/\"1\"", true), ("W/\"2\"", false)] {
        let service = Service::new(move |request| {
            if request.headers().contains_key("range") {
                let head = answer("max-age=60", "h").status(206);
                let head = head.header("content-range", "bytes 0-0/5");
                if tag.is_empty() { head } else { head.header("etag", tag) }
            } else {
                answer("max-age=60", "hello").header("etag", "W/\"1\"")
            }
        });
        service.call(ask("/f")).await;
        let forced = ask("/f").header("range", "bytes=0-0").header("cache-control", "no-cache");
        service.call(forced).await;
        let next = service.call(ask("/f")).await;
        assert_eq!((next.status().contains("hit"), &*next.body), (stays, "hello"), "{tag}");
    }
}

/// A service of ten bytes, of which it sends either part.
fn of_two_parts(settings: Settings) -> Service {
    Service::with(settings, |request| {
        let (range, body) =
            match request.headers().get("range").map(|range| range.to_str().unwrap()) {
                Some("bytes=0-3") => ("bytes 0-3/10", "0123"),
                Some("bytes=4-") => ("bytes 4-9/10", "456789"),
                _ => unreachable!(),
            };
        answer("max-age=60", body)
            .status(206)
            .header("content-range", range)
            .header("etag", "\"1\"")
    })
}

#[tokio::test]
async fn parts_are_put_together_up_to_the_longest_body() {
    let service = of_two_parts(Settings::default().max_body_bytes(9));
    let part = |range: &str| ask("/f").header("range", range);
    for (range, calls) in [("bytes=0-3", 1), ("bytes=4-", 2), ("bytes=4-", 2), ("bytes=0-3", 3)] {
        service.call(part(range)).await;
        assert_eq!(service.calls(), calls, "{range}");
    }
}

#[tokio::test]
async fn parts_of_one_representation_become_the_whole() {
    let service = of_two_parts(Settings::default());
    let part = |range: &str| ask("/f").header("range", range);
    service.call(part("bytes=0-3")).await;
    assert_eq!(service.call(part("bytes=4-")).await.status(), "test; fwd=partial; stored");
    let whole = service.call(ask("/f")).await;
    assert_eq!((whole.code, &*whole.body), (StatusCode::OK, "0123456789"));
    assert_eq!(whole.headers["content-length"], "10");
    assert!(!whole.headers.contains_key("content-range"));
    let unsatisfiable = service.call(part("bytes=10-")).await;
    assert_eq!(unsatisfiable.code, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(unsatisfiable.headers["content-range"], "bytes */10");
    assert_eq!(service.calls(), 2);
}

#[tokio::test]
async fn u13_a_client_that_has_it_is_told_so_from_the_store() {
    let service = Service::new(|_| {
        answer("max-age=60", "hello")
            .header("etag", "\"1\"")
            .header("vary", "accept")
            .header("content-type", "text/plain")
    });
    service.call(ask("/f")).await;
    service.clock.advance(Duration::from_secs(7));
    let hit = service.call(ask("/f").header("if-none-match", "W/\"1\", \"2\"")).await;
    assert_eq!((hit.code, &*hit.body), (StatusCode::NOT_MODIFIED, ""));
    for (name, value) in [("age", "7"), ("etag", "\"1\""), ("vary", "accept")] {
        assert_eq!(hit.headers[name], value);
    }
    assert!(hit.headers.contains_key("cache-control") && hit.headers.contains_key("date"));
    assert!(!hit.headers.contains_key("content-type"));
    assert!(!hit.headers.contains_key("content-length"));
    let other = service.call(ask("/f").header("if-none-match", "\"2\"")).await;
    assert_eq!((other.code, &*other.body), (StatusCode::OK, "hello"));
    assert_eq!(service.calls(), 1);
}

#[tokio::test]
async fn a_hit_tells_its_age_and_goes_stale() {
    let service = Service::new(|_| answer("max-age=60", "x").header("age", "10, 0"));
    assert_eq!(service.call(ask("/")).await.headers["age"], "10, 0");
    service.clock.advance(Duration::from_secs(49));
    let hit = service.call(ask("/")).await;
    assert_eq!((&hit.headers["age"], &*hit.status()), (&"59".parse().unwrap(), "test; hit; ttl=1"));
    service.clock.advance(Duration::from_secs(1));
    assert_eq!(service.call(ask("/")).await.status(), "test; fwd=stale; stored");
    let service = Service::new(|_| answer("max-age=60", "x").header("age", u64::MAX.to_string()));
    service.call(ask("/")).await;
    assert_eq!(service.call(ask("/")).await.status(), "test; fwd=uri-miss");
}

#[tokio::test]
async fn hits_share_one_body() {
    let service = Service::new(|_| answer("max-age=60", "x".repeat(100_000)));
    service.call(ask("/")).await;
    let mut starts = Vec::new();
    for _ in 0..2 {
        let mut body = service.start(ask("/")).await.into_body();
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(100_000));
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(http_body::Body::is_end_stream(&body));
        starts.push((data.as_ptr(), data));
    }
    assert_eq!(starts[0].0, starts[1].0, "the body was copied");
}

#[tokio::test]
async fn requests_say_what_they_take() {
    let service = Service::new(|_| answer("max-age=60", "x"));
    let say = |said: &str| ask("/").header("cache-control", said);
    let missing = service.call(say("only-if-cached")).await;
    assert_eq!((missing.code, service.calls()), (StatusCode::GATEWAY_TIMEOUT, 0));
    assert_eq!(missing.status(), "test; detail=only-if-cached");
    assert_eq!(service.call(say("no-store")).await.status(), "test; fwd=bypass; detail=no-store");
    assert_eq!(service.call(ask("/")).await.status(), "test; fwd=uri-miss; stored");
    service.clock.advance(Duration::from_secs(30));
    for (said, status) in [
        ("only-if-cached", "test; hit; ttl=30"),
        ("max-age=30", "test; hit; ttl=30"),
        ("min-fresh=30", "test; hit; ttl=30"),
        ("max-age=29, only-if-cached", "test; detail=only-if-cached"),
        ("min-fresh=31, only-if-cached", "test; detail=only-if-cached"),
        ("no-cache, only-if-cached", "test; detail=only-if-cached"),
        ("no-store", "test; fwd=bypass; detail=no-store"),
        ("no-store, only-if-cached", "test; detail=only-if-cached"),
    ] {
        assert_eq!(service.call(say(said)).await.status(), status, "{said}");
    }
    service.clock.advance(Duration::from_secs(40));
    assert_eq!(service.call(say("max-stale=10")).await.status(), "test; hit; ttl=-10");
    assert_eq!(service.call(say("max-stale=9")).await.status(), "test; fwd=stale; stored");
    assert_eq!(service.call(say("no-cache")).await.status(), "test; fwd=request; stored");
    assert_eq!(
        service.call(ask("/").header("pragma", "no-cache")).await.status(),
        "test; fwd=request; stored"
    );
}

#[tokio::test]
async fn clients_can_be_kept_from_forcing_requests_through() {
    let service =
        Service::with(Settings::default().request_directives(false), |_| answer("max-age=60", "x"));
    service.call(ask("/")).await;
    for said in ["no-cache", "max-age=0", "no-store", "min-fresh=100"] {
        let response = service.call(ask("/").header("cache-control", said)).await;
        assert_eq!(response.status(), "test; hit; ttl=60", "{said}");
    }
}

#[tokio::test]
async fn what_answers_a_request_with_no_store_is_not_stored_rfc_9111_5_2_1_5() {
    let said = [("no-store", None), ("no-store", Some("x-host")), ("max-age=60", Some("x-host"))];
    for (directive, field) in said {
        let service = Service::new(|request| {
            let method = request.method().as_str().to_owned();
            answer("max-age=60", method).header("content-location", "/")
        });
        let layer = CacheLayer::rfc(service.cache.clone());
        let layer = layer.distrust_field(HeaderName::from_static("x-host"));
        let mut post = Request::post("/").header("host", "a.test").header("content-length", "3");
        post = post.header("cache-control", directive);
        if let Some(field) = field {
            post = post.header(field, "b.test");
        }
        service.call_by(&layer, post).await;
        assert_eq!(service.call_by(&layer, ask("/")).await.body, "GET", "{directive} {field:?}");
    }
    // Nor is what it confirms.
    let settings = Settings::default().request_directives(false);
    for method in [Method::GET, Method::HEAD] {
        let service = Service::with(settings.clone(), |request| {
            let conditional = request.headers().contains_key("if-none-match");
            let body = if conditional || request.method() == Method::HEAD { "" } else { "hello" };
            let status = if conditional { 304 } else { 200 };
            let head = answer("max-age=60", body).status(status).header("etag", "\"1\"");
            if request.headers().contains_key("cache-control") {
                head.header("x-secret", "1")
            } else {
                head
            }
        });
        service.call(ask("/")).await;
        service.clock.advance(Duration::from_secs(61));
        let secret = Request::builder().method(method.clone()).uri("/").header("host", "a.test");
        let read = service.call(secret.header("cache-control", "no-store")).await;
        assert_eq!((read.code.as_u16(), &read.headers["x-secret"]), (200, &"1".parse().unwrap()));
        // What is stored is as it was.
        let next = service.call(ask("/")).await;
        assert_eq!(next.status(), "test; fwd=stale; fwd-status=304; stored", "{method}");
        assert_eq!((&*next.body, next.headers.contains_key("x-secret")), ("hello", false));
    }
}

#[tokio::test]
async fn what_is_confirmed_and_must_not_be_kept_is_told_with_its_new_fields_rfc_9111_3_2() {
    for said in ["no-store", "private, max-age=60"] {
        let service = Service::new(move |request| {
            if request.headers().contains_key("if-none-match") {
                answer(said, "").status(304).header("x-new", "1")
            } else {
                answer("max-age=60", "hello").header("etag", "\"1\"")
            }
        });
        service.call(ask("/")).await;
        service.clock.advance(Duration::from_secs(100));
        let read = service.call(ask("/")).await;
        assert_eq!(read.status(), "test; fwd=stale; fwd-status=304");
        assert_eq!((read.code.as_u16(), &*read.body), (200, "hello"));
        assert_eq!(
            (&read.headers["cache-control"], &read.headers["x-new"]),
            (&said.parse().unwrap(), &"1".parse().unwrap())
        );
        assert_eq!(
            (&read.headers["age"], read.headers.get_all("date").iter().count()),
            (&"0".parse().unwrap(), 1)
        );
        assert_eq!(service.call(ask("/")).await.status(), "test; fwd=uri-miss; stored");
    }
}

#[tokio::test]
async fn what_is_stale_is_validated_and_made_fresh() {
    let service = Service::new(|request| {
        if request.headers().contains_key("if-none-match") {
            assert_eq!(request.headers()["if-none-match"], "\"1\"");
            answer("max-age=60", "").status(304).header("x-new", "1").header("set-cookie", "s=A")
        } else {
            answer("max-age=60", "hello").header("etag", "\"1\"")
        }
    });
    service.call(ask("/")).await;
    service.clock.advance(Duration::from_secs(100));
    // The client's own condition is judged by us, on what the service confirmed.
    let response = service.call(ask("/").header("if-none-match", "\"0\"")).await;
    assert_eq!((response.code, &*response.body), (StatusCode::OK, "hello"));
    assert_eq!(response.status(), "test; fwd=stale; fwd-status=304; stored");
    assert_eq!(response.headers["set-cookie"], "s=A");
    let hit = service.call(ask("/")).await;
    assert_eq!((&*hit.status(), &*hit.body), ("test; hit; ttl=60", "hello"));
    assert_eq!(hit.headers["x-new"], "1");
    assert!(!hit.headers.contains_key("set-cookie"));
    assert_eq!(service.calls(), 2);
    service.clock.advance(Duration::from_secs(100));
    let unchanged = service.call(ask("/").header("if-none-match", "\"1\"")).await;
    assert_eq!((unchanged.code, &*unchanged.body), (StatusCode::NOT_MODIFIED, ""));
}

#[tokio::test]
async fn a_confirmation_may_forbid_to_keep_it() {
    let service = Service::new(|request| {
        if request.headers().contains_key("if-none-match") {
            answer("private", "").status(304)
        } else {
            answer("max-age=60", "hello").header("etag", "\"1\"")
        }
    });
    service.call(ask("/")).await;
    service.clock.advance(Duration::from_secs(100));
    let response = service.call(ask("/")).await;
    assert_eq!(
        (&*response.body, &*response.status()),
        ("hello", "test; fwd=stale; fwd-status=304")
    );
    assert_eq!(service.call(ask("/")).await.status(), "test; fwd=uri-miss; stored");
}

#[tokio::test]
async fn what_the_service_replaced_is_gone_but_an_error_proves_nothing() {
    let service = Service::new(|request| match request.headers().get("x-then") {
        Some(status) => answer("no-store", "").status(status.to_str().unwrap()),
        None => answer("max-age=60", "hello").header("etag", "\"1\""),
    });
    service.call(ask("/")).await;
    service.clock.advance(Duration::from_secs(100));
    service.call(ask("/").header("x-then", "503")).await;
    let stale = || ask("/").header("cache-control", "max-stale");
    assert_eq!(service.call(stale()).await.status(), "test; hit; ttl=-40");
    service.call(ask("/").header("x-then", "404")).await;
    assert_eq!(service.call(stale()).await.status(), "test; fwd=uri-miss; stored");
}

#[tokio::test]
async fn unsafe_methods_invalidate_what_they_may_have_changed() {
    let service = Service::new(|request| match request.method() {
        &Method::GET => answer("max-age=60", "x"),
        _ => answer("no-store", "")
            .status(request.headers()["x-status"].to_str().unwrap())
            .header("location", "/items/7")
            .header("content-location", "https://other.test/items/8"),
    });
    let fill = async || {
        for path in ["/items", "/items/7", "/items/8"] {
            service.call(ask(path)).await;
        }
    };
    let is_stored = async |path| service.call(ask(path)).await.status().contains("hit");
    let method = |method: &str, status: &str| {
        let request = Request::builder().method(method).uri("/items").header("host", "a.test");
        request.header("x-status", status)
    };
    for (name, status, invalidates) in [
        ("POST", "201", true),
        ("M-SEARCH", "200", true),
        ("DELETE", "204", true),
        ("PUT", "303", true),
        ("POST", "400", false),
        ("POST", "500", false),
        ("OPTIONS", "200", false),
    ] {
        fill().await;
        assert_eq!(service.call(method(name, status)).await.status(), "test; fwd=method");
        assert_eq!(is_stored("/items").await, !invalidates, "{name} {status}");
        assert_eq!(is_stored("/items/7").await, !invalidates, "{name} {status}");
        assert!(is_stored("/items/8").await, "{name} {status}: another origin");
    }
}

#[tokio::test]
async fn a_response_overtaken_by_a_change_is_not_stored() {
    let service = Service::new(|_| answer("max-age=60", "old"));
    let response = service.start(ask("/")).await;
    service.cache.invalidate(&"https://a.test/".parse().unwrap());
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "old");
    assert_eq!(service.fills("overtaken"), 1);
    assert_eq!(service.call(ask("/")).await.status(), "test; fwd=uri-miss; stored");
    service.cache.clear();
    assert_eq!(service.call(ask("/")).await.status(), "test; fwd=uri-miss; stored");
}

#[tokio::test]
async fn only_whole_bodies_are_stored() {
    use Part::{Data, Error, Pending, Trailers};
    for (parts, length, fate) in [
        (vec![Data("he"), Data("llo")], None, "stored"),
        (vec![Data("he"), Data("llo")], Some("5"), "stored"),
        (vec![], Some("0"), "stored"),
        (vec![Data("he")], Some("5"), "broken"),
        (vec![], Some("5"), "broken"),
        (vec![Data("he"), Error], None, "broken"),
        (vec![Data("hello"), Trailers], None, "oversized"),
        (vec![Data("hello hello")], None, "oversized"),
        (vec![Data("hello "), Data("hello")], None, "oversized"),
        (vec![Data("hello hello")], Some("11"), "oversized"),
        (vec![Data("he"), Pending], None, "abandoned"),
        (vec![Data("he"), Pending], Some("5"), "abandoned"),
        (vec![Data("hello"), Pending], Some("5"), "stored"),
    ] {
        let settings = Settings::default().max_body_bytes(10);
        let (what, total) = (format!("{parts:?} {length:?}"), parts.clone());
        let service = Service::with(settings, move |_| {
            let response = answer("max-age=60", parts.clone());
            length
                .into_iter()
                .fold(response, |response, length| response.header("content-length", length))
        });
        let body = service.start(ask("/")).await.into_body();
        let read = service::read(body).await;
        assert_eq!(read, total, "{what}: the client reads what the service sent");
        assert_eq!(service.fills(fate), 1, "{what}");
        assert_eq!(service.value("bartizan_cache_filling_bytes", ""), 0, "{what}");
        let again = service.start(ask("/")).await;
        let status = again.headers()["cache-status"].to_str().unwrap();
        assert_eq!(status.contains("hit"), fate == "stored", "{what}: {status}");
    }
}

#[tokio::test]
async fn bodies_on_their_way_are_bounded_together() {
    let settings = Settings::default().max_bytes(1000).max_body_bytes(600);
    let service = Service::with(settings, |_| answer("max-age=60", vec![Part::Data("a"); 600]));
    let mut bodies = Vec::new();
    for n in 0..4 {
        let mut body = service.start(ask(&format!("/{n}"))).await.into_body();
        for _ in 0..400 {
            body.frame().await.unwrap().unwrap();
        }
        bodies.push(body);
        assert!(service.value("bartizan_cache_filling_bytes", "") <= 1000);
    }
    assert!(service.fills("oversized") > 0);
    drop(bodies);
    assert_eq!(service.value("bartizan_cache_filling_bytes", ""), 0);
}

#[tokio::test]
async fn what_is_stored_is_bounded() {
    let settings = Settings::default().max_bytes(100_000).max_body_bytes(10_000);
    let service = Service::with(settings, |_| answer("max-age=60", "x".repeat(5_000)));
    for n in 0..500 {
        service.call(ask(&format!("/{n}"))).await;
        assert!(service.value("bartizan_cache_stored_bytes", "") <= 100_000);
    }
    assert!(service.value("bartizan_cache_stored_resources", "") > 5);
}

#[tokio::test]
async fn shadow_stores_and_serves_nothing_and_off_only_invalidates() {
    let service = Service::new(|_| answer("max-age=60", "x").header("etag", "\"1\""));
    service.cache.switch().set(Mode::Shadow);
    for calls in [1, 2] {
        let response = service.call(ask("/")).await;
        assert!(!response.headers.contains_key("cache-status"));
        assert_eq!(service.calls(), calls);
    }
    assert_eq!(service.value("bartizan_cache_requests_total", "shadow_hit"), 1);
    let missing = ask("/missing").header("cache-control", "only-if-cached");
    assert_eq!(service.call(missing).await.code, StatusCode::OK);
    service.cache.switch().set(Mode::Enforce);
    assert_eq!(service.call(ask("/")).await.status(), "test; hit; ttl=60");

    service.cache.switch().set(Mode::Off);
    assert!(!service.call(ask("/")).await.headers.contains_key("cache-status"));
    let post = Request::post("/").header("host", "a.test");
    assert!(!service.call(post).await.headers.contains_key("cache-status"));
    service.cache.switch().set(Mode::Enforce);
    assert_eq!(service.call(ask("/")).await.status(), "test; fwd=uri-miss; stored");
}

#[tokio::test]
async fn settings_change_while_running() {
    let service = Service::new(|_| answer("max-age=60", "hello"));
    service.call(ask("/")).await;
    service.cache.apply(json!({"max_body_bytes": 4})).unwrap();
    assert_eq!(service.call(ask("/")).await.status(), "test; hit; ttl=60");
    service.call(ask("/new")).await;
    assert_eq!(service.fills("oversized"), 1);
    assert_eq!(service.cache.apply(json!({"max_bytes": 0})).unwrap_err().field(), "max_bytes");
    service.cache.apply(json!({"max_bytes": 1_000_000, "max_body_bytes": 100})).unwrap();
    assert_eq!(service.call(ask("/")).await.status(), "test; fwd=uri-miss; stored");
}

#[test]
fn clearing_undoes_no_change_of_settings() {
    let cache = ResponseCache::new("test");
    for round in 1..=200_u64 {
        std::thread::scope(|scope| {
            scope.spawn(|| cache.clear());
            scope.spawn(|| cache.apply(json!({ "max_body_bytes": round })).unwrap());
        });
        assert!(format!("{cache:?}").contains(&format!("max_body_bytes: {round},")), "{round}");
    }
}

#[tokio::test]
async fn on_an_axum_router() {
    let cache = ResponseCache::new("api").switched_by(Switch::new(Mode::Enforce));
    let app: Router = Router::new()
        .route("/", get(|| async { ([("cache-control", "max-age=60")], "hello") }))
        .layer(CacheLayer::new(cache));
    let call = async |request: http::request::Builder| {
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts, axum::body::to_bytes(body, 100).await.unwrap())
    };
    for status in ["fwd=uri-miss; stored", "hit"] {
        let (parts, body) = call(ask("/")).await;
        assert!(parts.headers["cache-status"].to_str().unwrap().contains(status));
        assert_eq!(body, "hello");
    }
    let (parts, body) = call(Request::head("/").header("host", "a.test")).await;
    assert_eq!((&parts.headers["content-length"], &*body), (&"5".parse().unwrap(), &b""[..]));
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn nested_routers_are_told_apart() {
    let layer = CacheLayer::new(ResponseCache::new("api"));
    let nest = |text: &'static str| -> Router {
        Router::new()
            .route("/x", get(move || async move { ([("cache-control", "max-age=60")], text) }))
            .layer(layer.clone())
    };
    let app = Router::new().nest("/a", nest("a")).nest("/b", nest("b"));
    for text in ["a", "b", "a", "b"] {
        let request = ask(&format!("/{text}/x")).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap(), text);
    }
}
