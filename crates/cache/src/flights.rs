//! The flights that can be joined, by key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bartizan_core::{Key, Timestamp};
use http::HeaderMap;

use crate::by_key::ByKey;
use crate::exchange::Fetch;
use crate::flight::{Flight, Reader};
use crate::head::Head;

const SHARDS: usize = 16;

/// What a request is to a key's flights.
pub(crate) enum Role {
    Leader(Reader),
    Follower(Reader),
}

type Shard = HashMap<Key, Vec<Weak<Flight>>, ByKey>;

/// As many as there are requests on their way.
#[derive(Debug, Default)]
pub(crate) struct Flights([Mutex<Shard>; SHARDS]);

impl Flights {
    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        let shard = &self.0[key.as_u128() as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the first flight whose answer may be one to a request with these `headers`, or begins
    /// one. `known` is a stored response that tells how the resource varies.
    pub(crate) fn enter(
        &self,
        headers: &HeaderMap,
        known: Option<&Head>,
        fetch: Box<Fetch>,
    ) -> Role {
        // Outside of the lock: the last one to let go of a flight has to leave it, too.
        let mut seen = Vec::new();
        let (key, now) = (fetch.keyed.key, fetch.demand.now);
        let mut shard = self.shard(key);
        let flights = shard.entry(key).or_default();
        seen.extend(flights.iter().filter_map(Weak::upgrade));
        let joined = seen.iter().find(|flight| flight.may_be_joined(headers, known, now));
        let role = match joined {
            Some(flight) => Role::Follower(Reader::follow(Arc::clone(flight))),
            None => {
                let reader = Flight::lead(fetch);
                flights.push(Arc::downgrade(reader.flight()));
                Role::Leader(reader)
            }
        };
        drop(shard);
        role
    }

    /// Whether a flight could be joined.
    pub(crate) fn has(
        &self,
        key: Key,
        headers: &HeaderMap,
        known: Option<&Head>,
        now: Timestamp,
    ) -> bool {
        let seen: Vec<_> = {
            let shard = self.shard(key);
            shard.get(&key).into_iter().flatten().filter_map(Weak::upgrade).collect()
        };
        seen.iter().any(|flight| flight.may_be_joined(headers, known, now))
    }

    /// Nobody joins this flight any more.
    pub(crate) fn leave(&self, key: Key, flight: &Flight) {
        let mut shard = self.shard(key);
        if let Some(flights) = shard.get_mut(&key) {
            flights.retain(|other| !std::ptr::eq(other.as_ptr(), flight));
            if flights.is_empty() {
                shard.remove(&key);
            }
        }
    }
}
