//! The contract that every layer keeps, for the one layer of this crate. It counts nothing, and an
//! address that is put into a request allocates; where the peer is not known, nothing does.

use bartizan_core::{ClientIp, ClientIpLayer};

fn layer() -> ClientIpLayer {
    ClientIpLayer::new(ClientIp::trust_hops(1))
}

#[test]
fn the_readied_instance_is_called() {
    bartizan_testing::readied_instance_is_called(&layer());
}

#[test]
fn readiness_is_not_hoarded() {
    bartizan_testing::readiness_is_not_hoarded(&layer(), |_| 0);
}

#[test]
fn abandoned_exchanges_leave_nothing() {
    bartizan_testing::abandoned_exchanges_leave_nothing(&layer(), |_| 0);
}

#[test]
fn panics_leave_nothing() {
    bartizan_testing::panics_leave_nothing(&layer(), |_| 0);
}

#[test]
fn a_request_without_a_peer_allocates_nothing() {
    bartizan_testing::admitted_path_allocates_nothing(&layer());
}
