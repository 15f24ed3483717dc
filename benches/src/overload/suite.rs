use std::fmt;

use super::plan::{Discipline, Mix, Plan, Spread, Story};
use super::tally::Tally;
use crate::Bars;

/// What is offered, in times the capacity.
pub const LOADS: [f64; 7] = [0.5, 0.9, 1.0, 1.5, 2.0, 5.0, 10.0];

/// Runs a plan with a seed.
pub type Run<'a> = Box<dyn Fn(&Plan, u64) -> Tally + 'a>;

/// Somebody who can be run.
#[expect(clippy::exhaustive_structs, reason = "the benches make it of their contestants")]
pub struct Contestant<'a> {
    /// What it is called.
    pub name: String,
    /// Runs it.
    pub run: Run<'a>,
}

/// What is run, and how often.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the benches make it of their arguments")]
pub struct Suite {
    /// Of the first run; the others follow.
    pub seed: u64,
    /// How many runs there are of each cell.
    pub seeds: u64,
    /// Whether it must be over soon.
    pub quick: bool,
}

/// A kind of service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "benches read it")]
pub struct Variant {
    /// The number of workers.
    pub workers: u32,
    /// How the times differ that calls take.
    pub spread: Spread,
    /// What it does with too many calls.
    pub discipline: Discipline,
}

/// What came of the runs of one plan.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "benches read it")]
pub struct Cell {
    /// What is offered, in times the capacity.
    pub load: f64,
    /// Goodput in per cent of what is possible: the mean of all runs.
    pub goodput: f64,
    /// The least of all runs.
    pub least: f64,
    /// The median time of a served request, in milliseconds.
    pub p50: f64,
    /// And the 99th percentile.
    pub p99: f64,
    /// Which share of the requests was refused, in per cent.
    pub shed: f64,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spread = match self.spread {
            Spread::Bimodal => "bimodal",
            Spread::Constant => "constant",
            Spread::Exponential => "exponential",
        };
        let discipline = match self.discipline {
            Discipline::Queue => "queue",
            Discipline::Thrash => "thrash",
        };
        write!(f, "{}-{spread}-{discipline}", self.workers)
    }
}

impl fmt::Debug for Contestant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contestant").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Suite {
    /// Reads `--quick` and `--seed N` from the program's arguments.
    ///
    /// # Panics
    ///
    /// If there is another argument, or the seed is no number.
    #[must_use]
    pub fn from_arguments() -> Self {
        let mut suite = Self { seed: 1, seeds: 3, quick: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => suite = Self { quick: true, seeds: 1, ..suite },
                "--seed" => {
                    let seed = arguments.next().and_then(|seed| seed.parse().ok());
                    suite.seed = seed.expect("--seed wants a number");
                }
                // What cargo adds to a bench.
                "--bench" => {}
                other => panic!("unknown argument {other}: there are --quick and --seed N"),
            }
        }
        suite
    }

    /// All variants.
    #[must_use]
    pub fn variants(&self) -> Vec<Variant> {
        let sizes: &[u32] = if self.quick { &[4, 16] } else { &[4, 16, 64, 128] };
        let spreads = [Spread::Exponential, Spread::Bimodal, Spread::Constant];
        let mut variants = Vec::new();
        for &workers in sizes {
            for spread in spreads {
                for discipline in [Discipline::Queue, Discipline::Thrash] {
                    variants.push(Variant { workers, spread, discipline });
                }
            }
        }
        if self.quick {
            variants.retain(|variant| variant.spread != Spread::Bimodal);
        }
        variants
    }

    /// The loads that each variant is put under.
    #[must_use]
    pub fn loads(&self) -> Vec<f64> {
        if self.quick { vec![0.9, 1.0, 2.0, 10.0] } else { LOADS.to_vec() }
    }

    fn seeds(&self) -> impl Iterator<Item = u64> {
        let seed = self.seed;
        (0..self.seeds).map(move |run| seed.wrapping_mul(1_000_003).wrapping_add(run))
    }

    /// Runs a plan with each seed.
    #[must_use]
    pub fn tallies(&self, contestant: &Contestant<'_>, plan: &Plan) -> Vec<Tally> {
        self.seeds().map(|seed| (contestant.run)(plan, seed)).collect()
    }

    /// Runs a variant under a load.
    #[must_use]
    pub fn cell(&self, contestant: &Contestant<'_>, variant: Variant, load: f64) -> Cell {
        self.cell_of(contestant, &Plan { load, ..self.plan(variant) })
    }

    /// The plan of a variant's cells.
    #[must_use]
    pub fn plan(&self, variant: Variant) -> Plan {
        let Variant { workers, spread, discipline } = variant;
        // The more calls a second holds, the fewer seconds tell as much.
        let to = if self.quick || workers >= 64 { 25 } else { 40 };
        Plan { workers, spread, discipline, to, ..Plan::default() }
    }

    /// Runs a plan and sums it up.
    #[must_use]
    pub fn cell_of(&self, contestant: &Contestant<'_>, plan: &Plan) -> Cell {
        let tallies = self.tallies(contestant, plan);
        let runs = tallies.len() as f64;
        let goodputs: Vec<f64> = tallies.iter().map(|tally| tally.goodput() * 100.0).collect();
        let mut latencies: Vec<f32> = tallies.iter().flat_map(Tally::latencies).collect();
        latencies.sort_unstable_by(f32::total_cmp);
        let quantile = |share: f64| {
            let place = (share * latencies.len().saturating_sub(1) as f64).round() as usize;
            latencies.get(place).map_or(0.0, |latency| f64::from(*latency))
        };
        Cell {
            load: plan.load,
            goodput: goodputs.iter().sum::<f64>() / runs,
            least: goodputs.iter().copied().fold(f64::INFINITY, f64::min),
            p50: quantile(0.5),
            p99: quantile(0.99),
            shed: tallies.iter().map(|tally| tally.shed_share() * 100.0).sum::<f64>() / runs,
        }
    }

    /// Runs a variant under all loads, and prints a row of the table.
    #[must_use]
    pub fn row(&self, contestant: &Contestant<'_>, variant: Variant) -> Vec<Cell> {
        let cells: Vec<Cell> =
            self.loads().into_iter().map(|load| self.cell(contestant, variant, load)).collect();
        print!("{:<24}", variant.to_string());
        for cell in &cells {
            let Cell { goodput, p50, p99, shed, .. } = cell;
            print!(" | {goodput:5.1} {p50:3.0}/{p99:3.0} {shed:2.0}");
        }
        println!();
        cells
    }

    /// The head of that table.
    pub fn heading(&self, contestant: &Contestant<'_>) {
        println!(
            "\n{}: goodput in % of what is possible, p50/p99 in ms, shed in %",
            contestant.name
        );
        print!("{:<24}", "");
        for load in self.loads() {
            print!(" | {:<16}", format!("{load}x"));
        }
        println!();
    }

    /// Half of the workers are gone from second 20 to second 40: the shares of what is left that is
    /// made use of from two seconds after each turn, in per cent.
    #[must_use]
    pub fn halved(&self, contestant: &Contestant<'_>, variant: Variant, load: f64) -> [f64; 2] {
        let Variant { workers, spread, discipline } = variant;
        let (story, to) = (Story::Halved, 60);
        let plan = Plan { workers, spread, discipline, load, story, to, ..Plan::default() };
        let tallies = self.tallies(contestant, &plan);
        [(22.0, 40.0), (42.0, 60.0)]
            .map(|(from, to)| mean(tallies.iter().map(|tally| tally.work_share(from, to) * 100.0)))
    }

    /// Half the capacity is offered until second 20, then ten times: the share of the capacity that is
    /// made use of in the first half second, in per cent, and the 99th percentile in milliseconds
    /// within five.
    #[must_use]
    pub fn step(&self, contestant: &Contestant<'_>, variant: Variant) -> [f64; 2] {
        let Variant { workers, spread, discipline } = variant;
        let (story, to) = (Story::Step, 30);
        let plan = Plan { workers, spread, discipline, load: 10.0, story, to, ..Plan::default() };
        let tallies = self.tallies(contestant, &plan);
        let share = mean(tallies.iter().map(|tally| tally.work_share(20.0, 20.5) * 100.0));
        [share, mean(tallies.iter().map(|tally| tally.latency_between(0.99, 20.0, 25.0)))]
    }

    /// Three times the capacity is offered for five seconds, seven tenths before and after, and callers
    /// try again up to three times: the share that is answered in time from five seconds after, in per
    /// cent.
    #[must_use]
    pub fn spike(&self, contestant: &Contestant<'_>, variant: Variant) -> f64 {
        let Variant { workers, spread, discipline } = variant;
        let (story, retries, to) = (Story::Spike, 3, 60);
        let plan =
            Plan { workers, spread, discipline, load: 0.7, retries, story, to, ..Plan::default() };
        let tallies = self.tallies(contestant, &plan);
        mean(tallies.iter().map(|tally| tally.good_share(30.0, 59.0) * 100.0))
    }

    /// The share of group 0 that is answered in time, in per cent.
    #[must_use]
    pub fn first_group(
        &self,
        contestant: &Contestant<'_>,
        variant: Variant,
        load: f64,
        mix: Mix,
    ) -> f64 {
        let plan = Plan { load, mix, ..self.plan(variant) };
        let tallies = self.tallies(contestant, &plan);
        mean(tallies.iter().map(|tally| {
            let group = tally.group(0);
            group.good as f64 / group.sent.max(1) as f64 * 100.0
        }))
    }
}

fn mean(figures: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = figures.len() as f64;
    figures.sum::<f64>() / count
}

/// The bars of a variant's row.
pub(crate) fn hold(bars: &mut Bars, name: &str, variant: Variant, cells: &[Cell]) {
    let is_small = variant.workers < 16;
    let worst = |of: fn(&Cell) -> f64, loads: std::ops::RangeInclusive<f64>| {
        cells.iter().filter(|cell| loads.contains(&cell.load)).map(of).fold(f64::INFINITY, f64::min)
    };
    let mut at_least = |what: &str, measured: f64, limit: f64| {
        if measured.is_finite() {
            bars.at_least(&format!("{name}-{variant}-{what}"), measured, limit);
        }
    };
    at_least("0.5x", worst(|cell| cell.goodput, 0.5..=0.5), 99.5);
    at_least("0.9x", worst(|cell| cell.goodput, 0.9..=0.9), 97.0);
    at_least("1x", worst(|cell| cell.goodput, 1.0..=1.0), if is_small { 90.0 } else { 94.0 });
    at_least("1.5x-to-10x", worst(|cell| cell.goodput, 1.5..=10.0), 98.0);
    at_least("1.5x-to-10x-every-seed", worst(|cell| cell.least, 1.5..=10.0), 95.0);
    let p99 = cells.iter().map(|cell| cell.p99).fold(0.0, f64::max) / variant.spread.p99();
    let limit = if is_small { 3.0 } else { 2.0 };
    bars.at_most(&format!("{name}-{variant}-p99-over-unloaded"), p99, limit);
}

impl Bars {
    /// Holds a row of the overload table against what is asked for.
    pub fn overload(&mut self, name: &str, variant: Variant, cells: &[Cell]) {
        hold(self, name, variant, cells);
    }
}
