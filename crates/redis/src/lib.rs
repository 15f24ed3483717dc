//! State that Bartizan's layers share between processes, over Redis or Valkey.
//!
//! [`Redis`] is the connection that all of them use. What is kept there is a store for each room:
//!
//! - [`RateLimitStore`], for limits that all processes count together: GCRA in one script, on the
//!   server's own clock, with all policies of a request in one trip.
//! - [`CacheStore`], for responses that any process made and all serve: what goes behind the memory
//!   of a `ResponseCache`, with purges that hold for all, and one fetch for many misses anywhere.
//! - [`SharedDenylist`], for revocations: what one process revokes, all deny.
//! - [`KeyStore`], for records of API keys that all processes accept.
//! - [`FlagsSource`], for a flag document that all processes follow: told of a change at once, and
//!   asking from time to time in case that was lost.
//!
//! # When not to use it
//!
//! - If each process may have a quota of its own, as behind a balancer that spreads callers evenly:
//!   counting in memory takes some hundred nanoseconds and cannot be down.
//! - As the only tier of a cache: it is behind memory, never in place of it.
//! - For a Redis Cluster: one server is asked, be it alone, a primary, or behind a proxy.
//!
//! # Examples
//!
//! ```no_run
//! use bartizan_rate_limit::{Outage, Quota, RateLimitLayer, RateLimiter};
//! use bartizan_redis::{RateLimitStore, Redis};
//!
//! # fn main() -> Result<(), bartizan_redis::ConfigError> {
//! // Before anything is hashed, and the same in every process: or each would have its own keys.
//! # let secret = [7; 32];
//! bartizan_redis::key::share(&secret)?;
//!
//! let redis = Redis::new("redis://:password@cache.internal:6379")?;
//! let store = RateLimitStore::new(redis);
//! // While Redis is away, each of two processes grants its half. By default requests pass uncounted.
//! let limiter = RateLimiter::new(Quota::per_minute(600)?)
//!     .named("by-caller")
//!     .outage(Outage::Local { nodes: 2 })
//!     .shared(store);
//! let layer = RateLimitLayer::new(limiter).key(bartizan_redis::key::principal());
//! # Ok(())
//! # }
//! ```
//!
//! With leases, a deadline and a prefix of one's own; and asked without a limiter:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use bartizan_rate_limit::{Key, Ration, Store, Taking};
//! use bartizan_redis::{RateLimitStore, Redis};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let redis = Redis::new("redis://127.0.0.1")?.deadline(Duration::from_millis(5));
//! let store = RateLimitStore::new(redis).prefix("shop")?.lease(50);
//!
//! // A hundred a second, ten at once.
//! let ration = Ration::new("by-caller", "default", Key::of("alice"), 10_000_000, 10);
//! let debts = match store.take(&[ration]) {
//!     Taking::Done(known) => known?,
//!     Taking::Trip(trip) => trip.await?,
//!     _ => unreachable!("a store answers in one of these ways"),
//! };
//! println!("admitted: {}", debts.refused == 0);
//! # Ok(())
//! # }
//! ```
//!
//! Responses, behind the memory of each process:
//!
//! ```no_run
//! use bartizan_cache::{CacheLayer, Purge, ResponseCache};
//! use bartizan_redis::{CacheStore, Redis};
//!
//! # fn main() -> Result<(), bartizan_redis::ConfigError> {
//! let redis = Redis::new("redis://127.0.0.1")?;
//! let store = CacheStore::new(redis).prefix("shop:pages")?.max_body_bytes(1 << 20);
//! let cache = ResponseCache::new("pages").over(store);
//! let layer = CacheLayer::new(cache.clone());
//!
//! // In this process, at Redis and in all others.
//! cache.purge(&Purge::tag("prices"));
//! # Ok(())
//! # }
//! ```
//!
//! # Place in the stack
//!
//! None of its own: a store is handed to the limiter or cache whose layer has a place.
//!
//! # When things fail
//!
//! - **The server is slow**: a request waits for at most the [deadline](Redis::deadline), 20 ms by
//!   default, and then the limiter does what its policies say about outages. What the server spends
//!   after that stays spent.
//! - **It is dead, frozen or failing**: after five failures in a row, or when no connection can be
//!   made, requests are told at once. One task tries to connect, at waits that grow from 50 ms to 2 s;
//!   when the server answers its greeting, everyone asks again. Nothing has to be restarted.
//! - **A connection is lost**: that is noticed without a request, and another is made at once.
//!   Requests that come in between wait for it within their deadline.
//! - **It has lost its data**, as after a restart without persistence: callers begin with their whole
//!   burst. It has lost its scripts: they are sent again, in the same trip's deadline.
//! - **Its clock steps back**: nobody waits for longer than an exhausted key does. It steps ahead: a
//!   key has one burst, as if it had been idle.
//! - **Leases** last through an outage until they are spent or a second old. A process that dies takes
//!   what it had leased with it, which comes back as time passes.
//! - **A cache** asks its service in all these cases; what it has in memory it serves on. A record or
//!   chunk that cannot be read is a miss, and the next response takes its place. What is evicted, or
//!   lost with a restart, is a miss, and never brings back what was purged before.
//! - **A cache does not hear of purges** while it has no connection, and drops all that is in memory
//!   when it has one again, if there was any. Its own purges are owed to the server until they are done.
//! - **A process dies that others wait for**: they ask the service themselves after half of the
//!   cache's wait limit.
//! - **A denylist** goes by what it knows, and says so once it has heard nothing for as long as it was
//!   told. A server that has lost its data takes nothing back.
//! - **API keys** that a process does not remember get 503 while the server cannot be asked; what it
//!   remembers it forgets with the connection that tells it of changes.
//! - **Flags** keep the last good document, on disk as well if that is asked for, and no evaluation
//!   waits. A connection that is lost is made anew, at waits that grow from 50 ms to 2 s, and the
//!   document is then asked for.
//! - **A refund or charge** does not wait: 4096 may be on their way, and more, or those that the
//!   server does not take, are dropped and counted.
//!
//! # Features
//!
//! - `auth`: [`SharedDenylist`] and [`KeyStore`].
//! - `cache`: [`CacheStore`].
//! - `flags`: [`FlagsSource`].
//! - `rate-limit`: [`RateLimitStore`].

#![cfg_attr(
    not(all(feature = "auth", feature = "cache", feature = "rate-limit")),
    allow(dead_code, reason = "what only one room asks of the server is not asked without it")
)]

#[cfg(feature = "auth")]
mod api_keys;
mod breaker;
#[cfg(feature = "cache")]
mod cache;
mod client;
#[cfg(feature = "rate-limit")]
mod corrections;
#[cfg(feature = "auth")]
mod denylist;
#[cfg(feature = "rate-limit")]
mod errand;
#[cfg(feature = "auth")]
mod feed;
#[cfg(feature = "flags")]
mod flags;
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

pub use bartizan_core::{Clock, ConfigError, Engine, Mode, Snapshot, Switch, Timestamp, key};

#[cfg(feature = "auth")]
pub use self::api_keys::KeyStore;
#[cfg(feature = "cache")]
pub use self::cache::CacheStore;
pub use self::client::Redis;
#[cfg(feature = "auth")]
pub use self::denylist::{NotShared, SharedDenylist};
#[cfg(feature = "flags")]
pub use self::flags::{FlagsSource, PublishError};
#[cfg(feature = "rate-limit")]
pub use self::rate_limit::{RateLimitStore, Trip};
