//! Load shedding: refuse at once what cannot be served in time.
//!
//! [`LoadShedLayer`] counts the exchanges in flight, from the request to the end of the response
//! body (streams and gRPC trailers included). What finds no free slot waits for a moment, the more
//! important first, and is answered with 503 and `Retry-After` (gRPC: `UNAVAILABLE` and a pushback) if
//! none comes free, without calling the service.
//!
//! Nobody has to say how much the service can take: [`limit::BandwidthDelay`] learns what it works
//! on at once, and how long requests may wait follows from how long calls take and how much they
//! differ. Fixed limits and the algorithms of the field are there too: see [`limit`].
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
//! With priorities by route, fair shares by address, and no wait beyond the caller's own:
//!
//! ```
//! use axum::{Router, routing::get};
//! use bartizan_core::key;
//! use bartizan_shed::{Deadlines, LoadShedLayer, LoadShedder, Priority, by_route};
//!
//! let routes = [("/checkout", Priority::Critical), ("/recommended", Priority::Sheddable)];
//! let layer = LoadShedLayer::new(LoadShedder::new("shop"))
//!     .priority(by_route(routes))
//!     .tenant(key::ip())
//!     .deadlines(Deadlines::grpc());
//! let app: Router = Router::new().route("/checkout", get(|| async { "thanks" })).layer(layer);
//! ```
//!
//! With a fixed limit, no queue, and without tower:
//!
//! ```
//! use bartizan_core::{Outcome, Watch};
//! use bartizan_shed::{LoadShedder, Settings};
//!
//! # fn main() -> Result<(), bartizan_shed::ConfigError> {
//! let shedder = LoadShedder::new("jobs").settings(Settings::fixed(1).queue(0))?;
//! let slot = shedder.admit().expect("nothing is in flight");
//! assert!(shedder.admit().is_none());
//! slot.settle(Outcome::Success);
//! assert!(shedder.admit().is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # Place in the stack
//!
//! Outside all else but telemetry, so that a refusal costs as little as can be. Priorities by tier need
//! to know who calls: for them a second shedder stands inside auth.
//!
//! # When not to use it
//!
//! For a promise to each client use a rate limit. In front of a service whose answers take very
//! different times for good reason (long polling beside lookups) give each its own shedder, or exempt the
//! slow ones: what the service works on at once is an average over all.
//!
//! # When things fail
//!
//! There is no store. A call that is cancelled, panics, or is dropped in mid-body gives its slot
//! back, and so does one that waits. A call that is cancelled or fails after longer than usual counts
//! for the time that it took, as a lower bound; a fast error counts for nothing. Waits are ended by
//! tokio's timer; without a tokio runtime, by the next request that comes or ends. A runtime that is
//! built by hand needs `enable_time`, or tokio panics where a request has to wait.

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
#[cfg(all(test, loom))]
mod models;
mod observe;
mod priority;
mod queue;
mod reason;
mod refusals;
mod rejection;
mod service;
mod settings;
mod shared;
mod slot;
mod sync;
mod triage;
mod usage;
mod waiting;

pub use bartizan_core::{
    Clock, ConfigError, Engine, Http, Key, KeyExtractor, Mode, Outcome, Plain, Protocol, Snapshot,
    Switch, Watch, key,
};

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
