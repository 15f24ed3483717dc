use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bartizan_core::{ConfigError, retry_after};
use bytes::Bytes;
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Limited};
use tokio::time::timeout;
use tower_service::Service;

use crate::definition::MAX_DOCUMENT;
use crate::engine::Flags;
use crate::feed::Feed;

/// The first wait after a failure; each further one doubles it, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest `Retry-After` that is obeyed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How much each wait is varied, so that a fleet does not ask in step.
const JITTER: f64 = 0.1;

/// A document on a server, asked for again and again over any HTTP client that is a
/// [`tower_service::Service`].
///
/// It asks with `If-None-Match`, so that an unchanged document costs no transfer; waits as long as
/// `Retry-After` says; spreads its questions by a tenth; and gives an answer up that does not come by
/// its [deadline](Self::deadline). Set authentication and the like as layers of the client.
///
/// No evaluation waits for it. Before the first answer every flag gives its default, or, with
/// [`HttpSource::keep_in`], what was in force before the restart.
///
/// # Examples
///
/// ```no_run
/// # async fn f<C>(client: C)
/// # where
/// #     C: tower_service::Service<
/// #             http::Request<http_body_util::Empty<bytes::Bytes>>,
/// #             Response = http::Response<http_body_util::Full<bytes::Bytes>>,
/// #             Error = std::convert::Infallible,
/// #         > + Send + 'static,
/// #     C::Future: Send,
/// # {
/// use std::time::Duration;
///
/// use bartizan_flags::{Flags, HttpSource};
/// use http::Uri;
///
/// let flags = Flags::empty();
/// let source = HttpSource::new(client, Uri::from_static("https://flags.test/v1"), flags.clone());
/// tokio::spawn(source.watch(Duration::from_secs(30)));
/// // Give the first document a moment, but start in any case.
/// let _ = flags.ready_within(Duration::from_secs(2)).await;
/// # }
/// ```
pub struct HttpSource<C> {
    client: C,
    uri: Uri,
    feed: Feed,
    etag: Option<HeaderValue>,
    deadline: Duration,
}

impl<C> HttpSource<C> {
    /// Creates a source that feeds `feed`: [`Flags`], or one of several places in them, which from now
    /// on [wait](Flags::ready) for it.
    #[must_use]
    pub fn new(client: C, uri: Uri, feed: impl Into<Feed>) -> Self {
        let feed = feed.into();
        feed.expect();
        Self { client, uri, feed, etag: None, deadline: DEADLINE }
    }

    /// Sets how long an answer may take, to the end of its body: 30 seconds by default.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Keeps the last good document in a file: see [`Feed::keep_in`]. Blocks on I/O.
    #[must_use]
    pub fn keep_in(mut self, file: impl Into<PathBuf>) -> Self {
        self.feed = self.feed.keep_in(file);
        self
    }

    /// The flags that are fed.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.feed.flags()
    }
}

/// Why the server's document could not be taken.
#[derive(Debug)]
pub struct SourceError {
    kind: Kind,
    /// How long the server asks to be left alone.
    retry_after: Option<Duration>,
}

#[derive(Debug)]
enum Kind {
    Unreachable,
    Status(StatusCode),
    Body,
    Document(ConfigError),
}

impl From<Kind> for SourceError {
    fn from(kind: Kind) -> Self {
        Self { kind, retry_after: None }
    }
}

/// What the server has.
struct Answer {
    etag: Option<HeaderValue>,
    /// `None` if it is what it was.
    body: Option<Bytes>,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Unreachable => {
                f.write_str("the server cannot be reached, or does not answer in time")
            }
            Kind::Status(status) => write!(f, "the server answers {status}"),
            Kind::Body => f.write_str("the document broke off, is too long or is no text"),
            Kind::Document(_) => f.write_str("the document cannot be used"),
        }
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            Kind::Document(error) => Some(error),
            _ => None,
        }
    }
}

impl<C, B> HttpSource<C>
where
    C: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Asks once; true if another document came into force.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, takes too long, refuses, or has no document that can be used;
    /// the last good one stays.
    pub async fn reload(&mut self) -> Result<bool, SourceError> {
        let answer = timeout(self.deadline, self.ask()).await;
        let answer = answer.unwrap_or_else(|_| Err(Kind::Unreachable.into()))?;
        let (feed, etag) = (self.feed.clone(), answer.etag);
        // A long document is work, and may have to be kept on disk; one that is the same may have to be
        // read again.
        let taken = tokio::task::spawn_blocking(move || {
            let Some(body) = answer.body else { return feed.try_again().map_err(Kind::Document) };
            let text = std::str::from_utf8(&body).map_err(|_| Kind::Body)?;
            feed.offer(text).map_err(Kind::Document)
        });
        let changed = taken.await.map_err(|_| Kind::Body)??;
        self.etag = etag;
        Ok(changed)
    }

    async fn ask(&mut self) -> Result<Answer, SourceError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(etag) = &self.etag {
            request.headers_mut().insert(IF_NONE_MATCH, etag.clone());
        }
        let ready = std::future::poll_fn(|cx| self.client.poll_ready(cx)).await;
        ready.map_err(|_| Kind::Unreachable)?;
        let response = self.client.call(request).await.map_err(|_| Kind::Unreachable)?;
        let (head, body) = response.into_parts();
        match head.status {
            StatusCode::NOT_MODIFIED => Ok(Answer { etag: self.etag.clone(), body: None }),
            StatusCode::OK => {
                let body = Limited::new(body, MAX_DOCUMENT).collect().await;
                let body = body.map_err(|_| Kind::Body)?.to_bytes();
                Ok(Answer { etag: head.headers.get(ETAG).cloned(), body: Some(body) })
            }
            status => {
                let retry_after = retry_after(&head.headers).map(|wait| wait.min(MAX_RETRY_AFTER));
                Err(SourceError { kind: Kind::Status(status), retry_after })
            }
        }
    }

    /// Follows the server for ever, and asks it every `interval`; after a failure sooner, but ever
    /// more seldom.
    ///
    /// Nothing runs unless the future is polled: spawn it, and abort the task to stop.
    pub async fn watch(mut self, interval: Duration) -> Infallible {
        let interval = interval.max(FIRST_RETRY);
        let mut retry = FIRST_RETRY;
        loop {
            let wait = match self.reload().await {
                Ok(_) => {
                    retry = FIRST_RETRY;
                    interval
                }
                Err(error) => {
                    tracing::warn!(target: "bartizan::flags", %error, "server gives no document, the last good one stays");
                    let wait = retry.max(error.retry_after.unwrap_or_default());
                    retry = (retry * 2).min(interval);
                    wait
                }
            };
            tokio::time::sleep(wait.mul_f64(1.0 + JITTER * fastrand::f64())).await;
        }
    }
}

impl<C> fmt::Debug for HttpSource<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The query may hold a key.
        f.debug_struct("HttpSource").field("host", &self.uri.host()).finish_non_exhaustive()
    }
}
