//! Limits that are counted at a real server.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod server;

use std::pin::Pin;
use std::process::{Command, Stdio};
use std::task::Poll;
use std::time::Duration;

use bartizan_rate_limit::{Debts, Key, Ration, Store, StoreError, Taking, key};
use bartizan_redis::{Clock, Engine, RateLimitStore, Redis};
use server::Server;

const SECOND: u64 = 1_000_000_000;

/// With a deadline that a busy machine does not miss.
fn redis(server: &Server) -> Redis {
    Redis::new(&server.url()).unwrap().deadline(Duration::from_secs(5))
}

async fn ask(store: &RateLimitStore, rations: &[Ration<'_>]) -> Result<Debts, StoreError> {
    match store.take(rations) {
        Taking::Done(result) => result,
        Taking::Trip(trip) => trip.await,
        _ => unreachable!("there is no other way to answer"),
    }
}

fn ration(policy: &'static str, key: &str, interval: u64, burst: u32) -> Ration<'static> {
    key::share(b"the same in every process").unwrap();
    Ration::new("limiter", policy, Key::of(key), interval, burst)
}

async fn admitted(store: &RateLimitStore, ration: Ration<'_>, tries: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..tries {
        admitted += usize::from(ask(store, &[ration]).await.unwrap().refused == 0);
    }
    admitted
}

#[tokio::test]
async fn the_burst_is_spent_once_by_all_clients() {
    let server = Server::start();
    let [first, second] = [(); 2].map(|()| RateLimitStore::new(redis(&server)));
    let hourly = ration("hourly", "alice", 3600 * SECOND, 3);
    assert_eq!(ask(&first, &[hourly]).await.unwrap().ahead, [3600 * SECOND, 0, 0, 0]);
    assert_eq!(admitted(&second, hourly, 5).await, 2);
    assert_eq!(admitted(&first, hourly, 5).await, 0);
    assert_eq!(admitted(&first, ration("hourly", "bob", 3600 * SECOND, 3), 5).await, 3);
    // Another limiter counts for itself, whatever its name.
    let mut other = hourly;
    (other.limiter, other.policy) = ("limiter:hourly", "x");
    assert_eq!(admitted(&first, other, 5).await, 3);
}

#[tokio::test]
async fn policies_are_judged_all_or_nothing_in_one_trip() {
    let server = Server::start();
    let redis = redis(&server);
    let store = RateLimitStore::new(redis.clone());
    let small = ration("small", "alice", 3600 * SECOND, 1);
    // Of another key, as of the caller's tenant.
    let large = ration("large", "tenant", 3600 * SECOND, 10);
    let mut shadow = ration("shadow", "alice", 3600 * SECOND, 1);
    shadow.enforced = false;
    let asked = [large, small, shadow];
    assert_eq!(ask(&store, &asked).await.unwrap().refused, 0);
    let refused = ask(&store, &asked).await.unwrap();
    assert_eq!(refused.refused, 0b110);
    // Nothing of the large one was spent but by the first.
    assert_eq!(refused.ahead[0].div_ceil(3600 * SECOND), 1);
    assert_eq!(admitted(&store, large, 20).await, 9);
    // One that is not enforced stops nobody, and is spent of no further.
    let shadowed = ask(&store, &[shadow]).await.unwrap();
    assert_eq!((shadowed.refused, shadowed.ahead[0].div_ceil(3600 * SECOND)), (1, 1));
    let trips = redis.snapshot().value("bartizan_redis_trips_total", "answered");
    assert_eq!(trips, Some(2.0 + 20.0 + 1.0));
}

#[tokio::test]
async fn a_caller_has_one_slot_and_no_key_outlives_its_debt() {
    let server = Server::start();
    let store = RateLimitStore::new(redis(&server)).prefix("shop").unwrap();
    let rations = [ration("a", "x", 60 * SECOND, 5), ration("b", "x", 20 * SECOND, 5)];
    ask(&store, &rations).await.unwrap();
    let keys = server.say("KEYS *");
    let key = format!("{:032x}", rations[0].key.as_u128());
    assert!(keys.contains(&format!("shop:{{{key}}}:limiter:a\r\n")), "{keys}");
    assert!(keys.contains(&format!("shop:{{{key}}}:limiter:b\r\n")), "{keys}");
    for (policy, debt) in [("a", 60_000), ("b", 20_000)] {
        let left = server.say(&format!("PTTL shop:{{{key}}}:limiter:{policy}"));
        let left: i64 = left[1..].split('\r').next().unwrap().parse().unwrap();
        // The server's milliseconds, and one more, are added.
        assert!((1..=debt + 2).contains(&left), "{left}");
    }
    assert!(RateLimitStore::new(redis(&server)).prefix("a{b").is_err());
}

#[tokio::test]
async fn a_tier_of_a_shorter_burst_forgives_no_debt_of_a_longer_one() {
    let server = Server::start();
    for lease in [1, 10] {
        let redis = redis(&server);
        let store = RateLimitStore::new(redis.clone()).lease(lease);
        let mut base = ration("calls", &format!("lease {lease}"), 60 * SECOND, 1);
        let mut gold = ration("calls", &format!("lease {lease}"), 60 * SECOND, 20);
        (base.longest, gold.longest) = (20 * 60 * SECOND, 20 * 60 * SECOND);
        let mut shadow = base;
        shadow.enforced = false;
        let mut free = base;
        free.cost = 0;
        let mut passed = 0;
        for round in 1..=3 {
            passed += admitted(&store, gold, 25).await;
            let refused = ask(&store, &[base]).await.unwrap();
            assert_eq!(refused.refused, 1);
            assert_eq!(refused.ahead[0].div_ceil(60 * SECOND), 20);
            assert_eq!(ask(&store, &[shadow]).await.unwrap().refused, 1);
            // What is free is allowed, and forgives nothing either.
            assert_eq!(ask(&store, &[free]).await.unwrap().refused, 0);
            store.adjust(&base, 1);
            let sent = || redis.snapshot().value("bartizan_redis_corrections_total", "sent");
            until(|| sent() >= Some(f64::from(round))).await;
        }
        assert_eq!(passed, 20, "lease of {lease}");
        // A debt that no tier can have goes down to what the longest can.
        base.longest = 60 * SECOND;
        assert_eq!(ask(&store, &[base]).await.unwrap().ahead[0], 60 * SECOND);
    }
}

#[tokio::test]
async fn a_script_that_the_server_has_forgotten_is_sent_again() {
    let server = Server::start();
    let store = RateLimitStore::new(redis(&server));
    let hourly = ration("hourly", "alice", 3600 * SECOND, 3);
    assert_eq!(admitted(&store, hourly, 1).await, 1);
    server.say("SCRIPT FLUSH");
    assert_eq!(admitted(&store, hourly, 5).await, 2);
}

#[tokio::test]
async fn what_others_have_written_is_survived() {
    let server = Server::start();
    let store = RateLimitStore::new(redis(&server));
    let hourly = ration("p", "alice", 3600 * SECOND, 2);
    let key = format!("bartizan:{{{:032x}}}:limiter:p", hourly.key.as_u128());
    for garbage in ["SET KEY garbled", "HSET KEY a b", "LPUSH KEY a", "SET KEY 1e308"] {
        server.say(&format!("DEL {key}"));
        server.say(&garbage.replace("KEY", &key));
        assert_eq!(admitted(&store, hourly, 5).await, 2, "{garbage}");
    }
}

#[tokio::test]
async fn corrections_reach_the_server() {
    let server = Server::start();
    for lease in [1, 5] {
        let redis = redis(&server);
        let store = RateLimitStore::new(redis.clone()).lease(lease);
        let ration = ration("hourly", &format!("lease {lease}"), 3600 * SECOND, 4);
        assert_eq!(admitted(&store, ration, 5).await, 4);
        store.adjust(&ration, -3);
        store.adjust(&ration, 1);
        until(|| redis.snapshot().value("bartizan_redis_corrections_total", "sent") == Some(2.0))
            .await;
        assert_eq!(admitted(&store, ration, 5).await, 2, "lease of {lease}");
    }
}

#[tokio::test]
async fn leases_are_spent_here_and_returned() {
    let server = Server::start();
    let redis = redis(&server);
    let store = RateLimitStore::new(redis.clone()).lease(10);
    let ration = ration("p", "alice", SECOND / 10_000, 10_000);
    let trips = || redis.snapshot().value("bartizan_redis_trips_total", "answered").unwrap();
    assert_eq!(admitted(&store, ration, 2_000).await, 2_000);
    assert!(trips() < 400.0, "{} trips", trips());
    // Nobody else sees what is unspent until it is given back.
    until(|| {
        redis.snapshot().value("bartizan_redis_corrections_total", "sent").unwrap_or(0.0) > 0.0
    })
    .await;
    let twin = RateLimitStore::new(redis.clone());
    assert_eq!(ask(&twin, &[ration]).await.unwrap().ahead[0], SECOND / 10_000);
}

#[tokio::test]
async fn a_lease_is_heard_of_though_its_request_was_given_up() {
    let server = Server::start();
    let store = RateLimitStore::new(redis(&server)).lease(10);
    let ration = ration("p", "alice", SECOND / 10_000, 10_000);
    // Busy enough for leases of several units.
    assert_eq!(admitted(&store, ration, 2_000).await, 2_000);
    let mut asking = loop {
        match store.take(&[ration]) {
            Taking::Trip(trip) => break trip,
            _ => continue,
        }
    };
    let sent = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut asking).poll(cx)));
    assert!(sent.await.is_pending());
    drop(asking);
    // Those that come next are told at once, and no trip of theirs is ever begun.
    until(|| matches!(store.take(&[ration]), Taking::Done(Ok(_)))).await;
}

#[tokio::test]
async fn leases_end_though_the_queue_of_corrections_was_full() {
    let server = Server::start();
    let (redis, clock) = (redis(&server), Clock::manual());
    let store = RateLimitStore::new(redis.clone()).lease(10).clock(clock.clone());
    let other = ration("p", "bob", 3600 * SECOND, 5);
    let mut ration = ration("p", "alice", SECOND / 10_000, 10_000);
    ration.cost = 50;
    // Nothing is sent before the first await.
    for _ in 0..5_000 {
        store.adjust(&other, -1);
    }
    ask(&store, &[ration]).await.unwrap();
    ration.cost = 1;
    ask(&store, &[ration]).await.unwrap();
    let count = |outcome| redis.snapshot().value("bartizan_redis_corrections_total", outcome);
    let queued = 5_000.0 - count("dropped").unwrap();
    until(|| count("sent") == Some(queued)).await;
    clock.advance(Duration::from_secs(2));
    until(|| count("sent") == Some(queued + 1.0)).await;
}

#[tokio::test]
async fn of_several_leases_all_are_spent_or_none() {
    let server = Server::start();
    let store = RateLimitStore::new(redis(&server)).lease(10);
    let large = ration("large", "alice", 3600 * SECOND, 1_000);
    let small = ration("small", "alice", 3600 * SECOND, 5);
    let mut passed = 0;
    for _ in 0..50 {
        passed += usize::from(ask(&store, &[large, small]).await.unwrap().refused == 0);
    }
    assert_eq!(passed, 5);
    let ahead = ask(&store, &[large, small]).await.unwrap().ahead[0];
    assert_eq!(ahead.div_ceil(3600 * SECOND), 5);
}

/// Waits, for at most ten seconds, until something is so.
async fn until(mut so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never was so");
}

/// Tells a process that it is a child of this test, and of which server.
const CHILD: &str = "BARTIZAN_TEST_CHILD";
const RATE: u64 = 500;
const BURST: u32 = 50;

#[test]
fn processes_together_never_exceed_the_limit() {
    if let Ok(task) = std::env::var(CHILD) {
        return child(&task);
    }
    for lease in [1, 10] {
        let server = Server::start();
        let before = unix_nanos(&server);
        let children = [(); 2].map(|()| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "processes_together_never_exceed_the_limit", "--nocapture"])
                .env(CHILD, format!("{} {lease}", server.url()))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        });
        let admitted = children.map(|child| {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{text}");
            let figure = text.lines().find_map(|line| line.split_once("admitted: ")).unwrap().1;
            figure.trim().parse::<u64>().unwrap()
        });
        let passed = unix_nanos(&server) - before;
        let most = u64::from(BURST) + passed * RATE / SECOND;
        let all = admitted[0] + admitted[1];
        assert!(all <= most, "{admitted:?} of {most} with leases of {lease}");
        // Each had some, however late it came to run, and together most of what a second holds.
        assert!(admitted.iter().all(|share| *share > 0), "{admitted:?}");
        assert!(all > RATE / 2, "{admitted:?}");
    }
}

fn unix_nanos(server: &Server) -> u64 {
    let time = server.say("TIME");
    let numbers: Vec<u64> = time.lines().filter_map(|line| line.parse().ok()).collect();
    numbers[0] * SECOND + numbers[1] * 1_000
}

/// Asks as fast as it can, for a second.
fn child(task: &str) {
    let (url, lease) = task.split_once(' ').unwrap();
    let redis = Redis::new(url).unwrap().deadline(Duration::from_secs(5));
    let store = RateLimitStore::new(redis).lease(lease.parse().unwrap());
    let ration = ration("p", "shared", SECOND / RATE, BURST);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let admitted = runtime.block_on(async {
        let asking = async {
            let mut admitted = 0;
            let end = tokio::time::Instant::now() + Duration::from_secs(1);
            while tokio::time::Instant::now() < end {
                admitted += usize::from(ask(&store, &[ration]).await.unwrap().refused == 0);
                tokio::task::yield_now().await;
            }
            admitted
        };
        asking.await
    });
    println!("\nadmitted: {admitted}");
}

#[test]
fn settings_are_checked() {
    let redis = Redis::new("redis://127.0.0.1:1").unwrap();
    let apply = |text: &str| redis.apply(serde_json::from_str(text).unwrap());
    apply(r#"{"deadline_ms": 5}"#).unwrap();
    for wrong in [r#"{"deadline_ms": 0}"#, r#"{"deadline_ms": 60001}"#, r#"{"dead": 1}"#, "7"] {
        let error = apply(wrong).unwrap_err().to_string();
        assert!(error.contains("redis"), "{error}");
    }
    assert_eq!(redis.current_settings(), serde_json::json!({"deadline_ms": 5}));
}

#[test]
fn nothing_tells_the_password() {
    let url = "redis://:hunter2@secluded:6379/0";
    let redis = Redis::new(url).unwrap();
    let store = RateLimitStore::new(redis.clone());
    let mut shown = format!("{redis:?} {store:?} {:?}", redis.snapshot());
    for wrong in ["redis://:hunter2@secluded:port", "http://:hunter2@secluded"] {
        let error = Redis::new(wrong).unwrap_err();
        shown += &format!("{error} {error:?}");
    }
    assert!(!shown.contains("hunter2") && !shown.contains("secluded"), "{shown}");
}
