//! Bartizan's shedding beside tower's fixed limit and tower-acc's adaptive one.
//!
//! Both peers wait at their limit unless tower's `LoadShed` around them turns requests away. They
//! hold a slot to the response's head, ours to the end of its body.

use std::process::ExitCode;

use bartizan::shed::{LoadShedLayer, LoadShedder, Settings};
use bartizan_bench_peers::{Case, NoOp, Serve, Traffic, run};
use bytes::Bytes;
use http_body_util::Full;
use tower::Layer;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower_acc::Gradient2;

const FLOOR: u32 = 20;
const START: u32 = 64;
const CEILING: u32 = 200;

const fn inner() -> NoOp<Full<Bytes>> {
    NoOp::new()
}

fn main() -> ExitCode {
    let traffic = Traffic::default();
    let ours = move || {
        let settings = Settings::default().limits(FLOOR, START, CEILING);
        let shedder = LoadShedder::new("bench").settings(settings).expect("limits in order");
        Serve::new(LoadShedLayer::new(shedder).layer(inner()), traffic)
    };
    let fixed =
        move || Serve::new(LoadShed::new(ConcurrencyLimit::new(inner(), START as usize)), traffic);
    let adaptive = move || {
        let gradient = Gradient2::builder()
            .min_limit(FLOOR as usize)
            .initial_limit(START as usize)
            .max_limit(CEILING as usize)
            .build();
        let limit = tower_acc::ConcurrencyLimit::new(inner(), gradient);
        Serve::new(LoadShed::new(limit), traffic)
    };
    run(&[Case::new("shed-admitted", move || Serve::new(inner(), traffic), ours)
        .beside("tower", fixed)
        .beside("tower-acc", adaptive)])
}
