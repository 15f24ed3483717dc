//! The contract that every layer keeps. The clauses are called singly: these layers count nothing
//! that clones could share, and putting the flags into a request allocates.

use bartizan_core::Engine;
use bartizan_flags::{Flag, Flags, FlagsLayer, GateLayer, SplitLayer};
use bartizan_testing::Inner;

fn open_gate() -> GateLayer {
    let flags = Flags::from_json(
        r#"{"flags": {"open": {"state": "ENABLED", "variants": {"yes": true},
        "defaultVariant": "yes"}}}"#,
    );
    GateLayer::new(flags.expect("the document is sound"), Flag::new("open", false))
}

fn half_split() -> SplitLayer<Inner> {
    SplitLayer::new(Flags::empty(), Flag::new("split", "stable"), [("canary", Inner::default())])
}

/// Exchanges that have ended, whichever way.
fn ended(layer: &SplitLayer<Inner>) -> u64 {
    let snapshot = layer.rollout().snapshot();
    let outcomes = ["abandoned", "failure", "refused", "success"];
    let count =
        |outcome| snapshot.value_of("bartizan_flags_split_exchanges_total", "stable", outcome);
    outcomes.into_iter().filter_map(count).sum::<f64>() as u64
}

#[test]
fn a_split_keeps_the_contract() {
    bartizan_testing::readied_instance_is_called(&half_split());
    bartizan_testing::readiness_is_not_hoarded(&half_split(), |_| 0);
    bartizan_testing::clones_share_state(&half_split(), ended);
    bartizan_testing::abandoned_exchanges_leave_nothing(&half_split(), |_| 0);
    bartizan_testing::panics_leave_nothing(&half_split(), |_| 0);
}

#[test]
fn the_readied_instance_is_called() {
    bartizan_testing::readied_instance_is_called(&FlagsLayer::new(Flags::empty()));
    bartizan_testing::readied_instance_is_called(&open_gate());
}

#[test]
fn readiness_is_not_hoarded() {
    bartizan_testing::readiness_is_not_hoarded(&FlagsLayer::new(Flags::empty()), |_| 0);
    bartizan_testing::readiness_is_not_hoarded(&open_gate(), |_| 0);
}

#[test]
fn abandoned_exchanges_leave_nothing() {
    bartizan_testing::abandoned_exchanges_leave_nothing(&FlagsLayer::new(Flags::empty()), |_| 0);
    bartizan_testing::abandoned_exchanges_leave_nothing(&open_gate(), |_| 0);
}

#[test]
fn panics_leave_nothing() {
    bartizan_testing::panics_leave_nothing(&FlagsLayer::new(Flags::empty()), |_| 0);
    bartizan_testing::panics_leave_nothing(&open_gate(), |_| 0);
}
