//! A body on its way, for the store and for all who read of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use slab::Slab;

use crate::ResponseCache;
use crate::body::{BoxError, BrokenOff};
use crate::engine::Epoch;
use crate::head::Head;
use crate::observe::Fate;
use crate::range::Part;

/// What a body is stored as when it is whole.
#[derive(Debug)]
pub(crate) struct Fill {
    pub(crate) head: Arc<Head>,
    pub(crate) part: Option<Part>,
    /// The whole length, where it is known from the start.
    pub(crate) expected: Option<u64>,
    pub(crate) limit: u64,
    /// How many bytes all bodies on their way may take.
    pub(crate) budget: u64,
    pub(crate) epoch: Epoch,
    pub(crate) position: u64,
}

/// How a body ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The first reader that comes to it is given the service's own error.
    Broken(Option<BoxError>),
    Trailers(HeaderMap),
    Whole,
}

/// A body that is complete, and what it is stored as.
pub(crate) struct Filled {
    pub(crate) fill: Fill,
    pub(crate) body: Bytes,
}

pub(crate) struct Stream {
    cache: ResponseCache,
    /// The parts that some reader has yet to read, or the store yet to take.
    chunks: VecDeque<Bytes>,
    /// How many were read by all and are no longer held.
    gone: usize,
    len: u64,
    /// The bytes held, as counted by the cache.
    held: u64,
    fill: Option<Fill>,
    /// The whole length, where it is known from the start.
    expected: Option<u64>,
    /// Whether the body is no longer stored: then only what somebody has yet to read is held.
    is_passing: bool,
    end: Option<End>,
    seats: Slab<Seat>,
}

struct Seat {
    /// The next chunk.
    at: usize,
    read: u64,
    /// Whether it held the others up for too long: nothing more comes for it.
    is_cut_off: bool,
}

impl Stream {
    pub(crate) fn new(cache: &ResponseCache) -> Self {
        Self {
            cache: cache.clone(),
            chunks: VecDeque::new(),
            gone: 0,
            len: 0,
            held: 0,
            fill: None,
            expected: None,
            is_passing: false,
            end: None,
            seats: Slab::with_capacity(1),
        }
    }

    pub(crate) fn open(&mut self, fill: Fill) {
        self.expected = fill.expected;
        self.fill = Some(fill);
    }

    /// Takes a part of the body. `None` goes on; else how the fill failed.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Option<Fate> {
        let size = chunk.len() as u64;
        self.len += size;
        let taken = self.cache.reserve(size);
        self.held += size;
        self.chunks.push_back(chunk);
        let fill = self.fill.as_ref()?;
        let fate = if fill.expected.is_some_and(|whole| self.len > whole) {
            Fate::Broken
        } else if self.len > fill.limit || taken > fill.budget {
            Fate::Oversized
        } else {
            return None;
        };
        self.pass();
        Some(fate)
    }

    /// The body is not stored: it is only passed on from here.
    pub(crate) fn pass(&mut self) -> Option<Fill> {
        self.is_passing = true;
        self.fill.take()
    }

    pub(crate) fn end(&mut self, end: End) {
        if self.end.is_none() {
            self.end = Some(end);
        }
    }

    /// What is to be stored now that the body is over. An error if it is not of the length that
    /// was declared.
    pub(crate) fn complete(&mut self) -> Result<Option<Filled>, Fate> {
        let Some(fill) = self.fill.take() else { return Ok(None) };
        if fill.expected.is_some_and(|whole| whole != self.len) {
            self.is_passing = true;
            return Err(Fate::Broken);
        }
        let body = self.whole();
        Ok(Some(Filled { fill, body }))
    }

    /// All readers are gone. Servers do not poll a body beyond its declared length: if that has
    /// come, the body is whole.
    pub(crate) fn abandon(&mut self) -> Option<Filled> {
        let fill = self.fill.take()?;
        if fill.expected == Some(self.len) {
            let body = self.whole();
            return Some(Filled { fill, body });
        }
        self.cache.counts().fill(self.cache.label(), Fate::Abandoned);
        None
    }

    /// The whole body: its only part as it is, if nothing but that part would be kept alive by it;
    /// else a copy, for a part may be a slice of something larger.
    fn whole(&mut self) -> Bytes {
        if self.gone == 0
            && self.chunks.len() == 1
            && let Some(only) = self.chunks.pop_front()
        {
            let (body, is_all) = match only.try_into_mut() {
                Ok(owned) => {
                    let is_all = owned.capacity() <= owned.len() + owned.len() / 8;
                    (owned.freeze(), is_all)
                }
                Err(shared) => (shared, false),
            };
            self.chunks.push_back(body.clone());
            if is_all {
                return body;
            }
        }
        let mut body = BytesMut::with_capacity(self.len as usize);
        self.chunks.iter().for_each(|chunk| body.extend_from_slice(chunk));
        body.freeze()
    }

    /// Whether all of the body so far is held.
    pub(crate) fn is_whole(&self) -> bool {
        !self.is_passing && !matches!(self.end, Some(End::Broken(_)))
    }

    /// Whether the body is only passed on.
    pub(crate) const fn is_passing(&self) -> bool {
        self.is_passing
    }

    pub(crate) fn has_room(&self) -> bool {
        !self.is_passing || self.held == 0 || self.held < self.cache.body_limit()
    }

    pub(crate) fn seats(&self) -> usize {
        self.seats.len()
    }

    pub(crate) fn sit(&mut self) -> usize {
        self.seats.insert(Seat { at: self.gone, read: 0, is_cut_off: false })
    }

    pub(crate) fn leave(&mut self, seat: usize) {
        self.seats.remove(seat);
    }

    pub(crate) fn read(&mut self, seat: usize) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let total = self.gone + self.chunks.len();
        let seat = &mut self.seats[seat];
        let at = seat.at;
        if seat.is_cut_off {
            // Once the error, then nothing.
            let is_new = at <= total;
            seat.at = total + 1;
            return Poll::Ready(is_new.then(|| Err(BrokenOff.into())));
        }
        if at < total {
            let chunk = self.chunks[at - self.gone].clone();
            seat.at += 1;
            seat.read += chunk.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let frame = match &mut self.end {
            None => return Poll::Pending,
            _ if at > total => None,
            Some(End::Whole) => None,
            Some(End::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers.clone()))),
            Some(End::Broken(error)) => {
                Some(Err(error.take().unwrap_or_else(|| Box::new(BrokenOff))))
            }
        };
        seat.at = total + 1;
        Poll::Ready(frame)
    }

    pub(crate) fn is_at_end(&self, seat: usize) -> bool {
        let Seat { at, is_cut_off, .. } = self.seats[seat];
        let total = self.gone + self.chunks.len();
        if is_cut_off {
            return at > total;
        }
        match self.end {
            Some(End::Whole) => at >= total,
            Some(_) => at > total,
            None => false,
        }
    }

    pub(crate) fn left(&self, seat: usize) -> Option<u64> {
        let whole = match self.end {
            Some(End::Whole) => Some(self.len),
            _ => self.expected,
        };
        whole.map(|whole| whole.saturating_sub(self.seats[seat].read))
    }

    fn slowest(&self) -> Option<usize> {
        let seats = self.seats.iter().filter(|(_, seat)| !seat.is_cut_off);
        seats.map(|(_, seat)| seat.at).min()
    }

    /// Gives up on those who have read least, unless `seat` is one of them, so that it can go on.
    pub(crate) fn cut_off_slowest(&mut self, seat: usize) {
        if self.has_room() {
            return;
        }
        let Some(slowest) = self.slowest().filter(|at| *at < self.seats[seat].at) else { return };
        for (_, seat) in self.seats.iter_mut().filter(|(_, seat)| seat.at == slowest) {
            seat.is_cut_off = true;
        }
        self.trim();
    }

    /// Lets go of what all have read, if it is not for the store. True if that made room.
    pub(crate) fn trim(&mut self) -> bool {
        if !self.is_passing {
            return false;
        }
        let slowest = self.slowest().unwrap_or(usize::MAX);
        let before = self.gone;
        while self.gone < slowest
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.gone += 1;
            self.held -= chunk.len() as u64;
            self.cache.release(chunk.len() as u64);
        }
        self.gone > before
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.cache.release(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole_of(chunk: Bytes) -> (Bytes, usize) {
        let at = chunk.as_ptr() as usize;
        let mut stream = Stream::new(&ResponseCache::new("test"));
        stream.push(chunk);
        (stream.whole(), at)
    }

    #[test]
    fn a_part_that_is_all_of_its_buffer_is_kept_and_a_slice_is_copied() {
        let (body, at) = whole_of(Bytes::from(vec![1; 5000]));
        assert_eq!((body.len(), body.as_ptr() as usize), (5000, at));
        let buffer = Bytes::from(vec![1; 100_000]);
        let (body, at) = whole_of(buffer.slice(..100));
        assert_ne!(body.as_ptr() as usize, at);
        let mut roomy = Vec::with_capacity(100_000);
        roomy.extend_from_slice(&[1; 100]);
        let (body, at) = whole_of(Bytes::from(roomy));
        assert_ne!(body.as_ptr() as usize, at);
        assert_eq!(&body[..], [1; 100]);
        let (body, at) = whole_of(Bytes::from_static(b"static"));
        assert_ne!(body.as_ptr() as usize, at);
    }
}
