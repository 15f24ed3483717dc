use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bartizan_core::ResponseBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::flight::Reader;

/// The error of a [`CacheBody`]: the service's own body's, or that it broke off for another reader.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The body broke off: another request that shared it was given the service's own error.
#[derive(Debug)]
pub(crate) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response body broke off")
    }
}

impl Error for BrokenOff {}

pin_project! {
    /// Response body of [`Cache`](crate::Cache): the service's own, passed on frame by frame; one
    /// that is shared and stored on its way; one from the store; or a refusal's.
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
        Inner { #[pin] body: B },
        Refusal { #[pin] body: ResponseBody<B> },
        Shared { reader: Reader },
        Stored { bytes: Option<Bytes> },
    }
}

impl<B> CacheBody<B> {
    pub(crate) fn passed(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    pub(crate) fn refusal(body: ResponseBody<B>) -> Self {
        Self { kind: Kind::Refusal { body } }
    }

    pub(crate) fn shared(reader: Reader) -> Self {
        Self { kind: Kind::Shared { reader } }
    }

    pub(crate) fn stored(bytes: Bytes) -> Self {
        Self { kind: Kind::Stored { bytes: (!bytes.is_empty()).then_some(bytes) } }
    }
}

impl<B> Body for CacheBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().kind.project() {
            KindProj::Inner { body } => body.poll_frame(cx).map_err(Into::into),
            KindProj::Refusal { body } => body.poll_frame(cx).map_err(Into::into),
            KindProj::Shared { reader } => reader.poll_frame(cx),
            KindProj::Stored { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Refusal { body } => body.is_end_stream(),
            Kind::Shared { reader } => reader.is_at_end(),
            Kind::Stored { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Refusal { body } => body.size_hint(),
            Kind::Shared { reader } => {
                reader.left().map_or_else(SizeHint::new, SizeHint::with_exact)
            }
            Kind::Stored { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}
