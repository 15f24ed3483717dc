use std::fmt::Debug;
use std::process::{Command, ExitCode};

use crate::Serve;
use crate::measure::{allocations, instructions, nanoseconds};

/// The argument by which this program, under valgrind, is told to serve one contestant.
pub(crate) const CHILD: &str = "--serve";

/// One kind of work, and who does it: the no-op alone, our layer over it, and each peer over it.
pub struct Case {
    name: String,
    contestants: Vec<Contestant>,
}

struct Contestant {
    name: &'static str,
    start: Box<dyn Fn() -> Serve>,
}

impl Case {
    /// Creates a case without peers.
    pub fn new(
        name: impl Into<String>,
        no_op: impl Fn() -> Serve + 'static,
        ours: impl Fn() -> Serve + 'static,
    ) -> Self {
        let case = Self { name: name.into(), contestants: Vec::new() };
        case.beside("no-op", no_op).beside("bartizan", ours)
    }

    /// Adds a peer.
    #[must_use]
    pub fn beside(mut self, name: &'static str, start: impl Fn() -> Serve + 'static) -> Self {
        self.contestants.push(Contestant { name, start: Box::new(start) });
        self
    }

    fn figures(&self) -> Vec<Figures> {
        let mut running: Vec<_> = self.contestants.iter().map(|one| (one.start)()).collect();
        let nanoseconds = nanoseconds(&mut running);
        let figures = |(one, nanoseconds): (&Contestant, f64)| Figures {
            instructions: instructions(&self.name, one.name),
            nanoseconds,
            allocations: allocations(&self.name, one.name),
        };
        self.contestants.iter().zip(nanoseconds).map(figures).collect()
    }
}

impl Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a request costs.
#[derive(Clone, Copy)]
struct Figures {
    instructions: f64,
    nanoseconds: f64,
    allocations: f64,
}

impl Figures {
    fn over(self, no_op: Self) -> Self {
        Self {
            instructions: self.instructions - no_op.instructions,
            nanoseconds: self.nanoseconds - no_op.nanoseconds,
            allocations: self.allocations - no_op.allocations,
        }
    }
}

/// The whole of a bench's `main`: measures every case and holds ours against each peer.
///
/// Exits with 1 if a bar is short, and with 2 if valgrind is missing.
///
/// # Panics
///
/// If a contestant does not do the work, or valgrind fails.
#[must_use]
pub fn run(cases: &[Case]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, case, contestant, requests] = &arguments[..]
        && flag == CHILD
    {
        let case = cases.iter().find(|known| known.name == *case).expect("a case of this bench");
        let contestant = case.contestants.iter().find(|known| known.name == contestant);
        let mut running = (contestant.expect("a contestant of this case").start)();
        let requests = requests.parse().expect("a number of requests");
        running.serve_collected(requests);
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("valgrind is missing: install the package `valgrind`");
        return ExitCode::from(2);
    }
    println!("Per request; all but the no-op itself over the no-op.\n");
    let results: Vec<_> = cases.iter().map(|case| (case, case.figures())).collect();
    for (case, figures) in &results {
        table(case, figures);
    }
    let mut all_met = true;
    for (case, figures) in &results {
        for (peer, theirs) in case.contestants.iter().zip(figures).skip(2) {
            let name = format!("{}-vs-{}", case.name, peer.name);
            all_met &= bars(&name, figures[1].over(figures[0]), theirs.over(figures[0]));
        }
    }
    if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn table(case: &Case, figures: &[Figures]) {
    println!("{:<34}{:>14}{:>14}{:>14}", case.name, "instructions", "nanoseconds", "allocations");
    for (place, (contestant, all)) in case.contestants.iter().zip(figures).enumerate() {
        let Figures { instructions, nanoseconds, allocations } =
            if place == 0 { *all } else { all.over(figures[0]) };
        println!(
            "  {:<32}{instructions:>14.0}{nanoseconds:>14.1}{allocations:>14.2}",
            contestant.name
        );
    }
    println!();
}

/// Prints the bars of one peer; ours must be cheaper, or allocate no more.
fn bars(name: &str, ours: Figures, theirs: Figures) -> bool {
    let bar = |what: &str, measured: String, limit: String, met: bool| {
        println!("bar: {name}-{what} {measured} {limit} {}", if met { "ok" } else { "short" });
        met
    };
    let instructions = bar(
        "instructions",
        format!("{:.0}", ours.instructions),
        format!("{:.0}", theirs.instructions),
        ours.instructions < theirs.instructions,
    );
    let time = ours.nanoseconds / theirs.nanoseconds;
    let time = bar("time", format!("{time:.2}"), "1.00".into(), time < 1.0);
    let allocations = bar(
        "allocations",
        format!("{:.2}", ours.allocations),
        format!("{:.2}", theirs.allocations),
        ours.allocations <= theirs.allocations,
    );
    instructions && time && allocations
}
