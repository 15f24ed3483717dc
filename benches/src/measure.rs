use std::process::Command;
use std::sync::Barrier;
use std::time::Instant;

use crate::Serve;
use crate::case::CHILD;

/// How much a case is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// The lengths of the two runs under valgrind.
    few: u64,
    many: u64,
    /// Short rounds, so that many of them are left alone by whatever else the machine does.
    rounds: u64,
    requests_per_round: u64,
}

impl Effort {
    /// For requests of up to some microseconds.
    pub(crate) const USUAL: Self =
        Self { few: 1_000, many: 11_000, rounds: 3_000, requests_per_round: 200 };

    /// For requests of tens of microseconds, so that all is over in minutes.
    pub(crate) const DEAR: Self =
        Self { few: 100, many: 300, rounds: 2_500, requests_per_round: 20 };
}

/// Instructions per request.
pub(crate) fn instructions(effort: Effort, case: &str, contestant: &str) -> f64 {
    // Start and warm-up are left out: tower_governor's clock calibrates itself for as long as that
    // takes, which differs from run to run.
    let callgrind = [
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--collect-atstart=no",
        "--toggle-collect=*serve_collected*",
    ];
    per_request(effort, &callgrind, "Collected :", case, contestant)
}

/// Heap allocations per request.
///
/// Seen from outside: a counting allocator would charge its own work to those who allocate.
pub(crate) fn allocations(effort: Effort, case: &str, contestant: &str) -> f64 {
    per_request(effort, &["--tool=memcheck"], "total heap usage:", case, contestant)
}

/// What a request adds to a figure of valgrind's. Two lengths, so that what a run costs but once
/// cancels out.
fn per_request(effort: Effort, tool: &[&str], label: &str, case: &str, contestant: &str) -> f64 {
    let figure = |requests: u64| -> f64 {
        let output = Command::new("valgrind")
            .args(tool)
            .arg(std::env::current_exe().expect("this program has a path"))
            .args([CHILD, case, contestant, &requests.to_string()])
            .output()
            .expect("valgrind runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        text.split_once(label)
            .and_then(|(_, rest)| rest.split_whitespace().next())
            .and_then(|figure| figure.replace(',', "").parse().ok())
            .unwrap_or_else(|| panic!("valgrind gave no figure: {text}"))
    };
    let Effort { few, many, .. } = effort;
    (figure(many) - figure(few)) / (many - few) as f64
}

/// Nanoseconds per request of each contestant: its best of many rounds, in which all take turns.
#[expect(clippy::disallowed_methods, reason = "the layers' own clock is among what is measured")]
pub(crate) fn nanoseconds(effort: Effort, contestants: &mut [Serve]) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; contestants.len()];
    for _ in 0..effort.rounds {
        for (contestant, best) in contestants.iter_mut().zip(&mut best) {
            let start = Instant::now();
            contestant.serve_collected(effort.requests_per_round);
            let nanos = start.elapsed().as_nanos() as f64 / effort.requests_per_round as f64;
            *best = best.min(nanos);
        }
    }
    best
}

/// Nanoseconds per request of pairs that serve at once, each pair's two on a thread of their own:
/// the best of many rounds, in which all pairs take turns.
///
/// # Panics
///
/// If a thread does.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the layers' own clock is among what is measured")]
pub fn two_threads(pairs: &mut [[Serve; 2]]) -> Vec<f64> {
    const ROUNDS: u64 = 300;
    const REQUESTS: u64 = 2_000;
    let mut best = vec![f64::INFINITY; pairs.len()];
    for _ in 0..ROUNDS {
        for (pair, best) in pairs.iter_mut().zip(&mut best) {
            let barrier = Barrier::new(2);
            let slower = std::thread::scope(|scope| {
                let halves = pair.each_mut().map(|serve| {
                    scope.spawn(|| {
                        barrier.wait();
                        let start = Instant::now();
                        serve.serve_collected(REQUESTS);
                        start.elapsed().as_nanos() as f64
                    })
                });
                halves
                    .map(|half| half.join().expect("a thread that serves"))
                    .into_iter()
                    .fold(0.0, f64::max)
            });
            *best = best.min(slower / REQUESTS as f64);
        }
    }
    best
}
