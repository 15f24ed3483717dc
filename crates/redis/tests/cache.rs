//! Caches that share a Redis which is well, dead, frozen or full of garbage.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod server;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bartizan_cache::{
    Cache, CacheLayer, Loaded, Purge, Record, ResponseCache, Settings, Store, StoreFuture, StoreKey,
};
use bartizan_redis::{CacheStore, Engine, Mode, Redis};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use server::Server;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};

/// For tests that are about a server that does not answer.
const DEADLINE: Duration = Duration::from_millis(300);
/// For all others: a busy machine does not pass for a server that is down.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers with as many bytes as its path says, after a while, and counts.
#[derive(Clone, Debug, Default)]
struct Origin {
    calls: Arc<AtomicUsize>,
    paths: Arc<Mutex<Vec<String>>>,
    delay: Duration,
    private: bool,
    /// Nobody is answered before it was called so often.
    together: Arc<AtomicUsize>,
}

impl Service<Request<Empty<Bytes>>> for Origin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        self.calls.fetch_add(1, SeqCst);
        let path = request.uri().path();
        self.paths.lock().unwrap().push(path.to_owned());
        let language = request.headers().get("accept-language").cloned();
        let language = language.unwrap_or_else(|| "none".parse().unwrap());
        let who = if self.private { "private" } else { "public" };
        let response = Response::builder()
            .header("cache-control", format!("{who}, max-age=600"))
            .header("vary", "accept-language")
            .header("content-language", language)
            .header("surrogate-key", format!("all tag{}", path.replace('/', "-")))
            .header("cache-groups", "\"group\"")
            .body(Full::new(body(path)));
        let (delay, calls, together) = (self.delay, self.calls.clone(), self.together.clone());
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            until("the other calls", || calls.load(SeqCst) >= together.load(SeqCst)).await;
            Ok(response.unwrap())
        })
    }
}

/// What belongs to a path: no two chunks are the same, nor any two paths.
fn body(path: &str) -> Bytes {
    let len: usize = path.trim_matches('/').split('/').next().unwrap().parse().unwrap_or(10);
    let line = format!("{path} 0123456789abcdef ");
    (0..).flat_map(|n: u64| format!("{line}{n}\n").into_bytes()).take(len).collect()
}

/// One process of several.
struct Node {
    redis: Redis,
    store: CacheStore,
    cache: ResponseCache,
    service: Cache<Origin>,
    calls: Arc<AtomicUsize>,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Node {
    async fn new(server: &Server) -> Self {
        Self::with(server, |store| store).await
    }

    async fn with(server: &Server, change: impl FnOnce(CacheStore) -> CacheStore) -> Self {
        Self::over(server, Origin::default(), patient(), PATIENCE, change).await
    }

    /// One that waits for the server as briefly as it is set, and for others by default.
    async fn hasty(server: &Server) -> Self {
        let settings = Settings::default().store_deadline(DEADLINE);
        Self::over(server, Origin::default(), settings, DEADLINE, |store| store).await
    }

    async fn over(
        server: &Server,
        origin: Origin,
        settings: Settings,
        deadline: Duration,
        change: impl FnOnce(CacheStore) -> CacheStore,
    ) -> Self {
        let redis = Redis::new(&server.url()).unwrap().deadline(deadline);
        let settings = settings.max_body_bytes(4 << 20);
        let store = change(CacheStore::new(redis.clone()));
        let cache = ResponseCache::new("test").settings(settings).unwrap().over(store.clone());
        let (calls, paths) = (Arc::clone(&origin.calls), Arc::clone(&origin.paths));
        let service = CacheLayer::new(cache.clone()).layer(origin);
        let node = Self { redis, store, cache, service, calls, paths };
        node.listens().await;
        node
    }

    /// Until it hears of the others' purges.
    async fn listens(&self) {
        until("the subscription", || self.store.hears_of_purges()).await;
    }

    /// Asks, makes sure of the answer, and returns its status line.
    async fn get(&self, path: &str) -> String {
        self.ask(path, "none").await
    }

    async fn ask(&self, path: &str, language: &str) -> String {
        tokio::time::timeout(PATIENCE, self.exchange(path, language)).await.expect("an answer")
    }

    async fn exchange(&self, path: &str, language: &str) -> String {
        let request = Request::get(path)
            .header("host", "a.test")
            .header("accept-language", language)
            .body(Empty::new())
            .unwrap();
        let response = self.service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-language"], language);
        let status = response.headers()["cache-status"].to_str().unwrap().to_owned();
        let whole = response.into_body().collect().await.unwrap().to_bytes();
        assert!(whole == body(path), "{path}");
        status
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    fn calls_for(&self, path: &str) -> usize {
        self.paths.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }

    fn value(&self, metric: &str, outcome: &str) -> f64 {
        self.cache.snapshot().value(metric, outcome).unwrap()
    }

    /// How often the store did what it was asked.
    fn done(&self) -> f64 {
        self.value("bartizan_cache_store_total", "done")
    }
}

/// So that nobody stops waiting for the server, nor for others.
fn patient() -> Settings {
    Settings::default().store_deadline(PATIENCE).follow_wait(2 * PATIENCE)
}

/// Waits for what comes about, for ten seconds at most.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come about");
}

/// Until the server has a record that any node would find.
async fn has_record(server: &Server, count: usize) {
    until("the record", || keys(server, "r:") >= count).await;
}

/// Until all that was fetched is written: so long each fetch keeps its turn.
async fn settled(server: &Server) {
    until("the writes", || keys(server, "l:") == 0).await;
}

/// Until a process that was never asked before finds it.
async fn is_shared(server: &Server, path: &str) -> bool {
    for _ in 0..100 {
        if Node::new(server).await.get(path).await.contains("hit") {
            return true;
        }
        settled(server).await;
    }
    false
}

/// Who hears of purges, by numbers that are never given twice.
fn listeners(server: &Server) -> Vec<String> {
    let clients = server.say("CLIENT LIST TYPE pubsub");
    let ids = clients.split_whitespace().filter_map(|field| field.strip_prefix("id="));
    ids.map(str::to_owned).collect()
}

/// How many keys of a kind there are.
fn keys(server: &Server, kind: &str) -> usize {
    let script = format!("EVAL \"return #redis.call('KEYS','{{bartizan:cache}}:{kind}*')\" 0");
    let answer = server.say(&script);
    answer.trim_start_matches(':').lines().next().unwrap().parse().unwrap()
}

/// Runs a script over all keys of a kind.
fn each_key(server: &Server, kind: &str, work: &str) {
    let script = format!(
        "EVAL \"for _,k in ipairs(redis.call('KEYS','{{bartizan:cache}}:{kind}*')) do {work} end return 1\" 0"
    );
    assert!(server.say(&script).starts_with(":1"), "{}", server.say(&script));
}

#[tokio::test]
async fn two_processes_share_what_either_stored() {
    let server = Server::start();
    let [one, two] = slow(&server, Duration::ZERO).await;
    // Empty, small, of one chunk exactly, of many.
    for (n, path) in ["/0/a", "/10/b", "/131072/c", "/131073/d", "/2000000/e"].iter().enumerate() {
        let status = one.ask(path, "none").await;
        assert_eq!(status, "test; fwd=uri-miss; stored", "{path}");
        has_record(&server, n + 1).await;
        let status = two.ask(path, "none").await;
        assert!(status.starts_with("test; hit"), "{path}: {status}");
    }
    assert_eq!((one.calls(), two.calls()), (5, 0));
    assert_eq!(two.value("bartizan_cache_requests_total", "further_hit"), 5.0);
}

#[tokio::test]
async fn variants_live_beside_each_other_up_to_a_number() {
    let server = Server::start();
    let (one, two) = (Node::new(&server).await, Node::new(&server).await);
    for n in 0..20 {
        one.ask("/200000/v", &format!("l{n}")).await;
        settled(&server).await;
    }
    let found = |from, to| {
        let two = &two;
        async move {
            for n in from..to {
                two.ask("/200000/v", &format!("l{n}")).await;
            }
            two.calls()
        }
    };
    assert_eq!(found(4, 20).await, 0);
    assert_eq!(found(0, 4).await, 4);
}

#[tokio::test]
async fn a_purge_crosses_processes() {
    let server = Server::start();
    let (one, two) = (Node::new(&server).await, Node::new(&server).await);
    one.get("/").await;
    two.get("/").await;
    for purge in [
        Purge::tag("all"),
        Purge::group("https://a.test", "group"),
        Purge::uri("https://a.test/".parse().unwrap()),
        Purge::uri("https://A.test:443/".parse().unwrap()),
        Purge::prefix("https://a.test/"),
        Purge::all(),
    ] {
        for path in ["/", "/other"] {
            one.get(path).await;
            has_record(&server, 1).await;
            two.get(path).await;
        }
        let before = (one.calls(), two.calls());
        one.cache.purge(&purge);
        // In the other's memory.
        until("the purge", || two.value("bartizan_cache_purges_total", "hard") >= 1.0).await;
        let mut fetched = String::new();
        for _ in 0..500 {
            fetched = two.get("/").await;
            if two.calls() > before.1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(two.calls(), before.1 + 1, "{purge:?}: {fetched}");
        // What comes after it is shared again.
        assert!(is_shared(&server, "/").await, "{purge:?}");
    }
}

#[tokio::test]
async fn what_is_purged_while_it_is_fetched_is_not_stored() {
    let server = Server::start();
    let store = CacheStore::new(Redis::new(&server.url()).unwrap().deadline(PATIENCE));
    let (key, mut record) = saved("/").await;
    for purge in [
        Purge::tag("all"),
        Purge::group("https://a.test", "group"),
        Purge::prefix("h"),
        Purge::all(),
    ] {
        // The service is asked.
        assert!(store.load(key, &|_| true).await.unwrap().is_none());
        record.position = store.position();
        store.purge(&purge, None).await.unwrap();
        // It has answered what is purged already.
        store.save(key, record.clone()).await.unwrap();
        assert!(store.load(key, &|_| true).await.unwrap().is_none(), "{purge:?}");
        record.position = store.position();
        store.save(key, record.clone()).await.unwrap();
        assert!(store.load(key, &|_| true).await.unwrap().is_some(), "{purge:?}");
        store.purge(&Purge::all(), None).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_on_its_way_for_longer_than_purges_are_known_is_not_stored() {
    let server = Server::start();
    let store = CacheStore::new(Redis::new(&server.url()).unwrap().deadline(PATIENCE));
    let (key, mut record) = saved("/").await;
    assert!(store.load(key, &|_| true).await.unwrap().is_none());
    record.position = store.position();
    let change = Purge::uri("https://a.test/".parse().unwrap()).by_change();
    store.purge(&change, Some(record.resource)).await.unwrap();
    // Its mark is over.
    each_key(&server, "m:", "assert(redis.call('PTTL',k) <= 300000) redis.call('DEL',k)");
    record.asked_ago = Duration::from_secs(301);
    store.save(key, record.clone()).await.unwrap();
    assert!(store.load(key, &|_| true).await.unwrap().is_none());
    record.asked_ago = Duration::from_secs(299);
    store.save(key, record.clone()).await.unwrap();
    assert!(store.load(key, &|_| true).await.unwrap().is_some());
}

#[tokio::test]
async fn a_change_at_one_process_is_no_operators_purge_at_another() {
    let server = Server::start();
    let (one, two) = (Node::new(&server).await, Node::new(&server).await);
    one.get("/").await;
    has_record(&server, 1).await;
    two.get("/").await;
    let change = Request::post("/").header("host", "a.test").body(Empty::new()).unwrap();
    one.service.clone().oneshot(change).await.unwrap();
    until("the change", || two.value("bartizan_cache_invalidations_total", "") == 1.0).await;
    assert_eq!(two.value("bartizan_cache_purges_total", "hard"), 0.0);
}

#[tokio::test]
async fn a_response_that_was_confirmed_is_a_new_head_only() {
    let server = Server::start();
    let store = CacheStore::new(Redis::new(&server.url()).unwrap().deadline(PATIENCE));
    let (key, mut record) = saved("/300000/x").await;
    assert!(store.load(key, &|_| true).await.unwrap().is_none());
    record.position = store.position();
    let is_whole = async || {
        let loaded = store.load(key, &|head| head == b"new").await.unwrap().unwrap();
        loaded.body.collect().await.unwrap().to_bytes() == body("/300000/x")
    };
    store.save(key, record.clone()).await.unwrap();
    // Told apart from what would be sent again.
    each_key(&server, "b:", "redis.call('SETRANGE',k,5,'#')");
    (record.head, record.confirmed) = (Bytes::from_static(b"new"), true);
    store.save(key, record.clone()).await.unwrap();
    assert!(!is_whole().await, "the chunks stayed as they were");
    record.confirmed = false;
    store.save(key, record.clone()).await.unwrap();
    assert!(is_whole().await);
    // What is gone is sent again in any case.
    each_key(&server, "b:", "redis.call('DEL',k)");
    record.confirmed = true;
    store.save(key, record.clone()).await.unwrap();
    assert!(is_whole().await);
}

#[tokio::test]
async fn a_record_has_as_many_tags_as_a_cache_stores() {
    let server = Server::start();
    let store = CacheStore::new(Redis::new(&server.url()).unwrap().deadline(PATIENCE));
    let (key, mut record) = saved("/").await;
    assert!(store.load(key, &|_| true).await.unwrap().is_none());
    record.position = store.position();
    (record.tags, record.groups) = ((0..1000).map(|n| n.to_string()).collect(), Vec::new());
    store.save(key, record).await.unwrap();
    assert!(store.load(key, &|_| true).await.unwrap().is_some());
    store.purge(&Purge::tag("999"), None).await.unwrap();
    assert!(store.load(key, &|_| true).await.unwrap().is_none());
}

/// What a cache would save of a response.
async fn saved(path: &str) -> (StoreKey, Record) {
    let seen = Catcher::default();
    let cache = ResponseCache::new("test").over(seen.clone());
    let service = CacheLayer::new(cache).layer(Origin::default());
    let request = Request::get(path).header("host", "a.test").body(Empty::new()).unwrap();
    service.oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    until("the write", || seen.0.lock().unwrap().is_some()).await;
    seen.0.lock().unwrap().take().unwrap()
}

/// A store that remembers what was last saved.
#[derive(Clone, Debug, Default)]
struct Catcher(Arc<Mutex<Option<(StoreKey, Record)>>>);

impl Store for Catcher {
    fn load<'a>(
        &'a self,
        _: StoreKey,
        _: &'a (dyn Fn(&[u8]) -> bool + Send + Sync),
    ) -> StoreFuture<'a, Option<Loaded>> {
        Box::pin(async { Ok(None) })
    }

    fn save(&self, key: StoreKey, record: Record) -> StoreFuture<'_, ()> {
        *self.0.lock().unwrap() = Some((key, record));
        Box::pin(async { Ok(()) })
    }

    fn purge<'a>(&'a self, _: &'a Purge, _: Option<StoreKey>) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn what_redis_evicts_brings_nothing_back() {
    let server = Server::start();
    let one = Node::new(&server).await;
    one.get("/300000/x").await;
    has_record(&server, 1).await;
    for kind in ["m:", "clock", "b:", "r:"] {
        let two = Node::new(&server).await;
        assert!(
            two.get("/300000/x").await.contains("hit"),
            "{kind} {:?} {:?}",
            two.cache.snapshot(),
            two.redis.snapshot()
        );
        each_key(&server, kind, "redis.call('DEL',k)");
        let three = Node::new(&server).await;
        assert!(three.get("/300000/x").await.contains("miss"), "{kind}");
        assert_eq!(three.calls(), 1, "{kind}");
        settled(&server).await;
    }
}

#[tokio::test]
async fn garbage_is_a_miss_and_is_replaced() {
    let server = Server::start();
    let one = Node::new(&server).await;
    let paths = ["/10/a", "/300000/b"];
    for path in paths {
        one.get(path).await;
    }
    for (kind, garbage) in [
        ("r:", "redis.call('SET',k,'garbage')"),
        (
            "r:",
            "for _,f in ipairs(redis.call('HKEYS',k)) do redis.call('HSET',k,f,'\\xc1\\xff') end",
        ),
        (
            "r:",
            "for _,f in ipairs(redis.call('HKEYS',k)) do redis.call('HSET',k,f,cmsgpack.pack({1,2,3})) end",
        ),
        ("b:", "redis.call('SET',k,'garbage')"),
        ("b:", "redis.call('DEL',k) redis.call('LPUSH',k,1)"),
        ("m:", "redis.call('SET',k,'garbage')"),
        ("m:", "redis.call('DEL',k) redis.call('LPUSH',k,1)"),
        ("m:", "redis.call('SET',k,'9000000000000000')"),
        ("clock", "redis.call('SET',k,'garbage')"),
        ("clock", "redis.call('HSET',k,'last','nan','floor','-1','prefixed','x')"),
        ("clock", "redis.call('HSET',k,'prefixed','9000000000000000','prefixes','\\xc1')"),
    ] {
        settled(&server).await;
        each_key(&server, kind, garbage);
        let two = Node::new(&server).await;
        for path in paths {
            two.get(path).await;
        }
        assert_eq!(two.calls(), 2, "{kind} {garbage}");
        // And again, now that it has been replaced.
        let mut healed = false;
        for _ in 0..100 {
            let three = Node::new(&server).await;
            for path in paths {
                three.get(path).await;
            }
            healed = three.calls() == 0;
            if healed {
                break;
            }
            settled(&server).await;
        }
        assert!(healed, "{kind} {garbage}");
    }
}

#[tokio::test]
async fn a_frozen_server_costs_its_deadline_a_few_times() {
    let server = Server::start();
    let (one, two) = (Node::new(&server).await, Node::hasty(&server).await);
    one.get("/").await;
    has_record(&server, 1).await;
    two.get("/warm").await;
    server.freeze();
    let start = Instant::now();
    for n in 0..100 {
        two.get(&format!("/10/{n}")).await;
    }
    let (took, limit) = (start.elapsed(), 12 * DEADLINE);
    assert!(took < limit, "{took:?}");
    println!(
        "bar: cache-100-misses-while-redis-is-frozen-milliseconds {} {} ok",
        took.as_millis(),
        limit.as_millis()
    );
    assert_eq!(two.calls(), 101);
    server.thaw();
    until("the server", || two.redis.snapshot().value("bartizan_redis_away", "") == Some(0.0))
        .await;
    // What it has is read again, as soon as it is asked again.
    for n in 0..1000 {
        let path = format!("/10/again{n}");
        one.get(&path).await;
        settled(&server).await;
        if two.get(&path).await.contains("hit") {
            return;
        }
    }
    panic!("the server was not asked again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_server_is_a_miss_and_one_that_comes_back_is_used() {
    let mut server = Server::start();
    let (one, two) = (Node::hasty(&server).await, Node::hasty(&server).await);
    one.get("/").await;
    two.get("/").await;
    tokio::task::block_in_place(|| server.kill());
    for n in 0..50 {
        one.get(&format!("/10/{n}")).await;
    }
    assert!(one.get("/").await.contains("hit"), "what is in memory is served");
    assert_eq!(one.calls(), 51);
    // A purge meanwhile: the other cannot know of it yet.
    two.cache.purge(&Purge::tag("all"));
    tokio::task::block_in_place(|| server.restart());
    one.listens().await;
    // By now the one may have missed purges, and has dropped all.
    until("the store", || one.redis.snapshot().value("bartizan_redis_away", "") == Some(0.0)).await;
    for _ in 0..200 {
        if one.get("/").await.contains("miss") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the one never heard of the purge");
}

#[tokio::test]
async fn a_subscription_that_is_cut_drops_memory_only_if_a_purge_was_missed() {
    let server = Server::start();
    let (one, two) = (Node::new(&server).await, Node::new(&server).await);
    one.get("/").await;
    has_record(&server, 1).await;
    two.get("/").await;
    // It looked, had its turn, and wrote.
    until("the write", || one.done() >= 3.0).await;
    let old = listeners(&server);
    server.say("CLIENT KILL TYPE pubsub");
    until("the new ones", || {
        let new = listeners(&server);
        new.len() == old.len() && new.iter().all(|id| !old.contains(id))
    })
    .await;
    one.listens().await;
    let before = one.done();
    assert!(one.get("/").await.contains("hit"));
    assert_eq!(one.done(), before, "nothing was missed: it came from memory");
    // Said while nobody listens.
    server.say("HINCRBY {bartizan:cache}:clock last 1");
    server.say("CLIENT KILL TYPE pubsub");
    for _ in 0..200 {
        one.get("/").await;
        if one.done() > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("what may have been purged was served on");
}

#[tokio::test]
async fn what_was_only_written_is_dropped_too_when_a_purge_was_missed() {
    let server = Server::start();
    let [one, _] = slow(&server, Duration::ZERO).await;
    // In shadow it writes, to memory too, and never looks.
    one.cache.switch().set(Mode::Shadow);
    let request = Request::get("/").header("host", "a.test").body(Empty::new()).unwrap();
    let response = one.service.clone().oneshot(request).await.unwrap();
    response.into_body().collect().await.unwrap();
    has_record(&server, 1).await;
    let stored = || one.value("bartizan_cache_stored_resources", "");
    assert_eq!(stored(), 1.0);
    // Said while nobody listens.
    server.say("HINCRBY {bartizan:cache}:clock last 1");
    server.say("CLIENT KILL TYPE pubsub");
    until("the drop", || stored() == 0.0).await;
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_stored_here() {
    let server = Server::start();
    let node = || Node::with(&server, |store| store.max_body_bytes(1000));
    let (one, two) = (node().await, node().await);
    one.get("/1001/x").await;
    one.get("/1000/y").await;
    has_record(&server, 1).await;
    two.get("/1000/y").await;
    assert_eq!(two.calls(), 0);
    two.get("/1001/x").await;
    assert_eq!(two.calls(), 1);
}

#[tokio::test]
async fn everything_in_redis_expires() {
    let server = Server::start();
    let one = Node::new(&server).await;
    one.get("/300000/x").await;
    has_record(&server, 1).await;
    one.cache.purge(&Purge::tag("all"));
    // It looked, had its turn, wrote, and purged.
    until("the purge", || one.done() >= 4.0).await;
    for kind in ["r:", "b:", "m:"] {
        assert!(keys(&server, kind) > 0);
        each_key(&server, kind, "if redis.call('PTTL',k)<1 then return 0 end");
    }
}

/// Two processes over services that take their time.
async fn slow(server: &Server, delay: Duration) -> [Arc<Node>; 2] {
    two(server, &Origin { delay, ..Origin::default() }, patient()).await
}

/// Two processes over such services, each of its own counts.
async fn two(server: &Server, origin: &Origin, settings: Settings) -> [Arc<Node>; 2] {
    let node = || async {
        let counts = Origin::default();
        let origin = Origin { calls: counts.calls, paths: counts.paths, ..origin.clone() };
        Arc::new(Node::over(server, origin, settings.clone(), PATIENCE, |store| store).await)
    };
    [node().await, node().await]
}

/// Asks both so many times at once, and returns how often the service was.
async fn stampede(nodes: &[Arc<Node>; 2], path: &'static str, count: usize) -> usize {
    let before = nodes[0].calls() + nodes[1].calls();
    let mut asking = JoinSet::new();
    for n in 0..count {
        let node = Arc::clone(&nodes[n % 2]);
        asking.spawn(async move { node.ask(path, "none").await });
    }
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    nodes[0].calls() + nodes[1].calls() - before
}

#[tokio::test]
async fn a_thousand_misses_at_two_processes_are_one_fetch() {
    let server = Server::start();
    let nodes = slow(&server, Duration::from_millis(100)).await;
    for path in ["/10/a", "/1000/b", "/200000/c"] {
        let count = if path.contains('c') { 50 } else { 1000 };
        let fetches = stampede(&nodes, path, count).await;
        assert_eq!(fetches, 1, "{path}");
        println!("bar: cache-fetches-for-{count}-misses-at-two-nodes {fetches} 1 ok");
    }
}

#[tokio::test]
async fn variants_at_two_processes_are_one_fetch_each_and_neither_passes_for_unshared() {
    let server = Server::start();
    let nodes = slow(&server, Duration::from_millis(100)).await;
    let mut asking = JoinSet::new();
    for n in 0..40 {
        let (node, language) = (Arc::clone(&nodes[n % 2]), ["de", "en"][n % 2]);
        asking.spawn(async move { node.ask("/10/a", language).await });
    }
    // While whoever waited for another's variant asks for its own, more come.
    until("both", || nodes.iter().all(|node| node.calls() == 1)).await;
    for n in 0..40 {
        let (node, language) = (Arc::clone(&nodes[n % 2]), ["de", "en"][n % 2]);
        asking.spawn(async move { node.ask("/10/a", language).await });
    }
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    assert_eq!((nodes[0].calls(), nodes[1].calls()), (1, 1));
}

#[tokio::test]
async fn what_is_not_for_others_is_waited_for_once() {
    let server = Server::start();
    let origin = Origin { private: true, delay: Duration::from_millis(50), ..Origin::default() };
    let nodes = two(&server, &origin, patient()).await;
    let start = Instant::now();
    assert_eq!(stampede(&nodes, "/10/a", 20).await, 20);
    assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
    // From then on all are asked for at once, at both: ten and ten.
    origin.together.store(nodes[0].calls() + 10, SeqCst);
    assert_eq!(stampede(&nodes, "/10/a", 20).await, 20);
}

/// One key: a process's leader goes away at a random moment, alone or not, and others ask at both
/// processes before and after. Returns how long the last of them waited.
async fn leader_goes(nodes: [Arc<Node>; 2], path: String, alone: bool) -> Duration {
    let ask = |n: usize| {
        let (node, path) = (Arc::clone(&nodes[n]), path.clone());
        tokio::spawn(async move {
            let start = Instant::now();
            node.ask(&path, "none").await;
            start.elapsed()
        })
    };
    let leader = ask(0);
    // Some while it takes its turn, some while it asks, some when it has been answered.
    let moment = Duration::from_micros(fastrand::u64(0..50_000));
    tokio::time::sleep(moment / 2).await;
    let mut staying = vec![ask(1), ask(1)];
    if !alone {
        staying.push(ask(0));
    }
    tokio::time::sleep(moment / 2).await;
    leader.abort();
    let kept = leader.await.is_ok();
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..80))).await;
    staying.push(ask(1));
    let mut longest = Duration::ZERO;
    for stayed in staying {
        longest = longest.max(stayed.await.unwrap());
    }
    let calls = nodes.iter().map(|node| node.calls_for(&path)).sum::<usize>();
    // What one alone had asked is in vain if nobody is left who wants it.
    let most = if alone && !kept { 2 } else { 1 };
    assert!((1..=most).contains(&calls), "{calls} for {path}, {moment:?}");
    longest
}

#[tokio::test]
async fn a_turn_that_was_left_says_nothing_of_the_answer() {
    let server = Server::start();
    let nodes = slow(&server, Duration::from_millis(200)).await;
    let ask = |n: usize| {
        let node = Arc::clone(&nodes[n]);
        tokio::spawn(async move { node.ask("/10/a", "none").await })
    };
    let leader = ask(0);
    until("the request", || nodes[0].calls() == 1).await;
    let waiting = ask(1);
    tokio::time::sleep(Duration::from_millis(20)).await;
    leader.abort();
    until("the other's request", || nodes[1].calls() == 1).await;
    // As many as come meanwhile, to either, wait for it.
    let late: Vec<_> = (0..20).map(|n| ask(n % 2)).collect();
    for asked in late.into_iter().chain([waiting]) {
        asked.await.unwrap();
    }
    assert_eq!((nodes[0].calls(), nodes[1].calls()), (1, 1));
}

#[tokio::test]
async fn a_leader_that_is_cancelled_a_thousand_times_leaves_its_turn_to_another() {
    let server = Server::start();
    let nodes = slow(&server, Duration::from_millis(20)).await;
    let (mut longest, mut held) = (Duration::ZERO, 0);
    for batch in 0..20 {
        let mut rounds = JoinSet::new();
        for round in 0..50 {
            let path = format!("/2000/{batch}/{round}");
            rounds.spawn(leader_goes(nodes.clone(), path, round % 2 == 0));
        }
        while let Some(round) = rounds.join_next().await {
            longest = longest.max(round.unwrap());
            held += 1;
        }
    }
    assert!(longest < PATIENCE / 2, "no turn was left behind: {longest:?}");
    println!("bar: cache-leaders-cancelled-at-two-nodes {held} 1000 ok");
}

#[tokio::test]
async fn a_turn_that_nobody_gives_back_ends() {
    let server = Server::start();
    let settings = Settings::default().store_deadline(PATIENCE);
    let nodes = two(&server, &Origin::default(), settings).await;
    nodes[0].get("/10/a").await;
    has_record(&server, 1).await;
    // A process that died while it had the turn; one that left something without an end.
    each_key(
        &server,
        "r:",
        "local l = k:gsub(':r:',':l:') redis.call('SET',l,'x','PX',60000) redis.call('DEL',k)",
    );
    let start = Instant::now();
    nodes[1].ask("/10/a", "none").await;
    assert!(start.elapsed() > Duration::from_secs(2), "half of the wait limit");
    has_record(&server, 1).await;
    each_key(&server, "l:", "redis.call('DEL',k) redis.call('LPUSH',k,1)");
    each_key(&server, "r:", "redis.call('DEL',k)");
    let three = Node::new(&server).await;
    three.get("/10/a").await;
    assert_eq!(three.calls(), 1);
}
