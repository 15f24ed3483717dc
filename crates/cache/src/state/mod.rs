//! What may be stored and reused (RFC 9111 §3, §4): pure functions of messages and time.

mod date;
mod freshness;
mod reuse;
mod storable;

pub(crate) use self::date::date;
pub(crate) use self::freshness::{Freshness, Received};
pub(crate) use self::reuse::{Demand, Refusal, Reuse, is_for_others, reuse, stands_in};
pub(crate) use self::storable::{Answer, Policy, assess};
