//! Rate limits: so many requests per client and period, and no more.
//!
//! [`RateLimitLayer`] counts each request under a [`Key`], by default the client's address, and
//! answers those beyond the [`Quota`] without calling the service: with 429, problem details and
//! `Retry-After`, or the gRPC status that says the same. The algorithm is GCRA by [`governor`]: no
//! windows that callers can straddle, one 64-bit number per key.
//!
//! # When not to use it
//!
//! - To protect a service from more work than it can do: that is load shedding.
//! - For one limit over several processes: each process counts for itself.
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
//! Without tower, and with a clock that the test moves:
//!
//! ```
//! use std::time::Duration;
//!
//! use bartizan_rate_limit::{Clock, Key, Quota, RateLimiter};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Clock::manual();
//! let limiter = RateLimiter::new("2/min".parse::<Quota>()?).clock(clock.clone());
//!
//! let key = Key::of("alice");
//! assert_eq!(limiter.check(key).remaining, 1);
//! assert!(limiter.check(key).allowed);
//! assert_eq!(limiter.check(key).retry_after, Some(Duration::from_secs(30)));
//!
//! clock.advance(Duration::from_secs(30));
//! assert!(limiter.check(key).allowed);
//! # Ok(())
//! # }
//! ```
//!
//! # Place in the stack
//!
//! Inside `ClientIpLayer` if keyed by address, inside auth if keyed by caller; outside the cache if
//! hits shall count, inside it if not.
//!
//! # When things fail
//!
//! - **A request without a key** passes unlimited and is counted as `no_key`. Behind a server that
//!   does not say the peer's address, that is every request: watch this figure, or key by
//!   [`key::global`].
//! - **Too many keys**: memory is bounded by [`RateLimiter::max_keys`], 100 000 by default. At the
//!   cap, keys that have their full quota back are dropped, at most once a second; if that frees
//!   nothing, all new keys share a single bucket of one quota until it does.
//! - **A restart** forgets all counts.
//! - **A refused request** costs nothing: its caller does not wait longer for having asked.

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

pub use bartizan_core::{Clock, ConfigError, Engine, Key, KeyExtractor, Mode, Switch, key};

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
