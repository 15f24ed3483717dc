//! What peers get wrong, and what attackers try: the safe preset is right in every row.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod service;

use bartizan_cache::{CacheLayer, KeyRules, Purge, ResponseCache, SetCookie, Settings};
use http::{HeaderName, Request, StatusCode, Version};

use self::service::{Part, Parts, Service, answer, get as ask, read_all};

/// Answers by the path's last segment as `Cache-Control`, with the user's name as the body.
fn by_user(said: &'static str) -> Service {
    Service::new(move |request| {
        let user = request.headers().get("x-user").map_or("nobody", |user| user.to_str().unwrap());
        answer(said, user.to_owned())
    })
}

async fn second_sees_first(service: &Service) -> bool {
    service.call(ask("/").header("x-user", "A")).await;
    service.call(ask("/").header("x-user", "B")).await.body == "A"
}

/// One exchange after the other with a service of this answer: the bodies, and how often it was asked.
async fn exchange(
    answers: impl Fn(&Request<()>) -> service::Answer + Send + Sync + 'static,
    requests: impl IntoIterator<Item = http::request::Builder>,
) -> (Vec<service::Read>, usize) {
    let service = Service::new(answers);
    let mut read = Vec::new();
    for request in requests {
        read.push(service.call(request).await);
    }
    (read, service.calls())
}

#[tokio::test]
async fn what_peers_get_wrong_is_right_in_every_row() {
    let field = |name: &'static str, value: &'static str| ask("/").header(name, value);
    let says = |said: &'static str| {
        move |request: &Request<()>| {
            let who = request.headers().values().map(|value| value.to_str().unwrap());
            answer(said, who.collect::<Vec<_>>().join(" "))
        }
    };
    let mut rows = 0;
    let mut row = |what: &str, holds: bool| {
        assert!(holds, "{what}");
        rows += 1;
    };
    let users = || ["A", "B"].map(|user| ask("/").header("x-user", user));
    row("PRIVATE", exchange(says("PRIVATE, max-age=60"), users()).await.1 == 2);
    let authorized = ["A", "B"].map(|user| field("authorization", user));
    row("Authorization", exchange(says("max-age=60"), authorized).await.1 == 2);
    row("no-store", exchange(says("no-store"), users()).await.1 == 2);
    let vary =
        move |request: &Request<()>| says("max-age=60")(request).header("vary", "Accept-Language");
    let languages = ["de", "en"].map(|language| field("accept-language", language));
    row("Vary", exchange(vary, languages).await.1 == 2);
    let cookie = |_: &Request<()>| answer("max-age=60", "x").header("set-cookie", "s=1");
    let stale = [ask("/"), field("cache-control", "max-stale")];
    row("Set-Cookie", exchange(cookie, stale).await.1 == 2);
    let links =
        |_: &Request<()>| answer("max-age=60", "x").header("link", "<a>").header("link", "<b>");
    let (read, calls) = exchange(links, [ask("/"), ask("/")]).await;
    row("two lines", calls == 1 && read[1].headers.get_all("link").iter().count() == 2);
    let old = |_: &Request<()>| answer("max-age=60", "x").header("age", "18446744073709551615");
    row("Age", exchange(old, [ask("/"), ask("/")]).await.1 == 2);
    let by_method = |request: &Request<()>| {
        answer("max-age=60", if request.method() == http::Method::HEAD { "" } else { "hello" })
    };
    let head = Request::head("/").header("host", "a.test");
    row("HEAD, then GET", exchange(by_method, [head, ask("/")]).await.0[1].body == "hello");
    row("query", exchange(says("max-age=60"), [ask("/?a"), ask("/?b")]).await.1 == 2);
    let service = Service::new(|_| answer("max-age=60", "x"));
    let layer = CacheLayer::safe(service.cache.clone());
    let first = service.start_by(&layer, ask("/")).await;
    for _ in 1..20 {
        assert_eq!(service.call_by(&layer, ask("/")).await.body, "x");
    }
    drop(first);
    row("concurrent misses", service.calls() == 1);
    println!("bar: cache-rows-of-what-peers-get-wrong {rows} 10 ok");
}

#[tokio::test]
async fn private_in_any_case_is_for_one_user() {
    for said in ["PRIVATE, max-age=60", "max-age=60, Private", "No-Store, max-age=60", "no-store"] {
        assert!(!second_sees_first(&by_user(said)).await, "{said}");
    }
    assert!(second_sees_first(&by_user("max-age=60")).await);
}

#[tokio::test]
async fn max_stale_opens_no_door() {
    for said in ["max-age=0, no-cache", "max-age=60, private", "no-store"] {
        let service = by_user(said);
        let ask = |user: &str| {
            ask("/").header("x-user", user).header("cache-control", "max-stale=999999")
        };
        service.call(ask("A")).await;
        assert_eq!(service.call(ask("B")).await.body, "B", "{said}");
    }
    let service = Service::new(|request| {
        let user = request.headers()["x-user"].to_str().unwrap();
        answer("max-age=60", "").header("set-cookie", format!("s={user}"))
    });
    let ask = |user: &str| ask("/").header("x-user", user).header("cache-control", "max-stale");
    service.call(ask("A")).await;
    assert_eq!(service.call(ask("B")).await.headers["set-cookie"], "s=B");
}

#[tokio::test]
async fn every_line_of_a_field_is_kept() {
    let service =
        Service::new(|_| answer("max-age=60", "").header("link", "<a>").header("link", "<b>"));
    service.call(ask("/")).await;
    let hit = service.call(ask("/")).await;
    assert!(hit.status().contains("hit"));
    assert_eq!(hit.headers.get_all("link").iter().count(), 2);
    // Also of those that tell what may be stored, and what varies.
    let service = Service::new(|_| answer("max-age=60", "").header("cache-control", "private"));
    service.call(ask("/")).await;
    assert!(!service.call(ask("/")).await.status().contains("hit"));
    let service =
        Service::new(|_| answer("max-age=60", "").header("vary", "a").header("vary", "b"));
    service.call(ask("/").header("a", "1").header("b", "1")).await;
    assert!(
        !service.call(ask("/").header("a", "1").header("b", "2")).await.status().contains("hit")
    );
    // And of the request's fields.
    let service = Service::new(|_| answer("max-age=60", "").header("vary", "a"));
    service.call(ask("/").header("a", "a").header("a", "b")).await;
    assert!(
        !service.call(ask("/").header("a", "a").header("a", "c")).await.status().contains("hit")
    );
}

#[tokio::test]
async fn no_number_makes_it_panic_or_wrap() {
    for (said, age, hit) in [
        ("max-age=60", "18446744073709551615", false),
        ("max-age=99999999999999999999", "0", true),
        ("max-age=60", "-1", true),
        ("max-age=0099999", "5", true),
        ("max-age=-1", "0", false),
    ] {
        let service = Service::new(move |_| answer(said, "").header("age", age));
        service.call(ask("/")).await;
        assert_eq!(service.call(ask("/")).await.status().contains("hit"), hit, "{said} {age}");
    }
}

#[tokio::test]
async fn what_stands_in_quotes_is_no_directive() {
    let service = by_user("ext=\"a, max-age=3600\"");
    assert!(!second_sees_first(&service).await);
}

#[tokio::test]
async fn dates_are_http_dates_and_stay_as_they_were() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let service = Service::new(move |_| answer("max-age=999999999", "").header("date", date));
    service.call(ask("/")).await;
    assert_eq!(service.call(ask("/")).await.headers["date"], date);
    let service = Service::new(|_| answer("max-age=60", ""));
    service.call(ask("/")).await;
    let given = service.call(ask("/")).await.headers["date"].clone();
    assert!(given.to_str().unwrap().ends_with(" GMT"));
}

#[tokio::test]
async fn u10_a_cookie_is_a_credential() {
    let service = by_user("max-age=60");
    let logged_in =
        |user: &str| ask("/").header("x-user", user).header("cookie", format!("s={user}"));
    service.call(logged_in("A")).await;
    assert_eq!(service.call(logged_in("B")).await.body, "B");
    assert_eq!(service.call(ask("/").header("x-user", "C")).await.body, "C");
    assert_eq!(service.call(logged_in("D")).await.body, "D", "a page for nobody");
    // Unless the response, the layer or the key says otherwise.
    assert!({
        let service = by_user("max-age=60, public");
        service.call(logged_in("A")).await;
        service.call(logged_in("B")).await.body == "A"
    });
    let service = by_user("max-age=60");
    let layer = CacheLayer::safe(service.cache.clone()).cookies_are_credentials(false);
    service.call_by(&layer, logged_in("A")).await;
    assert_eq!(service.call_by(&layer, logged_in("B")).await.body, "A");
    let by_session = KeyRules::default().cookie("s");
    let service = Service::of(ResponseCache::new("test").keyed_by(by_session), |request| {
        answer("max-age=60", request.headers()["x-user"].to_str().unwrap().to_owned())
    });
    service.call(logged_in("A")).await;
    assert_eq!(service.call(logged_in("B")).await.body, "B");
    assert!(service.call(logged_in("A")).await.status().contains("hit"));
}

#[tokio::test]
async fn u09_cookies_can_be_stripped_or_stored_if_asked() {
    for (policy, second) in [(SetCookie::Strip, None), (SetCookie::Store, Some("s=1"))] {
        let service = Service::new(|_| answer("max-age=60", "x").header("set-cookie", "s=1"));
        let layer = CacheLayer::safe(service.cache.clone()).set_cookie(policy);
        assert_eq!(service.call_by(&layer, ask("/")).await.headers["set-cookie"], "s=1");
        let hit = service.call_by(&layer, ask("/")).await;
        assert!(hit.status().contains("hit"));
        let cookie = hit.headers.get("set-cookie").map(|cookie| cookie.to_str().unwrap());
        assert_eq!(cookie, second, "{policy:?}");
    }
}

#[tokio::test]
async fn fields_that_steer_the_service_past_the_key_poison_nothing() {
    for name in [
        "x-forwarded-host",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method-override",
        "forwarded",
    ] {
        let service = Service::new(move |request| {
            let steered =
                request.headers().get(name).map_or("fine", |value| value.to_str().unwrap());
            answer("max-age=60", steered.to_owned())
        });
        let attack = || ask("/").header(name, "evil");
        let answer = service.call(attack()).await;
        assert_eq!(answer.status(), "test; fwd=bypass; detail=steering-field", "{name}");
        assert_eq!(service.call(ask("/")).await.body, "fine", "{name}");
        assert_eq!(service.call(attack()).await.body, "evil", "{name}");
        let field = HeaderName::from_static(name);
        let trusting = CacheLayer::safe(service.cache.clone()).trust_field(&field);
        assert!(service.call_by(&trusting, attack()).await.status().contains("hit"), "{name}");
        let keyed = ResponseCache::new("test").keyed_by(KeyRules::default().header(field));
        let service = Service::of(keyed, move |request| {
            let steered =
                request.headers().get(name).map_or("fine", |value| value.to_str().unwrap());
            answer_with(steered)
        });
        service.call(attack()).await;
        assert_eq!(service.call(ask("/")).await.body, "fine", "{name}");
        assert!(service.call(attack()).await.status().contains("hit"), "{name}");
    }
}

#[tokio::test]
async fn u12_a_host_beside_another_authority_poisons_nothing() {
    // The service builds its links from `Host`.
    let service = Service::new(|request| {
        answer("max-age=60", request.headers()["host"].to_str().unwrap().to_owned())
    });
    let at = |uri: &str, host: &str| Request::get(uri.to_owned()).header("host", host);
    for (uri, host) in [
        ("https://a.test/", "evil.test"),
        ("https://a.test/", ""),
        ("/", "evil.test/@a.test"),
        ("/", "evil.test@a.test"),
        ("/", "evil.test#@a.test"),
        ("/", "a.test:80:443"),
        ("/", "a.test evil"),
    ] {
        let poisoned = service.call(at(uri, host)).await;
        assert_eq!(poisoned.status(), "test; fwd=bypass; detail=no-key", "{uri} {host}");
        assert_eq!(service.call(at("/", "a.test")).await.body, "a.test", "{uri} {host}");
    }
    // The same host in other words.
    let hit = service.call(at("https://a.test/", "A.TEST:443")).await;
    assert!(hit.status().starts_with("test; hit"), "{}", hit.status());
}

#[tokio::test]
async fn a_change_through_another_host_invalidates_its_target_rfc_9111_4_4() {
    let service = Service::new(|_| answer("max-age=60", "x"));
    service.call(Request::get("https://a.test/")).await;
    service.call(Request::post("https://a.test/").header("host", "b.test")).await;
    let again = service.call(Request::get("https://a.test/")).await;
    assert_eq!(again.status(), "test; fwd=uri-miss; stored");
}

#[tokio::test]
async fn every_value_of_a_cookie_is_part_of_the_key() {
    // The service takes the last of them.
    let keys = KeyRules::default().cookie("lang");
    let service = Service::of(ResponseCache::new("test").keyed_by(keys), |request| {
        let cookies = request.headers()["cookie"].to_str().unwrap();
        answer("max-age=60", cookies.rsplit('=').next().unwrap().to_owned())
    });
    for (cookie, body) in [("lang=en; lang=x", "x"), ("lang=en", "en"), ("lang=x", "x")] {
        assert_eq!(service.call(ask("/").header("cookie", cookie)).await.body, body, "{cookie}");
    }
}

fn answer_with(text: &str) -> service::Answer {
    answer("max-age=60", text.to_owned())
}

#[tokio::test]
async fn a_get_with_a_body_is_neither_stored_nor_answered_from_the_store() {
    let service = Service::new(|request| {
        answer_with(if request.headers().contains_key("content-length") { "fat" } else { "fine" })
    });
    let fat = || ask("/").header("content-length", "5");
    assert_eq!(service.call(fat()).await.status(), "test; fwd=bypass; detail=body");
    assert_eq!(service.call(ask("/")).await.body, "fine");
    assert_eq!(service.call(fat()).await.body, "fat");
}

#[tokio::test]
async fn a_body_of_a_length_that_nobody_says_is_one_rfc_9113_8_1_1() {
    let service = Service::new(|_| answer("max-age=60", "fat"));
    for layer in [CacheLayer::safe, CacheLayer::rfc] {
        let layer = layer(service.cache.clone());
        let fat = ask("/").version(Version::HTTP_2).body(Parts::from("said")).unwrap();
        let fat = read_all(service.send_by(&layer, fat).await).await;
        assert_eq!(fat.status(), "test; fwd=bypass; detail=body");
    }
    assert_eq!(service.call(ask("/")).await.status(), "test; fwd=uri-miss; stored");
}

#[tokio::test]
async fn deception_by_extension_changes_nothing() {
    // Only the response decides, and paths are taken as they are.
    for path in ["/me/x.css", "/me;x.css", "/me%2Fx.css", "/me/..%2fx.css", "/me?x.css"] {
        let service = by_user("private");
        for user in ["A", "B"] {
            assert_eq!(service.call(ask(path).header("x-user", user)).await.body, user, "{path}");
        }
    }
    let service = Service::new(|request| answer_with(request.uri().path()));
    for path in ["/a/../b", "/b", "/%62", "//b", "/b/", "/B"] {
        assert_eq!(service.call(ask(path)).await.body, path);
        assert_eq!(service.call(ask(path)).await.body, path);
    }
}

#[tokio::test]
async fn errors_are_stored_only_if_they_say_so() {
    for status in [400, 404, 414, 431, 500, 501, 503] {
        let service = Service::new(move |_| answer("", "").status(status));
        service.call(ask("/")).await;
        service.call(ask("/")).await;
        assert_eq!(service.calls(), 2, "{status}");
    }
}

#[tokio::test]
async fn variants_are_capped() {
    let service = Service::with(Settings::default().max_variants(8), |_| {
        answer("max-age=60", "x").header("vary", "x")
    });
    for n in 0..1000 {
        service.call(ask("/").header("x", n.to_string())).await;
    }
    assert!(service.value("bartizan_cache_stored_bytes", "") < 100_000);
    assert_eq!(service.value("bartizan_cache_stored_resources", ""), 1);
}

#[tokio::test]
async fn a_304_never_carries_a_strangers_cookie() {
    let service = Service::new(|request| {
        let user = request.headers()["x-user"].to_str().unwrap().to_owned();
        if request.headers().contains_key("if-none-match") {
            answer("max-age=60", "").status(304).header("set-cookie", format!("s={user}"))
        } else {
            answer("max-age=0", "x").header("etag", "\"1\"")
        }
    });
    let get = |user: &str| ask("/").header("x-user", user);
    service.call(get("A")).await;
    assert_eq!(service.call(get("B")).await.headers["set-cookie"], "s=B");
    assert!(!service.call(get("C")).await.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn a_head_response_that_tells_nothing_of_the_body_freshens_nothing_rfc_9111_4_3_5() {
    let service = Service::new(|_| answer("max-age=60", "hello"));
    service.call(ask("/")).await;
    service.clock.advance(std::time::Duration::from_secs(61));
    service.call(Request::head("/").header("host", "a.test")).await;
    assert_eq!(service.call(ask("/")).await.status(), "test; fwd=stale; stored");
}

#[tokio::test]
async fn entity_tags_are_made_if_asked() {
    let service = Service::with(Settings::default().etags(true), |_| answer("max-age=60", "hello"));
    assert!(!service.call(ask("/")).await.headers.contains_key("etag"));
    let tag = service.call(ask("/")).await.headers["etag"].to_str().unwrap().to_owned();
    assert!(tag.starts_with("W/\""));
    let unchanged = service.call(ask("/").header("if-none-match", &tag)).await;
    assert_eq!(unchanged.code, StatusCode::NOT_MODIFIED);
    assert_eq!(service.calls(), 1);
}

#[tokio::test]
async fn a_head_response_brings_the_stored_one_up_to_date() {
    let service = Service::new(|request| {
        let tag = request.headers().get("x-tag").map_or("\"1\"", |tag| tag.to_str().unwrap());
        let body = if request.method() == http::Method::HEAD { "" } else { "hello" };
        answer("max-age=60", body).header("etag", tag).header("x-seen", request.method().as_str())
    });
    let head = |tag: &str| Request::head("/").header("host", "a.test").header("x-tag", tag);
    service.call(ask("/")).await;
    service.clock.advance(std::time::Duration::from_secs(61));
    assert_eq!(service.call(head("\"1\"")).await.status(), "test; fwd=stale");
    let hit = service.call(ask("/")).await;
    assert_eq!((&*hit.status(), &*hit.body), ("test; hit; ttl=60", "hello"));
    assert_eq!(hit.headers["x-seen"], "HEAD");
    service.clock.advance(std::time::Duration::from_secs(61));
    service.call(head("\"2\"")).await;
    assert_eq!(service.call(ask("/")).await.status(), "test; fwd=uri-miss; stored");
}

#[tokio::test]
async fn targeted_fields_of_ones_own_are_obeyed_if_listed() {
    let service = Service::new(|_| {
        answer("no-store", "x")
            .header("ours-cache-control", "max-age=60")
            .header("cdn-cache-control", "no-store")
    });
    let names = ["ours-cache-control", "cdn-cache-control"].map(HeaderName::from_static);
    let layer = CacheLayer::safe(service.cache.clone()).targeted_fields(names);
    service.call_by(&layer, ask("/")).await;
    assert!(service.call_by(&layer, ask("/")).await.status().contains("hit"));
    assert!(service.call(ask("/other")).await.status().ends_with("uri-miss"));
}

/// Says that `n` does not matter, unless the path is asked for with `plain`.
fn learning() -> Service {
    let keys = KeyRules::default().no_vary_search(true);
    Service::of(ResponseCache::new("test").keyed_by(keys), |request| {
        let says = request.uri().query() != Some("plain");
        let head = answer("max-age=60", vec![Part::Data("x"), Part::Data("y")]);
        if says { head.header("no-vary-search", "params=(\"n\")") } else { head }
    })
}

#[tokio::test]
async fn a_change_during_the_first_fetch_is_noticed_whatever_it_says_of_its_query() {
    let service = learning();
    let first = service.start(ask("/?n=1")).await;
    service.call(Request::post("/?n=1").header("host", "a.test")).await;
    assert_eq!(read_all(first).await.body, "xy");
    assert_eq!(service.call(ask("/?n=2")).await.status(), "test; fwd=uri-miss; stored");
}

#[tokio::test]
async fn what_was_purged_does_not_come_back_when_its_query_is_learned_again() {
    let service = learning();
    service.call(ask("/?n=1")).await;
    // Forgotten, as it would be among very many.
    service.call(ask("/?plain")).await;
    service.cache.purge(&Purge::uri("https://a.test/?n=1".parse().unwrap()));
    service.call(ask("/?n=2&m=2")).await;
    assert_eq!(service.call(ask("/?n=1")).await.status(), "test; fwd=uri-miss; stored");
}

#[tokio::test]
async fn who_waits_by_a_no_vary_search_that_is_no_longer_said_is_given_its_own() {
    let says = std::sync::atomic::AtomicBool::new(true);
    let keys = KeyRules::default().no_vary_search(true);
    let service = Service::of(ResponseCache::new("test").keyed_by(keys), move |request| {
        let head = answer("max-age=60", request.uri().to_string());
        if says.swap(false, std::sync::atomic::Ordering::Relaxed) {
            head.header("no-vary-search", "params=(\"n\")")
        } else {
            head
        }
    });
    service.call(ask("/x?n=1")).await;
    assert_eq!(service.call(ask("/x?n=2")).await.body, "/x?n=1");
    service.clock.advance(std::time::Duration::from_secs(61));
    let layer = CacheLayer::new(service.cache.clone());
    let first = service.start_by(&layer, ask("/x?n=1")).await;
    assert_eq!(service.call(ask("/x?n=2")).await.body, "/x?n=2");
    assert_eq!(read_all(first).await.body, "/x?n=1");
    assert_eq!(service.calls(), 3);
}

#[tokio::test]
async fn no_vary_search_is_honoured_if_asked() {
    let handle = |request: &Request<()>| {
        answer("max-age=60", request.uri().to_string()).header("no-vary-search", "params=(\"utm\")")
    };
    let cache = ResponseCache::new("test").keyed_by(KeyRules::default().no_vary_search(true));
    let service = Service::of(cache, handle);
    service.call(ask("/p?id=1&utm=a")).await;
    assert_eq!(service.call(ask("/p?utm=b&id=1")).await.body, "/p?id=1&utm=a");
    assert_eq!(service.call(ask("/p?id=2&utm=b")).await.body, "/p?id=2&utm=b");
    assert_eq!(service.call(ask("/q?id=1&utm=b")).await.body, "/q?id=1&utm=b");
    let service = Service::new(handle);
    service.call(ask("/p?utm=a")).await;
    assert_eq!(service.call(ask("/p?utm=b")).await.body, "/p?utm=b", "nobody asked");
}
