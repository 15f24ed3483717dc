//! What requests see of a server that is dead, frozen, restarted or out of its mind.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod server;

use std::time::Duration;

use bartizan_rate_limit::{Debts, Key, Mode, Ration, Store, StoreError, Taking};
use bartizan_redis::{Engine, RateLimitStore, Redis};
use server::Server;
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_millis(100);
/// What a timer, and a busy machine, add to the deadline at most: far less than it would take if
/// nobody looked at the deadline.
const GRACE: Duration = Duration::from_secs(2);
const RATION: Ration<'static> =
    Ration::new("limiter", "policy", Key::from_u128(7), 1_000_000, 1_000_000);

async fn ask(store: &RateLimitStore) -> Result<Debts, StoreError> {
    match store.take(&[RATION]) {
        Taking::Done(result) => result,
        Taking::Trip(trip) => trip.await,
        _ => unreachable!("there is no other way to answer"),
    }
}

/// Asks, and fails if that takes longer than it may.
async fn timed(store: &RateLimitStore) -> Result<Debts, StoreError> {
    let start = Instant::now();
    let result = ask(store).await;
    assert!(start.elapsed() < DEADLINE + GRACE, "{:?} for {result:?}", start.elapsed());
    result
}

/// Asks until the server answers, for at most five seconds.
async fn recovered(store: &RateLimitStore) {
    for _ in 0..500 {
        if timed(store).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the store never recovered");
}

fn client(server: &Server) -> (Redis, RateLimitStore) {
    let redis = Redis::new(&server.url()).unwrap().deadline(DEADLINE);
    (redis.clone(), RateLimitStore::new(redis))
}

fn value(redis: &Redis, metric: &str, outcome: &str) -> f64 {
    redis.snapshot().value(metric, outcome).unwrap()
}

#[tokio::test]
async fn the_first_request_finds_a_connection() {
    let server = Server::start();
    let (_, store) = client(&server);
    // Many at once wait for the one connection.
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { timed(&store).await })
        })
        .collect();
    for asked in asking {
        asked.await.unwrap().unwrap();
    }
    let clients = server.say("INFO clients");
    // The test's own is the other.
    assert!(clients.contains("connected_clients:2\r\n"), "{clients}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u06_killed_and_restarted_under_load() {
    let mut server = Server::start();
    let (redis, store) = client(&server);
    let load: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let (mut good, mut bad, mut times) = (0, 0, Vec::new());
                let end = Instant::now() + Duration::from_millis(2_500);
                while Instant::now() < end {
                    let start = Instant::now();
                    match timed(&store).await {
                        Ok(_) => good += 1,
                        // A request that was under way, and then everyone.
                        Err(StoreError::Unreachable) => bad += 1,
                        // The machine has other work to do.
                        Err(StoreError::Late) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                    times.push(start.elapsed());
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                times.sort();
                (good, bad, times[times.len() / 2])
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    tokio::task::block_in_place(|| server.kill());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(value(&redis, "bartizan_redis_away", ""), 1.0);
    assert_eq!(ask(&store).await, Err(StoreError::Unreachable));
    tokio::task::block_in_place(|| server.restart());
    for task in load {
        let (good, bad, median) = task.await.unwrap();
        assert!(good > 0 && bad > 0, "{good} {bad}");
        assert!(median < DEADLINE, "{median:?}");
    }
    recovered(&store).await;
    assert_eq!(value(&redis, "bartizan_redis_away", ""), 0.0);
}

#[tokio::test]
async fn u06_a_frozen_server_costs_a_few_requests_their_deadline_and_then_nobody() {
    let server = Server::start();
    let (redis, store) = client(&server);
    timed(&store).await.unwrap();
    server.freeze();
    for _ in 0..5 {
        assert_eq!(timed(&store).await, Err(StoreError::Late));
    }
    let start = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(ask(&store).await, Err(StoreError::Unreachable));
    }
    assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
    assert_eq!(value(&redis, "bartizan_redis_away", ""), 1.0);
    server.thaw();
    recovered(&store).await;
    assert_eq!(value(&redis, "bartizan_redis_away", ""), 0.0);
}

#[tokio::test]
async fn one_that_was_never_there_is_found_when_it_comes() {
    let mut server = Server::start();
    server.kill();
    let (redis, store) = client(&server);
    assert_eq!(timed(&store).await, Err(StoreError::Unreachable));
    assert_eq!(value(&redis, "bartizan_redis_away", ""), 1.0);
    server.restart();
    recovered(&store).await;
}

#[tokio::test]
async fn a_connection_that_the_server_closes_is_made_anew_before_the_next_request() {
    let server = Server::start();
    let (redis, store) = client(&server);
    timed(&store).await.unwrap();
    for _ in 0..3 {
        server.say("CLIENT KILL TYPE normal SKIPME yes");
        // No request is needed for it to be noticed.
        tokio::time::sleep(Duration::from_millis(100)).await;
        timed(&store).await.unwrap();
    }
    assert_eq!(value(&redis, "bartizan_redis_trips_total", "unreachable"), 0.0);
}

#[tokio::test]
async fn a_server_that_may_not_write_is_in_trouble_too() {
    let server = Server::start();
    let (redis, store) = client(&server);
    server.say("CONFIG SET min-replicas-to-write 1");
    for _ in 0..5 {
        assert_eq!(timed(&store).await, Err(StoreError::Garbled));
    }
    assert_eq!(timed(&store).await, Err(StoreError::Unreachable));
    assert_eq!(value(&redis, "bartizan_redis_trips_total", "garbled"), 5.0);
    server.say("CONFIG SET min-replicas-to-write 0");
    recovered(&store).await;
}

#[tokio::test]
async fn a_wrong_password_is_an_outage_and_no_secret() {
    let server = Server::start();
    server.say("CONFIG SET requirepass right");
    let connect = |password: &str| {
        let url = server.url().replace("127", &format!(":{password}@127"));
        RateLimitStore::new(Redis::new(&url).unwrap().deadline(DEADLINE))
    };
    let error = timed(&connect("wrong")).await.unwrap_err();
    assert_eq!(error, StoreError::Unreachable);
    assert!(!error.to_string().contains("wrong"));
    assert!(timed(&connect("right")).await.is_ok());
}

#[tokio::test]
async fn switched_off_the_server_is_not_asked() {
    let server = Server::start();
    let (redis, store) = client(&server);
    redis.switch().set(Mode::Off);
    assert_eq!(timed(&store).await, Err(StoreError::Unreachable));
    redis.switch().set(Mode::Enforce);
    timed(&store).await.unwrap();
}

#[tokio::test]
async fn a_lease_lasts_through_an_outage_and_requests_given_up_leave_nothing() {
    let server = Server::start();
    let (redis, _) = client(&server);
    let store = RateLimitStore::new(redis.clone()).lease(10);
    // Given up before it is even sent, and while it is under way.
    for _ in 0..20 {
        drop(store.take(&[RATION]));
        if let Taking::Trip(trip) = store.take(&[RATION]) {
            let soon = tokio::time::timeout(Duration::ZERO, trip);
            drop(soon.await);
        }
    }
    // Leases are still asked for.
    for _ in 0..300 {
        timed(&store).await.unwrap();
    }
    let before = value(&redis, "bartizan_redis_trips_total", "answered");
    let mut local = 0;
    server.freeze();
    while let Taking::Done(result) = store.take(&[RATION]) {
        result.unwrap();
        local += 1;
    }
    assert!(before < 200.0, "{before} trips for 300 requests");
    assert!(local < 10, "{local} of a lease of 10");
    server.thaw();
    recovered(&store).await;
}

#[tokio::test]
async fn corrections_that_cannot_be_sent_are_counted_and_do_not_grow() {
    let mut server = Server::start();
    server.kill();
    let (redis, store) = client(&server);
    for _ in 0..10_000 {
        store.adjust(&RATION, -1);
    }
    for _ in 0..500 {
        if value(&redis, "bartizan_redis_corrections_total", "dropped") == 10_000.0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", redis.snapshot());
}

#[test]
fn without_a_runtime_nothing_panics() {
    let redis = Redis::new("redis://127.0.0.1:1").unwrap();
    let store = RateLimitStore::new(redis.clone());
    store.adjust(&RATION, -1);
    drop(store.take(&[RATION]));
    assert_eq!(value(&redis, "bartizan_redis_corrections_total", "dropped"), 1.0);
}

#[test]
fn another_runtime_connects_anew() {
    let server = Server::start();
    let (_, store) = client(&server);
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(recovered(&store));
    }
}
