//! The script, on a clock that the test moves, beside the limiter that counts in memory.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::cell::Cell;
use std::time::Duration;

use bartizan_core::{Clock, Key, Mode};
use bartizan_rate_limit::{Ask, Policy, Quota, RateLimiter};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tokio::runtime::Runtime;

use crate::Redis;
use crate::script::Script;
use crate::server::Server;

/// The script with the time as its last argument, in microseconds. Keys do not expire, since that
/// goes by the server's own time.
fn on_a_clock(script: &'static str) -> Script {
    let mut lines = Vec::new();
    for line in script.lines() {
        let line = line.replace("redis.call('TIME')", "{0, table.remove(ARGV)}");
        let line = line.replace("call('TIME')", "{0, table.remove(ARGV)}");
        lines.push(match line.split_once(", 'PX'") {
            Some((before, _)) => format!("{before})"),
            None => line,
        });
    }
    Script::new(lines.join("\n").leak())
}

struct Bench {
    server: Server,
    runtime: Runtime,
    redis: Redis,
    take: Script,
    adjust: Script,
}

/// As a server of today would say it.
const START: i64 = 1_790_000_000_000_000;

impl Bench {
    fn new() -> Self {
        let server = Server::start();
        let redis = Redis::new(&server.url()).unwrap().deadline(Duration::from_secs(5));
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            redis,
            take: on_a_clock(include_str!("scripts/gcra.lua")),
            adjust: on_a_clock(include_str!("scripts/adjust.lua")),
            server,
        }
    }

    fn run(&self, script: &Script, keys: &[&str], arguments: &[i64], now: i64) -> Vec<i64> {
        let mut run = script.run(keys.len());
        run.arg(keys).arg(arguments).arg(now);
        let answer = self.runtime.block_on(self.redis.run(script, &run)).unwrap();
        answer.into_iter().map(|value| redis::from_redis_value(value).unwrap()).collect()
    }

    /// Takes from one key: how far ahead it is, and whether the request was admitted.
    fn take(&self, key: &str, (cost, capacity): (i64, i64), now: i64) -> (i64, bool) {
        let answer = self.run(&self.take, &[key], &[cost, capacity, capacity, 1], now);
        (answer[0], answer[1] == 0)
    }
}

/// In nanoseconds.
fn rate(quota: Quota) -> (i64, i64) {
    let interval = i64::try_from(quota.interval().as_nanos()).unwrap();
    (interval, interval * i64::from(quota.burst_size()))
}

#[test]
fn redis_decides_as_memory_does() {
    let bench = Bench::new();
    let case = Cell::new(0);
    let quotas = "[1-9][0-9]{0,2}/(s|min|7ms|day);burst=[1-9][0-9]?";
    let steps = prop::collection::vec((0..3_000_000_u64, 1..5_u32, 0..30_u8), 150);
    let strategy = ([quotas; 3], any::<bool>(), steps, 1..2_000_u64);
    let config = ProptestConfig { cases: 24, ..ProptestConfig::default() };
    let result = proptest::test_runner::TestRunner::new(config).run(
        &strategy,
        |(quotas, shadow, steps, haste)| {
            case.set(case.get() + 1);
            let quotas = quotas.map(|quota| quota.parse().unwrap());
            same(&bench, quotas, shadow, &steps, haste, case.get())
        },
    );
    result.unwrap();
}

/// Two policies over one key, the first with a tier that comes and goes; the second may be in shadow.
fn same(
    bench: &Bench,
    quotas: [Quota; 3],
    shadow: bool,
    steps: &[(u64, u32, u8)],
    haste: u64,
    case: u32,
) -> Result<(), TestCaseError> {
    let mode = if shadow { Mode::Shadow } else { Mode::Enforce };
    let policies = [
        Policy::new("a", quotas[0]).tier("gold", quotas[2]),
        Policy::new("b", quotas[1]).mode(mode),
    ];
    let clock = Clock::manual();
    let memory = RateLimiter::with_policies(policies).unwrap().clock(clock.clone());
    let keys = [format!("{case}:a"), format!("{case}:b")];
    let keys = [&*keys[0], &*keys[1]];
    let [base, other, gold] = quotas.map(rate);
    let longest = [base.1.max(gold.1), other.1];
    let mut now = START;
    for (step, cost, what) in steps {
        let passed = step / haste;
        now += passed as i64;
        clock.advance(Duration::from_micros(passed));
        let is_gold = what % 2 == 1;
        let ask = Ask::new(Key::GLOBAL).cost(*cost).tier(if is_gold { "gold" } else { "" });
        let rates = [if is_gold { gold } else { base }, other];
        if *what < 4 {
            // Now and then something is given back, or charged.
            let sign = if *what < 2 { -1 } else { 1 };
            let change = |place: usize| {
                [sign * rates[place].0 * i64::from(*cost), rates[place].1, longest[place]]
            };
            let changes = [change(0), change(1)].concat();
            bench.run(&bench.adjust, &keys, &changes, now);
            if sign < 0 {
                memory.refund(ask)
            } else {
                memory.charge(ask)
            }
            continue;
        }
        let spend = |place: usize| rates[place].0 * i64::from(*cost);
        let enforced = if shadow { 12 } else { 11 };
        let policy = |place: usize| [spend(place), rates[place].1, longest[place]];
        let arguments = [&policy(0)[..], &policy(1), &[enforced]].concat();
        let answer = bench.run(&bench.take, &keys, &arguments, now);
        let refused = answer[2] & if shadow { 1 } else { 3 } != 0;
        let decision = memory.check(ask);
        prop_assert_eq!(decision.allowed, !refused, "{:?} at {}", answer, now - START);
        if decision.allowed && !shadow {
            let place = usize::from(&*decision.policy == "b");
            let left = (rates[place].1 - answer[place]).max(0) / rates[place].0;
            prop_assert_eq!(i64::from(decision.remaining), left);
        }
    }
    Ok(())
}

#[test]
fn a_clock_that_steps_back_locks_nobody_out() {
    let bench = Bench::new();
    let quota = rate("60/min;burst=5".parse().unwrap());
    let second = 1_000_000;
    for _ in 0..5 {
        assert!(bench.take("back", quota, START).1);
    }
    let earlier = START - 3600 * second;
    // Exhausted, as then, but for one interval and not for an hour.
    assert_eq!(bench.take("back", quota, earlier), (quota.1, false));
    assert!(!bench.take("back", quota, earlier + second - 1).1);
    assert!(bench.take("back", quota, earlier + second).1);
    assert!(!bench.take("back", quota, earlier + second).1);
}

#[test]
fn a_clock_that_jumps_ahead_gives_one_burst_and_no_more() {
    let bench = Bench::new();
    let quota = rate("60/min;burst=5".parse().unwrap());
    let admitted = |now| (0..20).filter(|_| bench.take("ahead", quota, now).1).count();
    assert_eq!(admitted(START), 5);
    let later = START + 3600 * 1_000_000;
    assert_eq!(admitted(later), 5);
    // Back where it was: exhausted, for no longer than one who is.
    assert_eq!(admitted(START), 0);
    assert_eq!(admitted(START + 5_000_000), 5);
}

#[test]
fn what_is_no_arrival_time_counts_as_none() {
    let bench = Bench::new();
    let quota = rate("60/min;burst=2".parse().unwrap());
    let garbage = ["garbled", "1790000000000000000", "''"];
    for text in garbage {
        bench.server.say(&format!("SET garbled {text}"));
        assert!(bench.take("garbled", quota, START).1, "{text}");
        assert!(bench.take("garbled", quota, START).1, "{text}");
        assert!(!bench.take("garbled", quota, START).1, "{text}");
    }
    // Not even text.
    bench.server.say("DEL garbled");
    bench.server.say("HSET garbled a b");
    assert!(bench.take("garbled", quota, START).1);
    assert!(bench.run(&bench.adjust, &["garbled"], &[-1, quota.1, quota.1], START).is_empty());
    // Sixteen bytes are always two numbers, if not of this world: as exhausted as can be, and no
    // more, or not at all.
    for (bytes, refused) in [("\\xff", true), ("\\x7f", true), ("a", true), ("\\x00", false)] {
        bench.server.say(&format!("SET garbled \"{}\"", bytes.repeat(16)));
        let (ahead, admitted) = bench.take("garbled", quota, START);
        assert_eq!(admitted, !refused, "{bytes} is {ahead} ahead");
        assert!(bench.take("garbled", quota, START + 1_000_000).1, "{bytes}");
        assert!((0..=quota.1).contains(&ahead), "{bytes} is {ahead} ahead");
    }
}

#[test]
fn the_longest_quotas_are_exact() {
    let bench = Bench::new();
    // A year and a bit, in steps that are multiples of 8, as those of such quotas are.
    let (interval, count) = (31_622_400_000_000_000_i64 / 4, 4);
    for n in 1..=count {
        let expected = (interval * n, true);
        assert_eq!(bench.take("long", (interval, interval * count), START), expected);
    }
    assert!(!bench.take("long", (interval, interval * count), START).1);
    assert!(!bench.take("long", (interval, interval * count), START + interval / 1000 - 1).1);
    assert!(bench.take("long", (interval, interval * count), START + interval / 1000).1);
}

#[test]
fn a_lease_is_given_whole_or_the_request_alone() {
    let bench = Bench::new();
    let ask = |cost, lease| bench.run(&bench.take, &["lease"], &[cost, 10, 10, 1, lease], START);
    assert_eq!(ask(1, 4), [4, 16]);
    assert_eq!(ask(1, 4), [8, 16]);
    assert_eq!(ask(1, 4), [9, 0]);
    assert_eq!(ask(2, 4), [9, 1]);
    assert_eq!(ask(1, 1), [10, 16]);
    assert_eq!(ask(1, 1), [10, 1]);
}
