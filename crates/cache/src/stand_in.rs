//! Stale responses in place of errors (RFC 5861).

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::entry::Entry;
use crate::exchange::Fetch;
use crate::observe::Verdict;
use crate::serve::{Asks, serve};
use crate::state::{self, Demand};

impl Fetch {
    /// The stored response, if it may stand in for an answer of this status, or for none.
    pub(crate) fn stand_in(&self, status: Option<StatusCode>) -> Option<&Arc<Entry>> {
        let unreachable = status.is_none_or(|status| matches!(status.as_u16(), 502 | 504));
        let entry = self.stale().filter(|_| self.serves)?;
        let demand = Demand { now: self.cache.now(), ..self.demand };
        state::stands_in(&entry.head.policy, &demand, unreachable).then_some(entry)
    }
}

/// A stale response in place of an error.
pub(crate) fn stood_in(
    fetch: &Fetch,
    entry: &Arc<Entry>,
    status: Option<StatusCode>,
) -> Option<Response<Bytes>> {
    let now = fetch.cache.now();
    let line = fetch.annotate.then(|| {
        let ttl = entry.head.policy.freshness.ttl(now);
        fetch.cache.status().stood_in(ttl, status.map(|status| status.as_u16()))
    });
    let response =
        serve(entry, &fetch.request, Asks::get(&fetch.request), now, line.as_ref().into())?;
    fetch.cache.counts().request(Verdict::StoodIn);
    Some(response)
}
