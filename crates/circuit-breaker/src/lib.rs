//! Circuit breaking: stop calling a service that fails, and probe it until it is well again.
//!
//! [`CircuitBreaker`] is the engine for one service, [`KeyedCircuitBreaker`] for many by host, route
//! or another key; [`CircuitBreakerLayer`] applies either to a tower stack, and [`CircuitBreak`] is
//! the service that results.
//!
//! It judges the last calls, or those of the last seconds. When too many of them failed or were
//! slow it opens and refuses every call at once with `503`, the code `circuit-open` and
//! `Retry-After`, or answers by a [fallback](CircuitBreakerLayer::fallback_with). After a wait it lets
//! a few probes through, and then, if told so, growing shares of the calls; they decide whether it
//! closes, or opens again for twice as long. [`Settings`] has the rules.
//!
//! # Where in the stack
//!
//! Innermost, next to what it protects: inside a cache, which can answer a refusal by a stale copy
//! (it is known by the extension [`Refused`](bartizan_core::Refused) with the code
//! `circuit-open`); outside a time-out.
//!
//! # When not to use it
//!
//! - In front of many hosts behind one [`CircuitBreaker`]: one bad host would cut off the good
//!   ones. Use [`KeyedCircuitBreaker`].
//! - Against too much load: that is what load shedding is for.
//! - Inside a timeout: put the timeout *inside* the breaker. A call that a timeout further out
//!   cancels is abandoned, and says nothing about the service.
//!
//! # When things fail
//!
//! 5xx, errors, broken bodies and failing gRPC statuses (read from the trailers) are failures, and
//! so is a panic. Refusals by layers further in and calls that their caller gave up count as
//! neither failure nor success; such a probe frees its slot, and one that hangs loses it after a
//! deadline. An exchange counts when its body ends, and only in the period that it began in. State
//! is per process, and bounded. A listener that panics, panics the call that it is told of.
//!
//! # Examples
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bartizan_circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, Settings};
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! async fn handle(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
//!     let mut response = Response::new(Full::default());
//!     *response.status_mut() = StatusCode::BAD_GATEWAY;
//!     Ok(response)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let breaker = CircuitBreaker::new("billing").settings(Settings::default().window(1, 1))?;
//! let service =
//!     ServiceBuilder::new().layer(CircuitBreakerLayer::new(breaker)).service_fn(handle);
//!
//! let response = service.clone().oneshot(Request::new(())).await?;
//! assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
//! let response = service.oneshot(Request::new(())).await?;
//! assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
//! assert!(response.headers().contains_key("retry-after"));
//! # Ok(())
//! # }
//! ```
//!
//! Without tower:
//!
//! ```
//! use bartizan_circuit_breaker::{CircuitBreaker, Settings, State};
//! use bartizan_core::{ConfigError, Outcome, Watch};
//!
//! # fn main() -> Result<(), ConfigError> {
//! let breaker = CircuitBreaker::new("billing").settings(Settings::default().window(1, 1))?;
//! if let Ok(permit) = breaker.try_acquire() {
//!     permit.settle(Outcome::Failure);
//! }
//! assert_eq!(breaker.state(), State::Open);
//! assert!(breaker.try_acquire().is_err_and(|open| open.retry_after().as_secs() < 6));
//! # Ok(())
//! # }
//! ```

mod circuit;
mod common;
mod engine;
pub mod fallback;
mod future;
mod guard;
mod keyed;
mod layer;
#[cfg(all(test, loom))]
mod models;
mod observe;
mod open;
mod permit;
mod service;
mod settings;
mod state;
mod sync;
mod token;
mod transition;

pub use bartizan_core::{
    Clock, ConfigError, Engine, Http, Key, KeyExtractor, Mode, Outcome, Plain, Protocol, Snapshot,
    Switch, Watch, key,
};

pub use self::engine::CircuitBreaker;
pub use self::future::ResponseFuture;
pub use self::guard::{ByKey, Guard};
pub use self::keyed::KeyedCircuitBreaker;
pub use self::layer::CircuitBreakerLayer;
pub use self::open::Open;
pub use self::permit::Permit;
pub use self::service::CircuitBreak;
pub use self::settings::{Forced, Settings};
pub use self::transition::{Reason, State, Transition};
