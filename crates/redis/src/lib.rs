//! State that Bartizan's layers share between processes, over Redis or Valkey.

#![cfg_attr(
    not(feature = "rate-limit"),
    allow(dead_code, reason = "not every room asks for everything")
)]

mod breaker;
#[cfg(feature = "cache")]
mod cache;
mod client;
#[cfg(feature = "rate-limit")]
mod corrections;
#[cfg(feature = "rate-limit")]
mod errand;
#[cfg(all(feature = "rate-limit", test))]
mod fleet;
#[cfg(feature = "rate-limit")]
mod lease;
#[cfg(feature = "rate-limit")]
mod leases;
mod observe;
#[cfg(feature = "rate-limit")]
mod rate_limit;
mod script;
#[cfg(all(feature = "rate-limit", test))]
#[path = "../tests/server/mod.rs"]
mod server;
mod settings;
#[cfg(all(feature = "rate-limit", test))]
mod vectors;

pub use bartizan_core::{Clock, ConfigError, Engine, Mode, Snapshot, Switch, Timestamp};

#[cfg(feature = "cache")]
pub use self::cache::CacheStore;
pub use self::client::Redis;
#[cfg(feature = "rate-limit")]
pub use self::rate_limit::{RateLimitStore, Trip};
pub use self::settings::Settings;
