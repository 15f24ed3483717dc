//! What a limit over Redis costs: a decision beside a PING, and what leases save.
//!
//! Starts a `redis-server` of its own on loopback. The two are asked in turns over connections of
//! one kind, so that whatever else the machine does meets both. Leases are measured in virtual time,
//! so that figure is exact.
//!
//! Exits with 1 if a bar is not met.

use std::process::ExitCode;
use std::time::Duration;

use bartizan::core::Key;
use bartizan::rate_limit::{Ration, Store, Taking};
use bartizan::redis::{Clock, RateLimitStore, Redis};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, ProtocolVersion, Script};

use crate::fleet::{BURST, LIMIT, run};
use crate::server::Server;

#[allow(unused_imports, reason = "its tests do not run here")]
#[path = "../../crates/redis/src/fleet.rs"]
mod fleet;
#[allow(dead_code, reason = "the simulation needs a part of it")]
#[path = "../../crates/redis/src/lease.rs"]
mod lease;
#[path = "../../crates/redis/tests/server/mod.rs"]
mod server;

const ROUNDS: usize = 200;
const PER_ROUND: usize = 100;

fn main() -> ExitCode {
    let mut met = true;
    met &= trips();
    println!();
    met &= leases();
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a bar's line, and says whether it is met.
fn bar(case: &str, measured: f64, limit: f64) -> bool {
    let met = measured <= limit;
    println!("bar: {case} {measured:.3} {limit} {}", if met { "ok" } else { "short" });
    met
}

fn trips() -> bool {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be had");
    let [ping, least, decision, two, local] = runtime.block_on(measure(&server));
    println!("p50 in microseconds, one at a time:");
    for (what, p50) in [
        ("PING", ping),
        ("the least of scripts", least),
        ("decision", decision),
        ("decision by two policies", two),
        ("decision within a lease", local),
    ] {
        println!("{what:28} {p50:8.2}");
    }
    bar("redis-decision-vs-ping-p50", decision / ping, 1.5)
}

/// Reads the clock and a key, and writes it, as every limit must: what no script can do without.
const LEAST: &str = "redis.call('TIME') redis.call('GET', KEYS[1]) \
                     redis.call('SET', KEYS[1], '0123456789abcdef', 'PX', '2') return {0, 0}";

async fn measure(server: &Server) -> [f64; 5] {
    let mut connection = connect(&server.url()).await;
    let least = Script::new(LEAST);
    least.load_async(&mut connection).await.expect("a script");
    let mut run = redis::cmd("EVALSHA");
    run.arg(least.get_hash()).arg(1).arg("bartizan:{00000000000000000000000000000000}:least");
    let redis = Redis::new(&server.url()).expect("a URL").deadline(Duration::from_secs(5));
    let store = RateLimitStore::new(redis.clone());
    let leasing = RateLimitStore::new(redis).lease(1_000);
    // A million a second: nothing is refused, and every decision writes.
    let ration = |policy, n: u64| Ration::new("bench", policy, Key::of(&n), 1_000, 1_000_000);
    let clock = Clock::system();
    let since = |start: bartizan::redis::Timestamp| {
        clock.now().saturating_since(start).as_nanos() as f64 / 1_000.0
    };
    let [mut pings, mut leasts, mut decisions, mut twos, mut locals] = [const { Vec::new() }; 5];
    for round in 0..ROUNDS {
        for n in 0..PER_ROUND {
            let key = n as u64 % 10;
            let start = clock.now();
            let answer = connection.send_packed_command(&redis::cmd("PING")).await;
            pings.push(since(start));
            answer.expect("the server answers");

            let start = clock.now();
            let answer = connection.send_packed_command(&run).await;
            leasts.push(since(start));
            answer.expect("the server answers");

            let start = clock.now();
            ask(&store, &[ration("one", key)]).await;
            decisions.push(since(start));

            let start = clock.now();
            ask(&store, &[ration("one", key), ration("two", key)]).await;
            twos.push(since(start));

            let start = clock.now();
            ask(&leasing, &[ration("leased", 0)]).await;
            locals.push(since(start));
        }
        if round == 0 {
            // Connections, and the script.
            for figures in [&mut pings, &mut leasts, &mut decisions, &mut twos, &mut locals] {
                figures.clear();
            }
        }
    }
    [pings, leasts, decisions, twos, locals].map(median)
}

async fn connect(url: &str) -> MultiplexedConnection {
    let info = url.into_connection_info().expect("a URL");
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let tcp = TcpSettings::default().set_nodelay(true);
    let client = Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp));
    let connection = client.expect("a client").get_multiplexed_async_connection().await;
    connection.expect("the server is there")
}

async fn ask(store: &RateLimitStore, rations: &[Ration<'_>]) {
    let result = match store.take(rations) {
        Taking::Trip(trip) => trip.await,
        Taking::Done(result) => result,
        _ => unreachable!("there is no other way to answer"),
    };
    assert_eq!(result.expect("the server answers").refused, 0);
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn leases() -> bool {
    println!("ten processes, a limit of {LIMIT} a second with a burst of {BURST}, for a minute:");
    println!(
        "offered  lease  trips/decision  admitted/limit  admitted/offered  worst second  \
         smallest share"
    );
    let mut met = Vec::new();
    let mut bars = Vec::new();
    for times in [0.9, 2.0, 10.0] {
        for most in [1, 10, 50] {
            let run = run(10, times * LIMIT as f64, most, 1);
            println!(
                "{times:6}x  {most:5}  {:14.3}  {:14.4}  {:16.4}  {:12}  {:14.2}",
                run.trips_per_decision,
                run.admitted_of_allowed,
                run.admitted_of_offered,
                run.worst_second,
                run.smallest_share
            );
            if most == 10 {
                bars.push((times, run));
            }
        }
    }
    for (times, run) in bars {
        let case = |what: &str| format!("redis-lease-10-at-{times}x-{what}");
        let trips = if times < 1.0 { 0.15 } else { 0.25 };
        met.push(bar(&case("trips-per-decision"), run.trips_per_decision, trips));
        met.push(bar(&case("admitted-of-allowed"), run.admitted_of_allowed, 1.0));
        let worst = run.worst_second as f64;
        met.push(bar(&case("worst-second"), worst, (LIMIT + BURST) as f64));
    }
    met.iter().all(|met| *met)
}
