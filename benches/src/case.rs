use std::fmt::Debug;
use std::process::{Command, ExitCode};

use crate::measure::{Effort, allocations, instructions, nanoseconds};
use crate::{Bars, Serve};

/// The argument by which this program, under valgrind, is told to serve one contestant.
pub(crate) const CHILD: &str = "--serve";

/// One kind of work, and who does it: the no-op alone, our layer over it, and each peer over it.
pub struct Case {
    name: String,
    contestants: Vec<Contestant>,
    effort: Effort,
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
        let case = Self { name: name.into(), contestants: Vec::new(), effort: Effort::USUAL };
        case.beside("no-op", no_op).beside("bartizan", ours)
    }

    /// Adds a peer.
    #[must_use]
    pub fn beside(mut self, name: &'static str, start: impl Fn() -> Serve + 'static) -> Self {
        self.contestants.push(Contestant { name, start: Box::new(start) });
        self
    }

    /// Serves fewer requests, since each takes tens of microseconds: counted over 200, timed in 2500
    /// rounds of 20.
    #[must_use]
    pub fn dear(mut self) -> Self {
        self.effort = Effort::DEAR;
        self
    }

    fn figures(&self) -> Vec<Figures> {
        let mut running: Vec<_> = self.contestants.iter().map(|one| (one.start)()).collect();
        let nanoseconds = nanoseconds(self.effort, &mut running);
        let figures = |(one, nanoseconds): (&Contestant, f64)| Figures {
            instructions: instructions(self.effort, &self.name, one.name),
            nanoseconds,
            allocations: allocations(self.effort, &self.name, one.name),
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
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Figures {
    /// Instructions, by callgrind.
    pub instructions: f64,
    /// Nanoseconds: the best of many short rounds.
    pub nanoseconds: f64,
    /// Heap allocations.
    pub allocations: f64,
}

impl Figures {
    /// What this costs beyond `no_op`.
    #[must_use]
    pub fn over(self, no_op: Self) -> Self {
        Self {
            instructions: self.instructions - no_op.instructions,
            nanoseconds: self.nanoseconds - no_op.nanoseconds,
            allocations: self.allocations - no_op.allocations,
        }
    }
}

/// What every contestant of every case costs.
#[derive(Debug)]
pub struct Results<'a>(Vec<(&'a Case, Vec<Figures>)>);

impl Results<'_> {
    /// What a request costs a contestant, with the inner service.
    ///
    /// # Panics
    ///
    /// If there is no such case or contestant.
    #[must_use]
    pub fn whole(&self, case: &str, contestant: &str) -> Figures {
        let of_case = self.0.iter().find(|(known, _)| known.name == case);
        let (case, figures) = of_case.expect("a case of this bench");
        let place = case.contestants.iter().position(|known| known.name == contestant);
        figures[place.expect("a contestant of this case")]
    }

    /// What a contestant costs over the no-op.
    ///
    /// # Panics
    ///
    /// If there is no such case or contestant.
    #[must_use]
    pub fn over(&self, case: &str, contestant: &str) -> Figures {
        self.whole(case, contestant).over(self.whole(case, "no-op"))
    }
}

/// The whole of a bench's `main`: measures every case and holds ours against each peer, which must
/// be dearer in instructions and time, and allocate no less.
///
/// Exits with 1 if a bar is short, and with 2 if valgrind is missing.
///
/// # Panics
///
/// If a contestant does not do the work, or valgrind fails.
#[must_use]
pub fn run(cases: &[Case]) -> ExitCode {
    run_with(cases, |results, bars| {
        for (case, _) in &results.0 {
            for peer in case.contestants.iter().skip(2) {
                let (ours, theirs) =
                    (results.over(&case.name, "bartizan"), results.over(&case.name, peer.name));
                let name = format!("{}-vs-{}", case.name, peer.name);
                let bar = |what: &str| format!("{name}-{what}");
                let limit = theirs.instructions;
                bars.at_most(&bar("instructions"), ours.instructions.round(), limit.round());
                let time = ours.nanoseconds / theirs.nanoseconds;
                bars.at_most(&bar("time"), time, 1.0);
                bars.at_most(&bar("allocations"), ours.allocations, theirs.allocations);
            }
        }
    })
}

/// Measures every case and leaves the bars to `hold`.
///
/// Exits with 1 if a bar is short, and with 2 if valgrind is missing.
///
/// # Panics
///
/// If a contestant does not do the work, or valgrind fails.
#[must_use]
pub fn run_with(cases: &[Case], hold: impl FnOnce(&Results<'_>, &mut Bars)) -> ExitCode {
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
    let results = Results(cases.iter().map(|case| (case, case.figures())).collect());
    for (case, figures) in &results.0 {
        table(case, figures);
    }
    let mut bars = Bars::default();
    hold(&results, &mut bars);
    bars.exit()
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
