//! The README and the pages under `docs/`, so that their examples are run as doctests.

#[doc = include_str!("../../../docs/auth.md")]
mod auth {}

#[doc = include_str!("../../../docs/cache.md")]
mod cache {}

#[doc = include_str!("../../../docs/circuit-breaker.md")]
mod circuit_breaker {}

#[doc = include_str!("../../../docs/flags.md")]
mod flags {}

#[doc = include_str!("../../../docs/operations.md")]
mod operations {}

#[cfg(feature = "axum")]
#[doc = include_str!("../../../README.md")]
mod readme {}

#[doc = include_str!("../../../docs/rate-limit.md")]
mod rate_limit {}

#[cfg(feature = "redis")]
#[doc = include_str!("../../../docs/redis.md")]
mod redis {}

#[doc = include_str!("../../../docs/shed.md")]
mod shed {}

#[cfg(feature = "axum")]
#[doc = include_str!("../../../docs/stacking.md")]
mod stacking {}

#[cfg(feature = "axum")]
#[doc = include_str!("../../../docs/testing.md")]
mod testing {}
