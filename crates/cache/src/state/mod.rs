//! What may be stored and reused (RFC 9111 §3, §4): pure functions of messages and time.

mod freshness;
mod reuse;
mod storable;

pub(crate) use self::freshness::{Freshness, Received, date};
pub(crate) use self::reuse::{Refusal, reuse};
pub(crate) use self::storable::{Policy, has_validator, is_storable};
