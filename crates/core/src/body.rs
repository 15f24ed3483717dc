use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{Outcome, Watch};

/// Judges how an exchange went by the trailers that ended it.
pub(crate) type Judge = fn(Option<&HeaderMap>) -> Outcome;

/// An exchange whose outcome is known when its body is over.
#[derive(Debug)]
pub(crate) struct Pending<W: Watch> {
    told: Option<(W, Judge)>,
    left: u64,
}

/// No length is known.
const ENDLESS: u64 = u64::MAX >> 1;
/// Set until the body is asked for.
const UNREAD: u64 = 1 << 63;

impl<W: Watch> Pending<W> {
    /// Nothing is pending.
    pub(crate) const NONE: Self = Self { told: None, left: ENDLESS };

    /// The end of the body decides: where it says so itself, and after `declared` bytes if a field tells.
    #[inline]
    pub(crate) fn at_end(watch: W, judge: Judge, declared: Option<u64>) -> Self {
        let left = declared.map_or(ENDLESS, |length| length.min(ENDLESS)) | UNREAD;
        Self { told: Some((watch, judge)), left }
    }

    #[cold]
    #[inline(never)]
    fn leave(&mut self) {
        // A panic may have been the body's own.
        if !std::thread::panicking()
            && (self.left == 0 || self.left >= UNREAD)
            && let Some((watch, judge)) = self.told.take()
            // What only lacks the trailers that nobody waited for has not failed.
            && judge(None) == Outcome::Success
        {
            watch.settle(Outcome::Success);
        }
    }

    /// A frame has come that may not be the last; `hint` is of what is left.
    fn read(&mut self, frame: &Frame<Bytes>, hint: &SizeHint) {
        let read = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.left = match (hint.exact(), self.left & !UNREAD) {
            (Some(left), _) => left.min(ENDLESS),
            (None, ENDLESS) => ENDLESS,
            (None, left) => left.saturating_sub(read),
        };
    }
}

/// A body that is dropped has been given up, unless it was all there, or nobody asked for it at all: servers
/// ask for no more bytes than they send, and for none where they send none, as to a HEAD request.
impl<W: Watch> Drop for Pending<W> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.told.is_some() {
            self.leave();
        }
    }
}

pin_project! {
    /// Response body of every layer: the inner body, watched to its end, or a refusal's own bytes.
    #[derive(Debug)]
    pub struct ResponseBody<B, W: Watch = ()> {
        #[pin]
        kind: Kind<B, W>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<B, W: Watch> {
        Inner { #[pin] body: B, pending: Pending<W> },
        Refusal { bytes: Option<Bytes> },
    }
}

impl<B, W: Watch> ResponseBody<B, W> {
    /// Passes `body` on, and has what is pending told how it ends.
    pub(crate) fn inner(body: B, pending: Pending<W>) -> Self {
        Self { kind: Kind::Inner { body, pending } }
    }

    pub(crate) fn refusal(bytes: Bytes) -> Self {
        Self { kind: Kind::Refusal { bytes: (!bytes.is_empty()).then_some(bytes) } }
    }
}

/// Empty: what a layer further out answers by itself, as CORS does to a preflight.
impl<B, W: Watch> Default for ResponseBody<B, W> {
    fn default() -> Self {
        Self::refusal(Bytes::new())
    }
}

impl<B, W> Body for ResponseBody<B, W>
where
    B: Body<Data = Bytes>,
    W: Watch,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let (mut body, pending) = match self.project().kind.project() {
            KindProj::Refusal { bytes } => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            KindProj::Inner { body, pending } => (body, pending),
        };
        if !W::CARES {
            return body.poll_frame(cx);
        }
        let Poll::Ready(frame) = body.as_mut().poll_frame(cx) else {
            pending.left &= !UNREAD;
            return Poll::Pending;
        };
        let over = match &frame {
            Some(Ok(frame)) => frame.is_trailers() || body.is_end_stream(),
            Some(Err(_)) | None => true,
        };
        // Servers do not poll a body that has said it is at its end: this may be the last call.
        if over {
            if let Some((watch, judge)) = pending.told.take() {
                watch.settle(match &frame {
                    Some(Err(_)) => Outcome::Failure,
                    Some(Ok(frame)) => judge(frame.trailers_ref()),
                    None => judge(None),
                });
            }
        } else if let Some(Ok(frame)) = &frame {
            pending.read(frame, &body.size_hint());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body, .. } => body.is_end_stream(),
            Kind::Refusal { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body, .. } => body.size_hint(),
            Kind::Refusal { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}
