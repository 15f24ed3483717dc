//! A service that is cached, on hyper-style bodies: in parts, without a buffer, with errors.

#![allow(dead_code, reason = "not every test file needs all of it")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use bartizan_cache::{Cache, CacheBody, CacheLayer, Clock, ResponseCache, Settings};
use bartizan_core::Engine;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};

/// A part of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Data(&'static str),
    Error,
    Pending,
    Trailers,
}

/// A body in parts.
#[derive(Debug)]
pub(crate) struct Parts(VecDeque<Result<Bytes, Part>>);

impl From<Vec<Part>> for Parts {
    fn from(parts: Vec<Part>) -> Self {
        let part = |part| match part {
            Part::Data(text) => Ok(Bytes::from_static(text.as_bytes())),
            other => Err(other),
        };
        Self(parts.into_iter().map(part).collect())
    }
}

impl From<&'static str> for Parts {
    fn from(text: &'static str) -> Self {
        Self::from(vec![Part::Data(text)])
    }
}

impl From<String> for Parts {
    fn from(text: String) -> Self {
        Self(VecDeque::from([Ok(text.into())]))
    }
}

#[derive(Debug)]
pub(crate) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken off")
    }
}

impl std::error::Error for BrokenOff {}

impl Body for Parts {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.0.front() {
            Some(Err(Part::Pending)) => return Poll::Pending,
            None => return Poll::Ready(None),
            _ => {}
        }
        Poll::Ready(Some(match self.0.pop_front().unwrap() {
            Ok(data) => Ok(Frame::data(data)),
            Err(Part::Trailers) => Ok(Frame::trailers(HeaderMap::new())),
            Err(_) => Err(BrokenOff),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// Begins a response.
pub(crate) fn answer(cache_control: &str, body: impl Into<Parts>) -> Answer {
    Answer(Response::builder().header("cache-control", cache_control), body.into())
}

pub(crate) struct Answer(http::response::Builder, Parts);

impl Answer {
    pub(crate) fn header(self, name: &str, value: impl AsRef<str>) -> Self {
        Self(self.0.header(name, value.as_ref()), self.1)
    }

    pub(crate) fn status<T: TryInto<StatusCode>>(self, status: T) -> Self
    where
        T::Error: Into<http::Error>,
    {
        Self(self.0.status(status), self.1)
    }
}

/// Begins a GET request.
pub(crate) fn get(path: &str) -> http::request::Builder {
    Request::get(path.to_owned()).header("host", "a.test")
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) code: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Read {
    pub(crate) fn status(&self) -> String {
        self.headers["cache-status"].to_str().unwrap().to_owned()
    }
}

type Handle = Arc<dyn Fn(&Request<()>) -> Answer + Send + Sync>;

/// A service behind a cache, and how often it was called.
pub(crate) struct Service {
    pub(crate) cache: ResponseCache,
    pub(crate) clock: Clock,
    calls: Arc<AtomicUsize>,
    handle: Handle,
}

impl Service {
    pub(crate) fn new(handle: impl Fn(&Request<()>) -> Answer + Send + Sync + 'static) -> Self {
        Self::with(Settings::default(), handle)
    }

    pub(crate) fn with(
        settings: Settings,
        handle: impl Fn(&Request<()>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let cache = ResponseCache::new("test").settings(settings).unwrap();
        Self::of(cache, handle)
    }

    /// A service behind this cache, which starts over with a clock that is moved by hand.
    pub(crate) fn of(
        cache: ResponseCache,
        handle: impl Fn(&Request<()>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let clock = Clock::manual();
        let cache = cache.clock(clock.clone());
        Self { cache, clock, calls: Arc::default(), handle: Arc::new(handle) }
    }

    /// Sends a request and reads the answer's head.
    pub(crate) async fn start(
        &self,
        request: http::request::Builder,
    ) -> Response<CacheBody<Parts>> {
        self.start_by(&CacheLayer::new(self.cache.clone()), request).await
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn call(&self, request: http::request::Builder) -> Read {
        self.call_by(&CacheLayer::new(self.cache.clone()), request).await
    }

    pub(crate) async fn call_by(
        &self,
        layer: &CacheLayer,
        request: http::request::Builder,
    ) -> Read {
        read_all(self.start_by(layer, request).await).await
    }

    pub(crate) async fn start_by(
        &self,
        layer: &CacheLayer,
        request: http::request::Builder,
    ) -> Response<CacheBody<Parts>> {
        self.send_by(layer, request.body(Parts::from(vec![])).unwrap()).await
    }

    pub(crate) async fn send_by(
        &self,
        layer: &CacheLayer,
        request: Request<Parts>,
    ) -> Response<CacheBody<Parts>> {
        let (calls, handle) = (Arc::clone(&self.calls), Arc::clone(&self.handle));
        let inner = service_fn(move |request: Request<Parts>| {
            calls.fetch_add(1, Relaxed);
            let Answer(head, body) = handle(&request.map(|_| ()));
            std::future::ready(Ok::<_, Infallible>(head.body(body).unwrap()))
        });
        let cached: Cache<_> = layer.layer(inner);
        cached.oneshot(request).await.unwrap()
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }

    pub(crate) fn value(&self, metric: &str, outcome: &str) -> u64 {
        self.cache.snapshot().value(metric, outcome).unwrap() as u64
    }

    pub(crate) fn fills(&self, fate: &str) -> u64 {
        self.value("bartizan_cache_fills_total", fate)
    }
}

/// Reads an answer to its end.
pub(crate) async fn read_all(response: Response<CacheBody<Parts>>) -> Read {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.into()).unwrap();
    Read { code: parts.status, headers: parts.headers, body }
}

/// Reads a body as a server does: not beyond its end, nor beyond an error; it goes away when there
/// is nothing to read.
pub(crate) async fn read(mut body: CacheBody<Parts>) -> Vec<Part> {
    let mut read = Vec::new();
    while !body.is_end_stream() {
        let poll = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await;
        match poll {
            Poll::Pending => {
                read.push(Part::Pending);
                break;
            }
            Poll::Ready(None) => break,
            Poll::Ready(Some(Err(_))) => {
                read.push(Part::Error);
                break;
            }
            Poll::Ready(Some(Ok(frame))) => read.push(match frame.into_data() {
                Ok(data) => Part::Data(String::from_utf8(data.into()).unwrap().leak()),
                Err(_) => Part::Trailers,
            }),
        }
    }
    read
}
