//! A response on its way into the store, while the client reads it.

use bartizan_core::{Engine, Key};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::SizeHint;

use crate::ResponseCache;
use crate::entry::Draft;
use crate::observe::Fate;

/// What is reserved for a body at first, at most: a declared length is not yet a body.
const FIRST: u64 = 64 << 10;

/// Where a response is to be stored.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) key: Key,
    pub(crate) epoch: u32,
    /// The request's fields, which tell variants apart.
    pub(crate) request: HeaderMap,
}

/// The copy of a body as far as it has come. Dropped before the whole is there, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Fill {
    cache: ResponseCache,
    /// Until the fate is known.
    pending: Option<(Slot, Draft)>,
    /// The whole length, where it is known from the start.
    expected: Option<u64>,
    limit: u64,
    copy: Vec<u8>,
    reserved: u64,
}

impl Fill {
    /// `None` if the body is too long, by its own account, or of no clear length.
    pub(crate) fn new(
        cache: &ResponseCache,
        slot: Slot,
        draft: Draft,
        headers: &HeaderMap,
        hint: &SizeHint,
    ) -> Option<Self> {
        let limit = cache.current_settings().body_bytes();
        let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
        let expected = match lengths.next() {
            None => hint.exact(),
            Some(length) => Some(length.to_str().ok()?.parse::<u64>().ok()?),
        };
        if lengths.next().is_some() {
            return None;
        }
        let mut fill = Self {
            cache: cache.clone(),
            pending: Some((slot, draft)),
            expected,
            limit,
            copy: Vec::new(),
            reserved: 0,
        };
        let least = expected.unwrap_or(hint.lower());
        if least > limit || !fill.grow(least.min(FIRST)) {
            fill.settle(Fate::Oversized);
            return None;
        }
        Some(fill)
    }

    /// Copies a part of the body. False if that is too much.
    #[must_use]
    pub(crate) fn push(&mut self, part: &Bytes) -> bool {
        let len = self.copy.len() as u64 + part.len() as u64;
        if len > self.limit || self.expected.is_some_and(|whole| len > whole) {
            return false;
        }
        let capacity = self.copy.capacity() as u64;
        // Doubled, so that a body in many parts is not moved for each.
        if len > capacity && !self.grow(len.max((capacity * 2).min(self.limit))) {
            return false;
        }
        self.copy.extend_from_slice(part);
        true
    }

    fn grow(&mut self, capacity: u64) -> bool {
        let more = capacity.saturating_sub(self.reserved);
        if !self.cache.reserve(more) {
            return false;
        }
        self.reserved += more;
        let Ok(capacity) = usize::try_from(capacity) else { return false };
        self.copy.reserve_exact(capacity - self.copy.len());
        true
    }

    /// The body is over. Stored if it is complete; true if so.
    pub(crate) fn finish(&mut self) -> bool {
        let len = self.copy.len() as u64;
        if self.expected.is_some_and(|whole| whole != len) {
            self.settle(Fate::Broken);
            return false;
        }
        let Some((slot, draft)) = self.pending.take() else { return false };
        // Without the room that was left for more.
        let body = Bytes::from(std::mem::take(&mut self.copy).into_boxed_slice());
        let stored = self.cache.put(slot.key, slot.epoch, draft.complete(body), &slot.request);
        self.count(if stored { Fate::Stored } else { Fate::Overtaken });
        stored
    }

    /// The body is not to be stored.
    pub(crate) fn settle(&mut self, fate: Fate) {
        if self.pending.take().is_some() {
            self.count(fate);
        }
    }

    fn count(&self, fate: Fate) {
        self.cache.counts().fill(self.cache.name(), fate);
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        // Servers do not poll a body beyond its declared length, be it at its end or not.
        if self.expected == Some(self.copy.len() as u64) {
            self.finish();
        } else {
            self.settle(Fate::Abandoned);
        }
        self.cache.release(self.reserved);
    }
}
