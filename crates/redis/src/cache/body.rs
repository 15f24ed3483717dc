use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bartizan_cache::{StoreError, StoreErrorKind};
use bytes::Bytes;
use http_body::{Body, Frame};
use redis::Value;

use super::Inner;

type Trip = Pin<Box<dyn Future<Output = Result<Bytes, StoreError>> + Send>>;

/// A body as it is fetched, chunk by chunk: no more than one of them is held here.
pub(super) struct Chunks {
    inner: Arc<Inner>,
    body: Bytes,
    next: usize,
    count: usize,
    /// The first chunk, if it came with the head.
    first: Option<Bytes>,
    trip: Option<Trip>,
}

impl Chunks {
    pub(super) fn new(inner: &Arc<Inner>, body: Bytes, count: usize, first: Option<Bytes>) -> Self {
        Self { inner: Arc::clone(inner), body, next: 0, count, first, trip: None }
    }

    fn fetch(&self) -> Trip {
        let inner = Arc::clone(&self.inner);
        let key = inner.chunk_key(&self.body, self.next);
        Box::pin(async move {
            let mut run = inner.scripts.chunk.run(1);
            run.arg(key);
            let values = inner.run(&inner.scripts.chunk, &run).await?;
            match values.into_iter().next() {
                Some(Value::BulkString(chunk)) => Ok(chunk.into()),
                // It was evicted since the head was read.
                _ => Err(StoreError::new(StoreErrorKind::Corrupt)),
            }
        })
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        if let Some(first) = self.first.take() {
            self.next = 1;
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.next >= self.count {
            return Poll::Ready(None);
        }
        let mut trip = self.trip.take().unwrap_or_else(|| self.fetch());
        let Poll::Ready(chunk) = trip.as_mut().poll(cx) else {
            self.trip = Some(trip);
            return Poll::Pending;
        };
        // After an error there is nothing more.
        self.next = if chunk.is_ok() { self.next + 1 } else { self.count };
        Poll::Ready(Some(chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.next >= self.count
    }
}
