//! A store behind memory: shared by processes, slow, down, or full of garbage.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod service;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan_cache::{
    Cache, CacheLayer, Clock, Lease, Loaded, Purge, Record, ResponseCache, Settings, Store,
    StoreError, StoreErrorKind, StoreFuture, StoreKey, Turn, What,
};
use bartizan_core::{Engine, Mode};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use self::service::{Part, Parts, Service, answer, get as ask, read};

/// A store in memory, and how it fares.
#[derive(Clone, Debug, Default)]
struct Double(Arc<State>);

#[derive(Debug, Default)]
struct State {
    records: Mutex<HashMap<StoreKey, Vec<Record>>>,
    health: Mutex<Health>,
    loads: AtomicUsize,
    /// How many were made, and whether the next are late.
    purges: AtomicUsize,
    purges_hang: AtomicBool,
    /// Whether another process has the turn.
    taken: AtomicBool,
    /// How many turns were given and are not over.
    turns: Arc<AtomicUsize>,
    /// After how many of them the answer was said not to be for others.
    unshared: Arc<AtomicUsize>,
    /// Whether that is said to whoever asks for a turn.
    is_unshared: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Health {
    #[default]
    Well,
    Down,
    Frozen,
    /// Each thing that it does takes as long.
    Slow(Duration),
    /// Every byte of bodies, or of heads, is another one.
    Garbage {
        heads: bool,
    },
}

impl Double {
    fn is(&self, health: Health) {
        *self.0.health.lock().unwrap() = health;
    }

    async fn well(&self) -> Result<Health, StoreError> {
        let health = *self.0.health.lock().unwrap();
        match health {
            Health::Down => Err(StoreError::new(StoreErrorKind::Unavailable).caused_by("refused")),
            Health::Frozen => std::future::pending().await,
            Health::Slow(delay) => {
                tokio::time::sleep(delay).await;
                Ok(health)
            }
            health => Ok(health),
        }
    }
}

impl Store for Double {
    fn load<'a>(
        &'a self,
        key: StoreKey,
        suits: &'a (dyn Fn(&[u8]) -> bool + Send + Sync),
    ) -> StoreFuture<'a, Option<Loaded>> {
        Box::pin(async move {
            self.0.loads.fetch_add(1, Relaxed);
            let health = self.well().await?;
            let records = self.0.records.lock().unwrap();
            let of_key = records.get(&key).into_iter().flatten();
            let Some(record) = of_key.rev().find(|record| suits(&record.head)) else {
                return Ok(None);
            };
            let garbled = |bytes: &Bytes| Bytes::from(bytes.iter().map(|b| !b).collect::<Vec<_>>());
            let (head, body) = match health {
                Health::Garbage { heads: true } => (garbled(&record.head), record.body.clone()),
                Health::Garbage { heads: false } => (record.head.clone(), garbled(&record.body)),
                _ => (record.head.clone(), record.body.clone()),
            };
            let body = Full::new(body).map_err(|never: std::convert::Infallible| match never {});
            Ok(Some(Loaded::new(head, body)))
        })
    }

    fn save(&self, key: StoreKey, record: Record) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.well().await?;
            let mut records = self.0.records.lock().unwrap();
            let of_key = records.entry(key).or_default();
            of_key.retain(|other| other.variant != record.variant);
            of_key.push(record);
            Ok(())
        })
    }

    fn purge<'a>(&'a self, purge: &'a Purge, resource: Option<StoreKey>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.well().await?;
            if self.0.purges_hang.load(Relaxed) {
                std::future::pending::<()>().await;
            }
            self.0.purges.fetch_add(1, Relaxed);
            let gone = |record: &Record| match purge.what() {
                What::All => true,
                What::Uri(_) => Some(record.resource) == resource,
                What::Prefix(prefix) => record.uri.starts_with(prefix),
                What::Tag(tag) => record.tags.contains(tag),
                What::Group { name, .. } => record.groups.contains(name),
                _ => true,
            };
            let mut records = self.0.records.lock().unwrap();
            records.values_mut().for_each(|of_key| of_key.retain(|record| !gone(record)));
            Ok(())
        })
    }

    fn lease(&self, _: StoreKey, _: Duration) -> StoreFuture<'_, Turn> {
        Box::pin(async move {
            self.well().await?;
            if self.0.taken.load(Relaxed) {
                return Ok(Turn::Taken);
            }
            if self.0.is_unshared.load(Relaxed) {
                return Ok(Turn::Unshared);
            }
            let (turns, told) = (Arc::clone(&self.0.turns), Arc::clone(&self.0.unshared));
            turns.fetch_add(1, Relaxed);
            let over = move |unshared: bool| {
                turns.fetch_sub(1, Relaxed);
                told.fetch_add(usize::from(unshared), Relaxed);
            };
            Ok(Turn::Mine(Lease::new(false, over)))
        })
    }
}

/// One process of several over the same store.
fn node(store: &Double) -> Service {
    Service::of(ResponseCache::new("test").over(store.clone()), |request| {
        let language = request.headers().get("accept-language").cloned();
        let language = language.as_ref().map_or("", |language| language.to_str().unwrap());
        answer("max-age=60", format!("hello {language}"))
            .header("vary", "accept-language")
            .header("surrogate-key", "greeting")
    })
}

/// Lets what is written beside the clients be written.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn german() -> http::request::Builder {
    ask("/").header("accept-language", "de")
}

#[tokio::test(start_paused = true)]
async fn what_one_process_stored_another_serves() {
    let store = Double::default();
    let (one, two) = (node(&store), node(&store));
    one.call(german()).await;
    settle().await;
    let hit = two.call(german()).await;
    assert_eq!((&*hit.body, &*hit.status(), two.calls()), ("hello de", "test; hit; ttl=60", 0));
    assert!(hit.headers.contains_key("date") && hit.headers["content-length"] == "8");
    assert_eq!(two.value("bartizan_cache_requests_total", "further_hit"), 1);
    // The other variant is not there, and then is.
    assert_eq!(two.call(ask("/").header("accept-language", "en")).await.body, "hello en");
    settle().await;
    let loads = store.0.loads.load(Relaxed);
    assert_eq!(one.call(ask("/").header("accept-language", "en")).await.body, "hello en");
    assert_eq!((one.calls(), two.calls()), (1, 1));
    // From then on it is in memory.
    one.call(ask("/").header("accept-language", "en")).await;
    assert_eq!(store.0.loads.load(Relaxed), loads + 1);
}

#[tokio::test(start_paused = true)]
async fn in_shadow_the_store_is_written_to_and_serves_nothing() {
    let store = Double::default();
    let (one, two) = (node(&store), node(&store));
    for service in [&one, &two] {
        service.cache.switch().set(Mode::Shadow);
        let response = service.call(german()).await;
        settle().await;
        assert_eq!((service.calls(), &*response.body), (1, "hello de"));
        assert!(!response.headers.contains_key("age"));
    }
    assert_eq!(store.0.loads.load(Relaxed), 0);
    assert_eq!(store.0.records.lock().unwrap().len(), 1);
    assert_eq!(two.value("bartizan_cache_requests_total", "further_hit"), 0);
}

#[tokio::test(start_paused = true)]
async fn purges_and_changes_reach_the_store() {
    for purge in [
        Some(Purge::tag("greeting")),
        Some(Purge::uri("https://a.test/".parse().unwrap())),
        Some(Purge::prefix("https://a.test/")),
        Some(Purge::all()),
        None,
    ] {
        let store = Double::default();
        let (one, two) = (node(&store), node(&store));
        one.call(german()).await;
        settle().await;
        match &purge {
            Some(purge) => one.cache.purge(purge),
            None => {
                one.call(http::Request::post("/").header("host", "a.test")).await;
            }
        }
        settle().await;
        two.call(german()).await;
        assert_eq!(two.calls(), 1, "{purge:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_what_has_no_host_reaches_the_store_rfc_9111_4_4() {
    for uri in ["/x", "/", "//x?y"] {
        let store = Double::default();
        let (one, two) = (node(&store), node(&store));
        let bare = |method: &str| http::Request::builder().method(method).uri(uri);
        one.call(bare("GET")).await;
        settle().await;
        one.call(bare("POST")).await;
        settle().await;
        two.call(bare("GET")).await;
        assert_eq!(two.calls(), 1, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_purged_does_not_come_back_from_a_store_that_was_down() {
    let store = Double::default();
    let (one, two) = (node(&store), node(&store));
    one.call(german()).await;
    settle().await;
    store.is(Health::Down);
    one.cache.purge(&Purge::tag("greeting"));
    settle().await;
    // The store is well again, but has not heard of the purge.
    store.is(Health::Well);
    assert_eq!(one.call(german()).await.status(), "test; fwd=uri-miss; stored");
    assert_eq!(one.calls(), 2);
    tokio::time::sleep(Duration::from_secs(3)).await;
    two.call(german()).await;
    assert_eq!(two.calls(), 1, "by now it has");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_purges_at_once_all_reach_the_store() {
    let store = Double::default();
    let (one, two) = (node(&store), node(&store));
    for n in 0..10 {
        one.call(ask(&format!("/{n}"))).await;
    }
    settle().await;
    for n in 0..10_000 {
        one.cache.purge(&Purge::uri(format!("https://a.test/other/{n}").parse().unwrap()));
    }
    one.cache.purge(&Purge::tag("greeting"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    for n in 0..10 {
        two.call(ask(&format!("/{n}"))).await;
    }
    assert_eq!(two.calls(), 10);
    let sent = store.0.purges.load(Relaxed);
    assert!(sent < 3_000, "what does not fit is one purge of all: {sent}");
}

#[test]
fn what_is_purged_without_a_runtime_is_owed_until_there_is_one() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Double::default();
    let (one, two) = (node(&store), node(&store));
    runtime().block_on(async {
        one.call(german()).await;
        settle().await;
    });
    one.cache.purge(&Purge::tag("greeting"));
    runtime().block_on(async {
        // Nothing that was purged comes back, and whatever is asked for has the purge sent.
        one.call(german()).await;
        assert_eq!(one.calls(), 2);
        one.call(ask("/other")).await;
        settle().await;
        store.0.records.lock().unwrap().clear();
        two.call(german()).await;
        assert_eq!(two.calls(), 1);
    });
    assert_eq!(store.0.purges.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn purges_on_their_way_leave_the_store_in_use_for_the_rest() {
    let store = Double::default();
    let (one, two) = (node(&store), node(&store));
    for path in ["/a", "/b"] {
        one.call(ask(path)).await;
    }
    settle().await;
    store.0.purges_hang.store(true, Relaxed);
    two.cache.purge(&Purge::uri("https://a.test/a".parse().unwrap()));
    assert!(two.call(ask("/b")).await.status().starts_with("test; hit"));
    assert_eq!(two.call(ask("/a")).await.status(), "test; fwd=uri-miss; stored");
}

#[tokio::test(start_paused = true)]
async fn word_of_a_purge_is_for_memory_only() {
    let store = Double::default();
    let one = node(&store);
    one.call(german()).await;
    settle().await;
    one.cache.purge_memory(&Purge::tag("greeting"));
    settle().await;
    one.call(german()).await;
    assert_eq!(one.value("bartizan_cache_requests_total", "further_hit"), 1);
    assert_eq!(one.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_in_trouble_is_a_miss_within_the_deadline_and_then_left_alone() {
    for (health, wait) in [
        (Health::Down, Duration::ZERO),
        (Health::Frozen, Duration::from_millis(50)),
        (Health::Garbage { heads: true }, Duration::ZERO),
        (Health::Garbage { heads: false }, Duration::ZERO),
    ] {
        let store = Double::default();
        let (one, two) = (node(&store), node(&store));
        for n in 0..20 {
            one.call(ask(&format!("/{n}"))).await;
        }
        settle().await;
        store.is(health);
        for n in 0..20 {
            let start = Instant::now();
            let answer = two.call(ask(&format!("/{n}"))).await;
            assert_eq!((answer.code.as_u16(), &*answer.body), (200, "hello "), "{health:?}");
            assert!(start.elapsed() <= wait, "{health:?}: {:?}", start.elapsed());
        }
        // A head that cannot be read suits nobody: that is a miss like any other.
        if !matches!(health, Health::Garbage { .. }) {
            assert!(store.0.loads.load(Relaxed) <= 20 + 5, "{health:?}: it was not left alone");
        }
        if matches!(health, Health::Down | Health::Frozen) {
            assert_eq!(two.value("bartizan_cache_store_away", ""), 1, "{health:?}");
            assert!(two.value("bartizan_cache_store_total", "skipped") >= 15, "{health:?}");
        }
        // What is still being written gives up.
        tokio::time::sleep(Duration::from_millis(100)).await;
        store.is(Health::Well);
        two.clock.advance(Duration::from_secs(2));
        one.call(ask("/again")).await;
        settle().await;
        two.call(ask("/again")).await;
        assert_eq!(two.value("bartizan_cache_requests_total", "further_hit"), 1, "{health:?}");
        assert_eq!(two.value("bartizan_cache_store_away", ""), 0, "{health:?}");
        assert_eq!(requests(&two), 21, "{health:?}: each is counted once");
    }
}

/// How many requests were counted, by any outcome but that which comes beside another.
fn requests(service: &Service) -> u64 {
    let outcomes = [
        "bypass",
        "collapsed",
        "further_hit",
        "hit",
        "method",
        "partial",
        "refused",
        "request",
        "shadow_hit",
        "stale",
        "stale_hit",
        "uri_miss",
        "vary_miss",
    ];
    outcomes.map(|outcome| service.value("bartizan_cache_requests_total", outcome)).iter().sum()
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_is_answered_from_the_store_too_rfc_9111_5_2_1_7() {
    let store = Double::default();
    let (one, two) = (node(&store), node(&store));
    one.call(german()).await;
    settle().await;
    let cached = || german().header("cache-control", "only-if-cached");
    assert!(two.call(cached()).await.status().starts_with("test; hit"));
    let refused = two.call(ask("/other").header("cache-control", "only-if-cached")).await;
    assert_eq!((refused.code.as_u16(), two.calls()), (504, 0));
    store.is(Health::Frozen);
    two.cache.purge_memory(&Purge::all());
    assert_eq!(two.call(cached()).await.code.as_u16(), 504);
    assert_eq!((requests(&two), two.value("bartizan_cache_requests_total", "refused")), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_longer_than_is_stored_here_is_a_miss_and_no_failure_of_the_store() {
    let store = Double::default();
    let one = node(&store);
    for n in 0..10 {
        one.call(ask(&format!("/{n}"))).await;
    }
    settle().await;
    let settings = Settings::default().max_body_bytes(5);
    let cache = ResponseCache::new("test").settings(settings).unwrap().over(store.clone());
    let two = Service::of(cache, |_| answer("no-store", "small"));
    for n in 0..10 {
        assert_eq!(two.call(ask(&format!("/{n}"))).await.body, "small");
    }
    assert_eq!(two.value("bartizan_cache_store_total", "corrupt"), 0);
}

#[tokio::test(start_paused = true)]
async fn all_that_a_request_asks_of_the_store_is_within_one_deadline() {
    for (delay, waits) in [(10, 20), (24, 48), (30, 50), (49, 50), (60, 50)] {
        let store = Double::default();
        let one = node(&store);
        store.is(Health::Slow(Duration::from_millis(delay)));
        let start = Instant::now();
        // To look for it, and to take the turn.
        assert_eq!(one.call(german()).await.body, "hello de");
        assert_eq!(start.elapsed(), Duration::from_millis(waits), "{delay} ms each");
    }
}

#[tokio::test(start_paused = true)]
async fn many_misses_are_one_look_and_one_fetch() {
    let store = Double::default();
    let service = Arc::new(node(&store));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let service = Arc::clone(&service);
        waiting.spawn(async move { service.call(german()).await.body });
    }
    while let Some(body) = waiting.join_next().await {
        assert_eq!(body.unwrap(), "hello de");
    }
    assert_eq!((store.0.loads.load(Relaxed), service.calls()), (1, 1));
    assert_eq!(requests(&service), 100);
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_ages_while_it_lies_there() {
    let store = Double::default();
    let (one, two) = (node(&store), node(&store));
    one.call(german()).await;
    settle().await;
    two.clock.advance(Duration::from_secs(45));
    let hit = two.call(german()).await;
    assert_eq!(
        (&hit.headers["age"], &*hit.status()),
        (&"45".parse().unwrap(), "test; hit; ttl=15")
    );
    let three = node(&store);
    three.clock.advance(Duration::from_secs(61));
    assert_eq!(three.call(german()).await.status(), "test; fwd=stale; stored");
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_there_is_validated_and_stands_in_for_errors_rfc_9111_4_3() {
    let store = Double::default();
    let node = || {
        Service::of(ResponseCache::new("test").over(store.clone()), |request| {
            let headers = request.headers();
            let (status, body) = match () {
                () if headers.contains_key("x-fail") => (503, "sorry"),
                () if headers.contains_key("if-none-match") => (304, ""),
                () => (200, "hello"),
            };
            answer("max-age=60, stale-if-error=600", body).status(status).header("etag", "\"1\"")
        })
    };
    node().call(ask("/")).await;
    settle().await;
    // After a restart, a minute later.
    let failing = node();
    failing.clock.advance(Duration::from_secs(61));
    let stood_in = failing.call(ask("/").header("x-fail", "1")).await;
    assert_eq!((stood_in.code.as_u16(), &*stood_in.body), (200, "hello"));
    let two = node();
    two.clock.advance(Duration::from_secs(61));
    let confirmed = two.call(ask("/")).await;
    assert_eq!(confirmed.status(), "test; fwd=stale; fwd-status=304; stored");
    assert_eq!((&*confirmed.body, two.calls()), ("hello", 1));
    assert!(two.call(ask("/")).await.status().starts_with("test; hit"));
}

#[tokio::test(start_paused = true)]
async fn what_one_client_takes_stale_from_there_is_not_given_to_others_rfc_9111_4_2_4() {
    let store = Double::default();
    let node = || {
        Service::of(ResponseCache::new("test").over(store.clone()), |_| {
            answer("max-age=60, stale-if-error=600", "hello")
        })
    };
    node().call(ask("/")).await;
    settle().await;
    let two = Arc::new(node());
    two.clock.advance(Duration::from_secs(61));
    store.is(Health::Slow(Duration::from_millis(10)));
    let asking = |request: http::request::Builder| {
        let two = Arc::clone(&two);
        tokio::spawn(async move { two.call(request).await.status() })
    };
    let taking = asking(ask("/").header("cache-control", "max-stale"));
    let other = asking(ask("/"));
    assert_eq!(taking.await.unwrap(), "test; hit; ttl=-1");
    assert_eq!(other.await.unwrap(), "test; fwd=stale; stored");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_store_makes_no_response_older_rfc_9111_4_2_3() {
    let store = Double::default();
    let one = Arc::new(node(&store));
    store.0.taken.store(true, Relaxed);
    let waiting = Arc::clone(&one);
    let waiting = tokio::spawn(async move { waiting.call(german()).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    one.clock.advance(Duration::from_secs(2));
    waiting.await.unwrap();
    assert_eq!(one.call(german()).await.headers["age"], "0");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_beside_the_client_is_one_for_all_processes_rfc_5861() {
    let store = Double::default();
    let clock = Clock::manual();
    let asked = Arc::new(AtomicUsize::new(0));
    let node = || {
        let asked = Arc::clone(&asked);
        let inner = tower::service_fn(move |_: http::Request<Empty<Bytes>>| {
            let asked = Arc::clone(&asked);
            async move {
                asked.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_millis(200)).await;
                let said = "max-age=60, stale-while-revalidate=60";
                let body = Full::new(Bytes::from_static(b"hello"));
                let head = http::Response::builder().header("cache-control", said);
                Ok::<_, std::convert::Infallible>(head.body(body).unwrap())
            }
        });
        let cache = ResponseCache::new("test").clock(clock.clone()).over(store.clone());
        CacheLayer::new(cache).layer(inner)
    };
    let call = async |service: &Cache<_>| {
        let response = service.clone().oneshot(ask("/").body(Empty::new()).unwrap()).await.unwrap();
        let status = response.headers()["cache-status"].to_str().unwrap().to_owned();
        response.into_body().collect().await.unwrap();
        settle().await;
        status
    };
    let (one, two) = (node(), node());
    call(&one).await;
    call(&two).await;
    clock.advance(Duration::from_secs(61));
    assert_eq!(call(&one).await, "test; hit; ttl=-1");
    assert_eq!(store.0.turns.load(Relaxed), 1);
    // The other is at it, and then has it.
    store.0.taken.store(true, Relaxed);
    assert_eq!(call(&two).await, "test; hit; ttl=-1");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(call(&two).await, "test; hit; ttl=-1");
    assert_eq!(call(&two).await, "test; hit; ttl=60");
    assert_eq!(asked.load(Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_turn_lasts_until_the_response_is_at_the_store_or_will_not_come() {
    let store = Double::default();
    let one = node(&store);
    one.call(german()).await;
    settle().await;
    assert_eq!(store.0.turns.load(Relaxed), 0);
    // Nobody waits for the end of this one.
    drop(tokio::time::timeout(Duration::ZERO, one.call(ask("/other"))).await);
    settle().await;
    assert_eq!(store.0.turns.load(Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_turn_says_whether_the_answer_was_for_others() {
    let store = Double::default();
    let one = Service::of(ResponseCache::new("test").over(store.clone()), |request| {
        let end = match request.uri().path() {
            "/error" => Part::Error,
            "/hangs" => Part::Pending,
            _ => Part::Trailers,
        };
        let said = if request.uri().path() == "/private" { "private" } else { "max-age=60" };
        answer(said, Parts::from(vec![Part::Data("hello"), end]))
    });
    for (path, unshared) in [("/whole", 0), ("/private", 1), ("/error", 0), ("/hangs", 0)] {
        // Whoever reads goes away when nothing more comes.
        read(one.start(ask(path)).await.into_body()).await;
        settle().await;
        assert_eq!(store.0.turns.load(Relaxed), 0, "{path}");
        assert_eq!(store.0.unshared.swap(0, Relaxed), unshared, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_whose_response_could_not_be_stored_is_left_to_the_next() {
    for health in [Health::Down, Health::Frozen] {
        let store = Double::default();
        let one = node(&store);
        let response = one.start(german()).await;
        assert_eq!(store.0.turns.load(Relaxed), 1, "{health:?}");
        store.is(health);
        read(response.into_body()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(store.0.turns.load(Relaxed), 0, "{health:?}");
        assert_eq!(store.0.unshared.load(Relaxed), 0, "{health:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_waited_for_in_vain_is_shared_here_all_the_same() {
    let store = Double::default();
    let one = Arc::new(node(&store));
    store.0.taken.store(true, Relaxed);
    let waiting = Arc::clone(&one);
    let waiting = tokio::spawn(async move { waiting.start(german()).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The other one's turn is over, and what it fetched was something else, or is not there.
    store.0.taken.store(false, Relaxed);
    let response = waiting.await.unwrap();
    let joins = one.call(german()).await;
    assert_eq!((joins.status().as_str(), one.calls()), ("test; fwd=uri-miss; collapsed", 1));
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_for_others_elsewhere_is_waited_for_by_nobody() {
    let store = Double::default();
    let one = node(&store);
    store.0.is_unshared.store(true, Relaxed);
    let start = Instant::now();
    let first = one.start(german()).await;
    assert_eq!(one.call(german()).await.status(), "test; fwd=uri-miss; stored");
    assert_eq!((one.calls(), start.elapsed()), (2, Duration::ZERO));
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn whoever_followed_in_vain_does_not_wait_for_another_process_too() {
    let store = Double::default();
    let cache = ResponseCache::new("test").over(store.clone());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = tower::service_fn(move |_: http::Request<Empty<Bytes>>| {
        let first = counted.fetch_add(1, Relaxed) == 0;
        async move {
            if first {
                std::future::pending::<()>().await;
            }
            let body = Full::new(Bytes::from_static(b"late"));
            Ok::<_, std::convert::Infallible>(http::Response::new(body))
        }
    });
    let service = CacheLayer::new(cache).layer(inner);
    store.0.taken.store(true, Relaxed);
    let request = || german().body(Empty::new()).unwrap();
    let stuck = tokio::spawn(service.clone().oneshot(request()));
    tokio::task::yield_now().await;
    let start = Instant::now();
    service.oneshot(request()).await.unwrap();
    assert_eq!((start.elapsed(), calls.load(Relaxed)), (Duration::from_secs(5), 2));
    stuck.abort();
}

#[tokio::test(start_paused = true)]
async fn what_another_process_fetches_is_waited_for_within_half_of_the_limit() {
    let store = Double::default();
    let (one, two) = (Arc::new(node(&store)), node(&store));
    store.0.taken.store(true, Relaxed);
    let start = Instant::now();
    let waiting = Arc::clone(&one);
    let waiting = tokio::spawn(async move { waiting.call(german()).await.body });
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert!(!waiting.is_finished());
    // The other has it.
    store.0.taken.store(false, Relaxed);
    two.call(german()).await;
    assert_eq!(waiting.await.unwrap(), "hello de");
    assert!(start.elapsed() < Duration::from_millis(1_050), "{:?}", start.elapsed());
    assert_eq!(one.calls(), 0);

    store.0.taken.store(true, Relaxed);
    let start = Instant::now();
    assert_eq!(one.call(ask("/never")).await.body, "hello ");
    assert_eq!((start.elapsed(), one.calls()), (Duration::from_millis(2_500), 1));
    // A store that fails while it is waited for is no longer waited for.
    let start = Instant::now();
    let waiting = tokio::spawn(async move { one.call(ask("/down")).await.body });
    tokio::time::sleep(Duration::from_millis(100)).await;
    store.is(Health::Down);
    assert_eq!(waiting.await.unwrap(), "hello ");
    assert!(start.elapsed() < Duration::from_millis(150), "{:?}", start.elapsed());
}
