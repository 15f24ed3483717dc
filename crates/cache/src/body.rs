use std::pin::Pin;
use std::task::{Context, Poll};

use bartizan_core::ResponseBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::fill::Fill;
use crate::observe::Fate;

pin_project! {
    /// Response body of [`Cache`](crate::Cache): the service's own, copied for the store on its way
    /// or not; one from the store; or a refusal's.
    #[derive(Debug)]
    pub struct CacheBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<B> {
        Inner { #[pin] body: B, fill: Option<Box<Fill>> },
        Refusal { #[pin] body: ResponseBody<B> },
        Stored { bytes: Option<Bytes> },
    }
}

impl<B> CacheBody<B> {
    pub(crate) fn passed(body: B) -> Self {
        Self::filling(body, None)
    }

    pub(crate) fn filling(body: B, fill: Option<Box<Fill>>) -> Self {
        Self { kind: Kind::Inner { body, fill } }
    }

    pub(crate) fn refusal(body: ResponseBody<B>) -> Self {
        Self { kind: Kind::Refusal { body } }
    }

    pub(crate) fn stored(bytes: Bytes) -> Self {
        Self { kind: Kind::Stored { bytes: (!bytes.is_empty()).then_some(bytes) } }
    }
}

impl<B: Body<Data = Bytes>> Body for CacheBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let (mut body, fill) = match self.project().kind.project() {
            KindProj::Inner { body, fill } => (body, fill),
            KindProj::Refusal { body } => return body.poll_frame(cx),
            KindProj::Stored { bytes } => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
        };
        // Out of the body while it is polled: should that panic, a part must not pass for a whole,
        // whoever polls on.
        let held = fill.take();
        let polled = body.as_mut().poll_frame(cx);
        let Some(mut held) = held else { return polled };
        match &polled {
            Poll::Pending => *fill = Some(held),
            Poll::Ready(None) => {
                held.finish();
            }
            Poll::Ready(Some(Err(_))) => held.settle(Fate::Broken),
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                Some(part) if held.push(part) => {
                    // Servers do not poll a body that has said it is at its end.
                    if body.is_end_stream() {
                        held.finish();
                    } else {
                        *fill = Some(held);
                    }
                }
                // Too much, or trailers, which a stored response could not repeat.
                _ => held.settle(Fate::Oversized),
            },
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body, .. } => body.is_end_stream(),
            Kind::Refusal { body } => body.is_end_stream(),
            Kind::Stored { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body, .. } => body.size_hint(),
            Kind::Refusal { body } => body.size_hint(),
            Kind::Stored { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}
