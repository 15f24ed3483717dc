//! What load shedding is worth, over every kind of service that the suite knows: tables, bars, and
//! drawings into `docs/`.
//!
//! `--quick` takes less than a minute and draws nothing; `--seed N` draws other random numbers. Exits
//! with 1 if a bar is short.

mod draw;
mod ours;

use std::process::ExitCode;

use bartizan::shed::Settings;
use bartizan_benches::Bars;
use bartizan_benches::overload::{Cell, Contestant, Discipline, Mix, Plan, Spread, Suite, Variant};

use self::ours::contestant;

/// What `docs/shed.md` says is short, so that whatever else becomes so fails the quick run.
const KNOWN: [&str; 2] =
    ["overload-4-constant-queue-p99-over-unloaded", "overload-4-constant-thrash-0.9x"];

fn main() -> ExitCode {
    let suite = Suite::from_arguments();
    let mut bars = if suite.quick { Bars::knowing(&KNOWN) } else { Bars::default() };
    let ours = contestant("bartizan", Settings::default());

    suite.heading(&ours);
    let mut rows = Vec::new();
    for variant in suite.variants() {
        rows.push((variant, suite.row(&ours, variant)));
    }
    println!();
    for (variant, cells) in &rows {
        bars.overload("overload", *variant, cells);
    }
    stories(&suite, &ours, &mut bars);
    told(&suite, &mut bars);
    if !suite.quick {
        others(&suite, &ours, &rows);
        let sixteen = sixteen(Spread::Exponential, Discipline::Queue);
        let of = |contestant: &Contestant<'_>| -> Vec<Cell> {
            let once = Suite { seeds: 1, ..suite };
            suite.loads().into_iter().map(|load| once.cell(contestant, sixteen, load)).collect()
        };
        draw::all(&rows, &of(&ours::tower(64 * 16)), &of(&ours::nothing()));
    }
    bars.exit()
}

fn sixteen(spread: Spread, discipline: Discipline) -> Variant {
    Variant { workers: 16, spread, discipline }
}

/// What happens in the course of a run.
fn stories(suite: &Suite, ours: &Contestant<'_>, bars: &mut Bars) {
    let variants = if suite.quick {
        let constant = sixteen(Spread::Constant, Discipline::Queue);
        vec![sixteen(Spread::Exponential, Discipline::Queue), Variant { workers: 64, ..constant }]
    } else {
        suite.variants()
    };
    for variant in variants {
        for load in [2.0, 10.0] {
            let [halved, restored] = suite.halved(ours, variant, load);
            bars.at_least(&format!("overload-{variant}-{load}x-halved"), halved, 97.0);
            bars.at_least(&format!("overload-{variant}-{load}x-restored"), restored, 97.0);
        }
        let [share, p99] = suite.step(ours, variant);
        bars.at_least(&format!("overload-{variant}-step-first-half-second"), share, 90.0);
        bars.at_most(&format!("overload-{variant}-step-p99-ms"), p99, 250.0);
        let spike = suite.spike(ours, variant);
        bars.at_least(&format!("overload-{variant}-after-retry-spike"), spike, 98.0);
        let plan = Plan { load: 10.0, cancel: true, ..suite.plan(variant) };
        let cancel = suite.cell_of(ours, &plan);
        bars.at_least(&format!("overload-{variant}-cancel-10x"), cancel.goodput, 98.0);
        for (load, limit) in [(2.0, 99.95), (5.0, 99.95), (10.0, 95.0)] {
            let mix = Mix::Priorities;
            let critical = suite.first_group(&ours::by_priority(), variant, load, mix);
            bars.at_least(&format!("overload-{variant}-top-tenth-{load}x"), critical, limit);
        }
        for load in [2.0, 5.0, 10.0] {
            let small = suite.first_group(&ours::by_tenant(), variant, load, Mix::Tenants);
            bars.at_least(&format!("overload-{variant}-small-tenant-{load}x"), small, 98.0);
        }
    }
}

/// Told the capacity: a fixed limit of twice the workers with the queue, beside tower's best.
fn told(suite: &Suite, bars: &mut Bars) {
    println!(
        "\ntold the capacity: goodput in %, Fixed(2N) with queue / tower's LoadShed over ConcurrencyLimit(2N)"
    );
    let mut worst = (f64::INFINITY, String::new());
    // What differs between both is the queue, which matters the less the more workers there are.
    let suite = &Suite { seeds: 1, ..*suite };
    for variant in suite.variants().into_iter().filter(|variant| variant.workers <= 16) {
        let limit = 2 * variant.workers;
        let fixed = contestant("fixed", Settings::fixed(limit));
        let tower = ours::tower(limit as usize);
        print!("{:<24}", variant.to_string());
        for load in suite.loads() {
            let (ours, theirs) =
                (suite.cell(&fixed, variant, load), suite.cell(&tower, variant, load));
            print!(" | {:5.1} {:5.1}", ours.goodput, theirs.goodput);
            let lead = ours.goodput - theirs.goodput;
            if lead < worst.0 {
                worst = (lead, format!("{variant}-{load}x"));
            }
        }
        println!();
    }
    println!("worst cell: {}", worst.1);
    // A run's figures are no better than that.
    bars.at_least("overload-told-points-over-tower-fixed", worst.0, -0.2);
}

/// The other limits of this room, and what they are worth.
fn others(suite: &Suite, ours: &Contestant<'_>, rows: &[(Variant, Vec<Cell>)]) {
    use bartizan::shed::Algorithm::{Aimd, EnvoyGradient, Gradient2, Vegas};
    println!("\nworst goodput from 1.5x to 10x in %, of the limits that this room has");
    let of_interest = |variant: &Variant| {
        variant.workers <= 16
            || *variant
                == Variant { workers: 64, ..sixteen(Spread::Exponential, Discipline::Queue) }
    };
    let variants: Vec<Variant> = suite.variants().into_iter().filter(of_interest).collect();
    print!("{:<16}", "");
    variants.iter().for_each(|variant| print!(" | {:>22}", variant.to_string()));
    println!();
    let worst = |cells: &[Cell]| {
        cells.iter().filter(|cell| cell.load > 1.0).map(|cell| cell.goodput).fold(100.0, f64::min)
    };
    print!("{:<16}", ours.name);
    let rows = rows.iter().filter(|(variant, _)| of_interest(variant));
    rows.for_each(|(_, cells)| print!(" | {:22.1}", worst(cells)));
    println!();
    let once = Suite { seeds: 1, ..*suite };
    for algorithm in [Aimd, EnvoyGradient, Gradient2, Vegas] {
        let settings = Settings::default().algorithm_of(algorithm).limits(1, 20, 1000);
        let one = contestant(&format!("{algorithm:?}"), settings);
        print!("{:<16}", one.name);
        for &variant in &variants {
            let cells = [1.5, 10.0].map(|load| once.cell(&one, variant, load));
            print!(" | {:22.1}", worst(&cells));
        }
        println!();
    }
}
