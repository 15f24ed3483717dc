//! What load shedding is worth.
use bartizan::core::Clock;
use bartizan::shed::{LoadShedLayer, LoadShedder, Settings};
use bartizan_benches::overload::{self, *};
use tower::Layer;
use std::time::Duration;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let settings = Settings::default();
    let seeds: u64 = args.get(1).and_then(|s| s.parse().ok()).unwrap_or(1);
    let only: Vec<u32> = args.get(2).map_or(vec![4, 16, 64, 128], |s| s.split(',').map(|n| n.parse().unwrap()).collect());
    let loads: Vec<f64> = args.get(4).map_or(vec![0.5, 0.9, 1.0, 1.5, 2.0, 5.0, 10.0], |s| s.split(',').map(|n| n.parse().unwrap()).collect());
    for workers in only {
        for spread in [Spread::Exponential, Spread::Bimodal, Spread::Constant] {
            if let Some(s) = args.get(3) { if !s.contains(&format!("{spread:?}")[..1]) { continue; } }
            for discipline in [Discipline::Queue, Discipline::Thrash] {
                print!("{workers:3} {:11} {:6}:", format!("{spread:?}"), format!("{discipline:?}"));
                for &load in &loads {
                    let mut sum = 0.0; let mut least = f64::INFINITY; let mut p99: f64 = 0.0; let mut lim = 0;
                    for seed in 0..seeds {
                        let plan = Plan { workers, spread, discipline, load, ..Plan::default() };
                        let clock = Clock::manual();
                        let shedder = LoadShedder::new("overload").clock(clock.clone());
                        let s2 = shedder.clone();
                        let mut tally = overload::run(&plan, seed, |w| LoadShedLayer::new(s2).layer(w), |ns| clock.advance(Duration::from_nanos(ns)));
                        let g = tally.goodput() * 100.0;
                        sum += g; least = least.min(g); p99 = p99.max(tally.latency(0.99)); lim = shedder.limit();
                    }
                    let m = sum / seeds as f64;
                    let bar = match load { 0.5 => 99.5, 0.9 => 97.0, 1.0 => if workers==4 {90.0} else {94.0}, _ => 98.0 };
                    let bad = m < bar || (load > 1.0 && least < 95.0);
                    let pbad = p99 > spread.p99() * if workers == 4 {3.0} else {2.0};
                    print!(" {m:5.1}{}({least:4.1}/{p99:4.0}{}/{lim})", if bad {"*"} else {" "}, if pbad {"!"} else {""});
                }
                println!();
            }
        }
    }
    let _ = settings;
}
