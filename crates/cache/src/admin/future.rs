use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bartizan_core::{Http, Protocol, Rejection, ResponseBody};
use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::order;
use crate::ResponseCache;

/// More than any document of a purge.
const MAX_DOCUMENT: usize = 16 << 10;

pin_project! {
    /// Response future of [`PurgeAdmin`](super::PurgeAdmin).
    #[must_use = "futures do nothing unless polled"]
    pub struct PurgeFuture<R> {
        #[pin]
        state: State<R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<R> {
        Reading { cache: ResponseCache, #[pin] body: R, read: BytesMut },
        Refused { status: StatusCode },
    }
}

impl<R> PurgeFuture<R> {
    pub(super) fn reading(cache: ResponseCache, body: R) -> Self {
        Self { state: State::Reading { cache, body, read: BytesMut::new() } }
    }

    pub(super) const fn refused(status: StatusCode) -> Self {
        Self { state: State::Refused { status } }
    }
}

impl<R: Body<Data = Bytes>> Future for PurgeFuture<R> {
    type Output = Result<Response<PurgeBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (cache, mut body, read) = match self.project().state.project() {
            StateProj::Refused { status } => return Poll::Ready(Ok(refuse(*status, None))),
            StateProj::Reading { cache, body, read } => (cache, body, read),
        };
        loop {
            match ready!(body.as_mut().poll_frame(cx)) {
                None => break,
                Some(Err(_)) => {
                    let detail = "the body broke off";
                    return Poll::Ready(Ok(refuse(StatusCode::BAD_REQUEST, Some(detail))));
                }
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if read.len() + data.len() > MAX_DOCUMENT {
                        return Poll::Ready(Ok(refuse(StatusCode::PAYLOAD_TOO_LARGE, None)));
                    }
                    read.extend_from_slice(&data);
                }
            }
        }
        Poll::Ready(Ok(match order::read(read) {
            Ok(purge) => {
                cache.purge(&purge);
                let mut response = Response::new(PurgeBody(None));
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            Err(detail) => refuse(StatusCode::BAD_REQUEST, Some(detail)),
        }))
    }
}

fn refuse(status: StatusCode, detail: Option<&'static str>) -> Response<PurgeBody> {
    let (code, general) = match status {
        StatusCode::UNAUTHORIZED => ("unauthorized", "purging takes a token or a scope"),
        StatusCode::METHOD_NOT_ALLOWED => ("method-not-allowed", "a purge is a POST"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "no purge is that long"),
        _ => ("bad-purge", "the purge cannot be read"),
    };
    let rejection = Rejection::new(status, code, detail.unwrap_or(general));
    let rejection = match status {
        StatusCode::UNAUTHORIZED => {
            rejection.field(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
        }
        StatusCode::METHOD_NOT_ALLOWED => rejection.field(ALLOW, HeaderValue::from_static("POST")),
        _ => rejection,
    };
    type Inner = Response<PurgeBody>;
    let http = Http::new();
    let dialect = Protocol::<_, Inner, Infallible>::dialect(&http, &Request::new(()));
    let refused: Result<_, Infallible> =
        Protocol::<Request<()>, Inner, _>::refuse::<()>(&http, dialect, rejection);
    match refused {
        Ok(response) => response.map(|body| PurgeBody(Some(Box::new(body)))),
        Err(never) => match never {},
    }
}

impl<R> fmt::Debug for PurgeFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PurgeFuture").finish_non_exhaustive()
    }
}

/// Response body of [`PurgeAdmin`](super::PurgeAdmin): nothing, or why the purge was refused.
#[derive(Debug)]
pub struct PurgeBody(Option<Box<ResponseBody<Self>>>);

impl Body for PurgeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Some(refusal) => Pin::new(&mut **refusal).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|refusal| refusal.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |refusal| refusal.size_hint())
    }
}
