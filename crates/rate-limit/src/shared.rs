//! A limiter whose counts are kept outside the process.

mod engine;
mod future;
mod judge;
mod service;

pub use self::engine::SharedRateLimiter;
pub use self::future::SharedResponseFuture;
