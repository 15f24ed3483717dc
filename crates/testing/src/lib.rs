//! The contract that every Bartizan layer keeps, as tests that each layer's `tests/contract.rs`
//! calls by one macro, [`contract!`].
//!
//! The inner service of these tests panics when it is called without having been ready, so a layer
//! that calls a fresh clone is found out. Failures are panics that say which clause was broken.

mod alloc;
mod contract;
mod inner;
mod log;
mod unread;

pub use self::alloc::allocations;
pub use self::contract::{
    abandoned_exchanges_leave_nothing, admitted_path_allocates_nothing, clones_share_state,
    panics_leave_nothing, readied_instance_is_called, readiness_is_not_hoarded,
};
pub use self::inner::{Bodied, Bodiless, Inner, InnerBody, InnerFuture, request};
pub use self::log::Log;
pub use self::unread::UnreadBody;

/// Writes the contract's tests for one layer.
///
/// - `layer`: an expression that makes the layer anew, in a state that lets requests through;
/// - `held`: a closure from `&layer` to the number of exchanges that it holds as unfinished;
/// - `seen`: a closure from `&layer` to the number of requests that it has decided on.
#[macro_export]
macro_rules! contract {
    (layer: $layer:expr, held: $held:expr, seen: $seen:expr $(,)?) => {
        #[test]
        fn the_readied_instance_is_called() {
            $crate::readied_instance_is_called(&$layer);
        }

        #[test]
        fn readiness_is_not_hoarded() {
            let layer = $layer;
            $crate::readiness_is_not_hoarded(&layer, $held);
        }

        #[test]
        fn clones_share_state() {
            let layer = $layer;
            $crate::clones_share_state(&layer, $seen);
        }

        #[test]
        fn abandoned_exchanges_leave_nothing() {
            let layer = $layer;
            $crate::abandoned_exchanges_leave_nothing(&layer, $held);
        }

        #[test]
        fn panics_leave_nothing() {
            let layer = $layer;
            $crate::panics_leave_nothing(&layer, $held);
        }

        #[test]
        fn the_admitted_path_allocates_nothing() {
            $crate::admitted_path_allocates_nothing(&$layer);
        }
    };
}
