use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use tower_service::Service;

/// An inner service that keeps the tower contract to the letter: it panics when it is called
/// without being ready, and a clone of it is not ready.
///
/// What it answers is said by the request's path: `/pending` never answers, `/panic` panics in the
/// answer's future, `/stream` answers with a body that never ends, anything else with two bytes.
#[derive(Debug, Default)]
pub struct Inner {
    ready: bool,
}

impl Clone for Inner {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

/// A request to `path` that carries nothing else.
///
/// # Panics
///
/// If `path` is no path.
#[must_use]
pub fn request(path: &'static str) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = http::Uri::from_static(path);
    request
}

/// The answer's future.
#[derive(Debug)]
#[non_exhaustive]
pub enum InnerFuture {
    /// Answers at once, and makes the answer then, as a handler does.
    Answer {
        /// Whether the body never ends.
        endless: bool,
    },
    /// Panics when it is polled.
    Panic,
    /// Never answers.
    Pending,
}

impl Future for InnerFuture {
    type Output = Result<Response<InnerBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match *self {
            Self::Answer { endless } => {
                Poll::Ready(Ok(Response::new(InnerBody { endless, sent: false })))
            }
            Self::Panic => panic!("the inner service panics on purpose"),
            Self::Pending => Poll::Pending,
        }
    }
}

/// The answer's body: two bytes, or a stream without an end.
#[derive(Debug)]
pub struct InnerBody {
    endless: bool,
    sent: bool,
}

impl Body for InnerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.sent && !self.endless {
            return Poll::Ready(None);
        }
        self.sent = true;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"hi")))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent && !self.endless
    }
}

impl Service<Request<()>> for Inner {
    type Response = Response<InnerBody>;
    type Error = Infallible;
    type Future = InnerFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> InnerFuture {
        assert!(
            std::mem::take(&mut self.ready),
            "the inner service was called without being ready"
        );
        let endless = match request.uri().path() {
            "/pending" => return InnerFuture::Pending,
            "/panic" => return InnerFuture::Panic,
            path => path == "/stream",
        };
        InnerFuture::Answer { endless }
    }
}

/// A service that wants to see a request's body, called with requests that have none.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a wrapper is all that it is")]
pub struct Bodied<S>(pub S);

impl<S: Service<Request<InnerBody>>> Service<Request<()>> for Bodied<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> S::Future {
        self.0.call(request.map(|()| InnerBody { endless: false, sent: true }))
    }
}

/// The same the other way round, for what is behind such a service.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a wrapper is all that it is")]
pub struct Bodiless<S>(pub S);

impl<S: Service<Request<()>>> Service<Request<InnerBody>> for Bodiless<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<InnerBody>) -> S::Future {
        self.0.call(request.map(|_| ()))
    }
}
