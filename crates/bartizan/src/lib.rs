//! Tower middleware for APIs that must grow.
//!
//! Each room is a crate of its own, re-exported here behind a feature of its name. Every room has
//! an engine that works without tower and can be watched and changed while it runs, and a layer for
//! any axum, hyper or tonic service. A refusal is a response in the caller's own protocol, so error
//! types stay as they are.
//!
//! | room | layer | what it does |
//! |---|---|---|
//! | `auth` | `AuthLayer`, `RequireLayer` | who calls, and whether they may |
//! | `cache` | `CacheLayer` | answers from memory what may be reused (RFC 9111) |
//! | `circuit_breaker` | `CircuitBreakerLayer` | stops calling what fails |
//! | `flags` | `FlagsLayer`, `GateLayer` | feature flags, and switches for every layer |
//! | `rate_limit` | `RateLimitLayer` | a quota for each caller |
//! | `shed` | `LoadShedLayer` | refuses at once what cannot be served in time |
//!
//! With the feature `redis`, `bartizan::redis` has stores for what several processes share.
//!
//! # Features
//!
//! None is on by default, and without one there is [`core`] only.
//!
//! | feature | what it brings |
//! |---|---|
//! | `auth`, `cache`, `circuit-breaker`, `flags`, `rate-limit`, `shed` | one room each |
//! | `full` | these six |
//! | `axum` | what axum knows of a request (the peer's address, the matched route, the original URI), and extractors |
//! | `tonic` | the peer's address as tonic knows it |
//! | `redis` | stores for what several processes share; with it, `rate-limit` |
//! | `auth-rust-crypto` | tokens verified by RustCrypto: beside `auth`, or in its place, without AWS-LC and a client for issuers |
//! | `auth-basic`, `auth-reqwest` | beside either: users with passwords, and reqwest as the client that issuers are asked by |
//! | `open-feature` | a provider for OpenFeature's SDK |
//!
//! # The stack
//!
//! Outermost first, as `ServiceBuilder` reads:
//!
#![cfg_attr(
    all(feature = "full", feature = "axum"),
    doc = include_str!("stack.md")
)]

#[cfg(all(doctest, feature = "full"))]
mod pages;

pub use bartizan_core as core;

#[cfg(feature = "_auth")]
pub use bartizan_auth as auth;
#[cfg(feature = "cache")]
pub use bartizan_cache as cache;
#[cfg(feature = "circuit-breaker")]
pub use bartizan_circuit_breaker as circuit_breaker;
#[cfg(feature = "flags")]
pub use bartizan_flags as flags;
#[cfg(feature = "rate-limit")]
pub use bartizan_rate_limit as rate_limit;
#[cfg(feature = "redis")]
pub use bartizan_redis as redis;
#[cfg(feature = "shed")]
pub use bartizan_shed as shed;
