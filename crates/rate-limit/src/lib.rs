//! Rate limits: so many requests per client and period, and no more.
//!
//! [`RateLimitLayer`] counts each request under a [`Key`], by default the client's address, and
//! answers those beyond the [`Quota`] without calling the service: with 429, problem details and
//! `Retry-After`, or the gRPC status that says the same. The algorithm is GCRA (ITU-T I.371): no
//! windows that callers can straddle, one number per key, in a table of a fixed size.
//!
//! # When not to use it
//!
//! - To protect a service from more work than it can do: that is load shedding.
//! - To bound how many requests are served at once: quotas are about rates.
//!
//! # Examples
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bartizan_rate_limit::{Quota, RateLimitLayer, RateLimiter, key};
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! async fn handle(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
//!     Ok(Response::new(Full::from("hello")))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = RateLimiter::new(Quota::per_minute(100)?.burst(1)?);
//! let by_token = RateLimitLayer::new(limiter).key(key::header(http::header::AUTHORIZATION));
//! let mut service = ServiceBuilder::new().layer(by_token).service_fn(handle);
//!
//! let request = || Request::builder().header("authorization", "Bearer a").body(());
//! let response = service.ready().await?.call(request()?).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! assert_eq!(response.headers()["ratelimit"], r#""default";r=0;t=1"#);
//!
//! let response = service.ready().await?.call(request()?).await?;
//! assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
//! assert_eq!(response.headers()["retry-after"], "1");
//! # Ok(())
//! # }
//! ```
//!
//! Several limits in one, judged all or nothing, with quotas by tier; without tower, and with a
//! clock that the test moves:
//!
//! ```
//! use std::time::Duration;
//!
//! use bartizan_rate_limit::{Ask, Clock, Key, Policy, Quota, RateLimiter};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Clock::manual();
//! let limiter = RateLimiter::with_policies([
//!     Policy::new("second", "2/s".parse()?),
//!     Policy::new("day", "3/day".parse()?).tier("gold", "1000/day".parse()?),
//! ])?
//! .clock(clock.clone());
//!
//! let alice = Ask::new(Key::of("alice"));
//! assert!(limiter.check(alice.cost(2)).allowed);
//! assert_eq!(limiter.check(alice).retry_after, Some(Duration::from_millis(500)));
//!
//! // What the second refused cost the day nothing.
//! clock.advance(Duration::from_secs(1));
//! assert!(limiter.check(alice).allowed);
//! assert_eq!(*limiter.check(alice).policy, *"day");
//! assert!(limiter.check(Ask::new(Key::of("bob")).tier("gold")).allowed);
//! # Ok(())
//! # }
//! ```
//!
//! # What a layer can be asked for
//!
//! | to | say |
//! |---|---|
//! | count by caller, route, field, or several at once | [`key`](RateLimitLayer::key) |
//! | give each policy a key of its own | [`keys`](RateLimitLayer::keys) |
//! | spend more than 1 for some requests | [`cost_with`](RateLimitLayer::cost_with) |
//! | spend what is known only after the response | [`reserve_with`](RateLimitLayer::reserve_with) |
//! | choose the quota by tier | [`principal_tier`](RateLimitLayer::principal_tier), [`tier_with`](RateLimitLayer::tier_with) |
//! | let probes and preflights off | [`skip_paths`](RateLimitLayer::skip_paths), [`skip_preflights`](RateLimitLayer::skip_preflights) |
//! | refuse requests without a key, or count them as one | [`unkeyed`](RateLimitLayer::unkeyed) |
//! | speak an older form of the response fields | [`dialect`](RateLimitLayer::dialect) |
//! | count for several processes together | [`RateLimiter::shared`] |
//!
//! # Place in the stack
//!
//! Inside `ClientIpLayer` if keyed by address, inside auth if keyed by caller; outside the cache if
//! hits shall count, inside it if not. Inside CORS, so that browsers can read refusals.
//!
//! # When things fail
//!
//! - **A request without a key** passes uncounted unless told otherwise, and is counted as `no_key`.
//!   Behind a server that does not say the peer's address, that is every request: watch this figure.
//! - **Too many keys**: memory is fixed, 2 MiB for 131 072 keys by default ([`Policy::memory`]).
//!   Keys that have their full quota back make room at no loss. If those that share a set of four
//!   slots all owe something, a new one takes the place of the one that owes least, with its debt:
//!   the limit is never exceeded, but under a flood a new caller may be refused early. The metric
//!   `evictions` tells.
//! - **The shared store is away**: each policy is open, closed, or counts for the process alone, as
//!   its [`Outage`] says; within the store's deadline, with one warning.
//! - **A restart** forgets the counts that are kept in the process.
//! - **A refused request** costs nothing: its caller does not wait longer for having asked.
//! - **A clock that goes back** locks nobody out, and gives nobody more than a full burst.

mod ask;
mod decision;
mod demand;
mod engine;
mod fields;
mod future;
mod grade;
mod judgement;
mod layer;
mod limit;
mod observe;
mod policy;
mod quota;
mod refusal;
mod reservation;
mod rules;
mod service;
mod settings;
mod shared;
mod state;
mod store;
mod sync;
mod table;
pub mod with;

pub use bartizan_core::{
    Clock, ConfigError, Engine, Http, Key, KeyExtractor, Mode, Plain, Protocol, Snapshot, Switch,
    key,
};

pub use self::ask::{Ask, PolicyKeys, Unkeyed};
pub use self::decision::Decision;
pub use self::demand::{Demand, Each, One};
pub use self::engine::RateLimiter;
pub use self::fields::Dialect;
pub use self::future::ResponseFuture;
pub use self::layer::RateLimitLayer;
pub use self::policy::{Outage, Policy};
pub use self::quota::Quota;
pub use self::reservation::Reservation;
pub use self::service::RateLimit;
pub use self::settings::{PolicySettings, Settings};
pub use self::shared::{SharedRateLimiter, SharedResponseFuture};
pub use self::store::{Debts, Ration, Store, StoreError, Taking};
