use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderMap, Response, StatusCode, response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::layer::{Asked, Plan};
use crate::{entry, validate};

pin_project! {
    /// Response future of [`CacheControlService`](super::CacheControlService).
    #[must_use = "futures do nothing unless polled"]
    pub struct ControlFuture<F, B> {
        #[pin]
        state: State<F, B>,
        plan: Arc<Plan>,
        asked: Asked,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B> {
        Head { #[pin] future: F },
        Body { #[pin] body: B, parts: Option<response::Parts>, read: BytesMut },
    }
}

impl<F, B> ControlFuture<F, B> {
    pub(super) const fn new(future: F, plan: Arc<Plan>, asked: Asked) -> Self {
        Self { state: State::Head { future }, plan, asked }
    }
}

impl<F, B, E> Future for ControlFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<ControlBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Head { future } => {
                    let mut response = ready!(future.poll(cx))?;
                    this.plan.apply(response.status(), response.headers_mut());
                    let (parts, body) = response.into_parts();
                    let is_tagged = parts.headers.contains_key(ETAG);
                    let is_short =
                        body.size_hint().upper().is_some_and(|len| len <= this.plan.etag_limit);
                    if this.asked.is_get && parts.status == StatusCode::OK && !is_tagged && is_short
                    {
                        let read = BytesMut::new();
                        this.state.set(State::Body { body, parts: Some(parts), read });
                        continue;
                    }
                    let rest = Some(body);
                    return Poll::Ready(Ok(answer(parts, ControlBody::passed(rest), this.asked)));
                }
                StateProj::Body { mut body, parts, read } => {
                    let end = match ready!(body.as_mut().poll_frame(cx)) {
                        None => End::Whole,
                        Some(Err(error)) => End::Error(error),
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(data) => {
                                read.extend_from_slice(&data);
                                if !body.is_end_stream() {
                                    continue;
                                }
                                End::Whole
                            }
                            Err(frame) => match frame.into_trailers() {
                                Ok(trailers) => End::Trailers(trailers),
                                Err(_) => continue,
                            },
                        },
                    };
                    let mut parts = parts.take().expect("polled after completion");
                    let read = std::mem::take(read).freeze();
                    if matches!(end, End::Whole) {
                        parts.headers.insert(ETAG, entry::etag(&read));
                    }
                    let body = ControlBody::read(read, end);
                    return Poll::Ready(Ok(answer(parts, body, this.asked)));
                }
            }
        }
    }
}

fn answer<B>(
    parts: response::Parts,
    body: ControlBody<B>,
    asked: &Asked,
) -> Response<ControlBody<B>>
where
    B: Body<Data = Bytes>,
{
    let has_it = asked.conditions.as_ref().is_some_and(|conditions| {
        parts.status == StatusCode::OK && validate::has_it(conditions, &parts.headers)
    });
    if !has_it {
        return Response::from_parts(parts, body);
    }
    let mut head = Response::from_parts(parts, ());
    validate::into_not_modified(&mut head);
    head.headers_mut().remove(CONTENT_LENGTH);
    head.map(|()| ControlBody::passed(None))
}

impl<F, B> fmt::Debug for ControlFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlFuture").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// How a body that was held back ended.
#[derive(Debug)]
enum End<E> {
    Error(E),
    Trailers(HeaderMap),
    Whole,
}

pin_project! {
    /// Response body of [`CacheControlService`](super::CacheControlService): the service's own, or
    /// what was held back of it to make an entity tag of.
    #[derive(Debug)]
    pub struct ControlBody<B: Body> {
        read: Option<Bytes>,
        end: End<B::Error>,
        #[pin]
        rest: Option<B>,
    }
}

impl<B: Body> ControlBody<B> {
    const fn passed(rest: Option<B>) -> Self {
        Self { read: None, end: End::Whole, rest }
    }

    fn read(read: Bytes, end: End<B::Error>) -> Self {
        Self { read: (!read.is_empty()).then_some(read), end, rest: None }
    }
}

impl<B: Body<Data = Bytes>> Body for ControlBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if let Some(rest) = this.rest.as_pin_mut() {
            return rest.poll_frame(cx);
        }
        if let Some(read) = this.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        Poll::Ready(match std::mem::replace(this.end, End::Whole) {
            End::Error(error) => Some(Err(error)),
            End::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            End::Whole => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.rest {
            Some(rest) => rest.is_end_stream(),
            None => self.read.is_none() && matches!(self.end, End::Whole),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.rest, &self.end) {
            (Some(rest), _) => rest.size_hint(),
            (None, End::Error(_)) => SizeHint::new(),
            (None, _) => {
                SizeHint::with_exact(self.read.as_ref().map_or(0, |read| read.len() as u64))
            }
        }
    }
}
