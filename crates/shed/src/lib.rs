//! Load shedding: refuse at once what cannot be served in time.
//!
//! [`LoadShedLayer`] counts the exchanges in flight, from the request to the end of the response
//! body (streams and gRPC trailers included), and answers every request beyond a limit with 503
//! and `Retry-After` (gRPC: `UNAVAILABLE`) without calling the service. The limit adapts: it grows
//! by one per round while it is used and answers come within the latency target, and shrinks by a
//! tenth, at most once per target, when they do not (additive increase, multiplicative decrease).
//! Latency is the time to the response's head, since the time that a body takes is the client's.
//!
//! # Examples
//!
//! On an axum router. Probes are always served:
//!
//! ```
//! use axum::{Router, routing::get};
//! use bartizan_shed::{LoadShedLayer, LoadShedder};
//!
//! let shedder = LoadShedder::new("api");
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(LoadShedLayer::new(shedder).exempt_paths(["/livez"]));
//! ```
//!
//! With limits of one's own, and without tower:
//!
//! ```
//! use std::time::Duration;
//!
//! use bartizan_shed::{LoadShedder, Settings};
//!
//! # fn main() -> Result<(), bartizan_shed::ConfigError> {
//! let settings = Settings::default().latency_target(Duration::from_millis(50)).limits(1, 1, 8);
//! let shedder = LoadShedder::new("jobs").settings(settings)?;
//! let slot = shedder.admit().expect("nothing is in flight");
//! assert!(shedder.admit().is_none());
//! drop(slot);
//! assert!(shedder.admit().is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # Place in the stack
//!
//! Outside all else but telemetry, so that a refusal costs as little as can be.
//!
//! # When not to use it
//!
//! For a promise to each client use a rate limit: this layer does not know whom it refuses. In
//! front of a service whose answers take very different times for good reason (long polling beside
//! lookups) give each its own shedder, or the slow ones will shrink the limit of the fast.
//!
//! # When things fail
//!
//! There is no store. A call that is cancelled, panics, or is dropped in mid-body gives its slot
//! back; one that is cancelled after more than the latency target counts as slow.

mod control;
mod deadlines;
mod door;
mod engine;
mod exempt;
mod future;
mod gate;
mod layer;
pub mod limit;
mod lobby;
mod observe;
mod priority;
mod queue;
mod reason;
mod rejection;
mod service;
mod settings;
mod shared;
mod slot;
mod sync;
mod triage;
mod usage;
mod waiting;

pub use bartizan_core::ConfigError;

pub use self::deadlines::Deadlines;
pub use self::engine::LoadShedder;
pub use self::exempt::{Exempt, ExemptPaths};
pub use self::future::ResponseFuture;
pub use self::layer::LoadShedLayer;
pub use self::priority::{Claim, Priority};
pub use self::reason::Reason;
pub use self::service::LoadShed;
pub use self::settings::{Algorithm, Settings};
pub use self::slot::Slot;
pub use self::triage::{
    ByHeader, ByRoute, ByTier, Rank, Triage, WithDeadlines, WithExempt, WithPriority, WithTenant,
    by_header, by_route, by_tier,
};
