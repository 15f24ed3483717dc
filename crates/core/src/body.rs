use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{Outcome, Watch};

/// Judges how an exchange went by the trailers that ended it.
pub(crate) type Judge = fn(Option<&HeaderMap>) -> Outcome;

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
        Inner { #[pin] body: B, pending: Option<(W, Judge)> },
        Refusal { bytes: Option<Bytes> },
    }
}

impl<B, W: Watch> ResponseBody<B, W> {
    /// Passes `body` on. The watch is told, when it ends, what the judge makes of it; `None` if
    /// the outcome is known already.
    pub(crate) fn inner(body: B, pending: Option<(W, Judge)>) -> Self {
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
        let frame = ready!(body.as_mut().poll_frame(cx));
        let over = match &frame {
            Some(Ok(frame)) => frame.is_trailers() || body.is_end_stream(),
            Some(Err(_)) | None => true,
        };
        // Servers do not poll a body that has said it is at its end: this may be the last call.
        if over && let Some((watch, judge)) = pending.take() {
            watch.settle(match &frame {
                Some(Err(_)) => Outcome::Failure,
                Some(Ok(frame)) => judge(frame.trailers_ref()),
                None => judge(None),
            });
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
