use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{ConfigError, retry_after};
use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use tokio::time::timeout;
use tower_service::Service;

use crate::scheme::Later;

#[cfg(feature = "hyper")]
mod https;
mod public;
#[cfg(feature = "reqwest")]
mod reqwest;

/// The most bytes that an issuer's answer may have.
const MAX_BYTES: usize = 256 * 1024;
/// How long an issuer has for an answer, head and body.
const DEADLINE: Duration = Duration::from_secs(5);

/// The client that issuers are asked by: any service of HTTP requests.
///
/// Whatever the service is, only https is asked, redirects are not followed, an answer has 5 seconds
/// and 256 KiB. Proxies, private roots, which networks may be reached and the like are matters of the
/// service.
#[derive(Clone)]
pub struct HttpClient {
    service: Arc<dyn Exchange>,
    loopback: bool,
    public_only: bool,
    deadline: Duration,
}

type Answer = Later<Result<Response<Bytes>, FetchFault>>;

/// A client with its types forgotten.
trait Exchange: Send + Sync {
    fn exchange(&self, request: Request<Full<Bytes>>) -> Answer;
}

struct Over<C>(C);

impl<C, B> Exchange for Over<C>
where
    C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    C::Future: Send,
    C::Error: Send,
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn exchange(&self, request: Request<Full<Bytes>>) -> Answer {
        let mut client = self.0.clone();
        Box::pin(async move {
            let ready = std::future::poll_fn(|cx| client.poll_ready(cx)).await;
            ready.map_err(|_| FetchFault::Unreachable)?;
            let response = client.call(request).await.map_err(|_| FetchFault::Unreachable)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BYTES).collect().await;
            let body = body.map_err(|_| FetchFault::Body)?.to_bytes();
            Ok(Response::from_parts(head, body))
        })
    }
}

impl HttpClient {
    /// Takes a service that must not follow redirects: where it does, an issuer can have any host
    /// asked.
    pub fn new<C, B>(service: C) -> Self
    where
        C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        C::Future: Send,
        C::Error: Send,
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let service = Arc::new(Over(service));
        Self { service, loopback: false, public_only: false, deadline: DEADLINE }
    }

    /// Sets how long an answer may take: 5 seconds by default, 30 at most.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(Duration::from_secs(30));
        self
    }

    /// Also asks over plain http, but only this machine: for tests and for what stands beside.
    #[must_use]
    pub fn allow_loopback_http(mut self) -> Self {
        self.loopback = true;
        self
    }

    /// Reads an address that may be asked.
    pub(crate) fn address(&self, field: &'static str, uri: &str) -> Result<Uri, ConfigError> {
        let uri: Uri = uri
            .parse()
            .map_err(|_| ConfigError::new(field, "not a URI", "write it as https://host/path"))?;
        if self.may_ask(&uri) {
            return Ok(uri);
        }
        Err(ConfigError::new(
            field,
            "not an https address",
            "keys that came over http could be anyone's; for tests on this machine there is `allow_loopback_http`",
        ))
    }

    fn may_ask(&self, uri: &Uri) -> bool {
        // A user in an authority is there to be mistaken for the host.
        let Some(host) = uri.host().filter(|_| !uri.authority().is_some_and(has_user)) else {
            return false;
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse::<IpAddr>().ok();
        // What names stand for is up to whoever resolves them.
        if self.public_only && address.is_some_and(|address| !public::is_public(address)) {
            return false;
        }
        let is_loopback =
            || host == "localhost" || address.is_some_and(|address| address.is_loopback());
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => self.loopback && is_loopback(),
            _ => false,
        }
    }

    /// One exchange. The answer is 200 or 304.
    pub(crate) async fn ask(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, FetchFault> {
        if !self.may_ask(request.uri()) {
            return Err(FetchFault::Insecure);
        }
        let answer = timeout(self.deadline, self.service.exchange(request)).await;
        let response = answer.map_err(|_| FetchFault::Late)??;
        match response.status() {
            StatusCode::OK | StatusCode::NOT_MODIFIED => Ok(response),
            status if status.is_redirection() => Err(FetchFault::Redirect),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Err(retry_after(response.headers()).map_or(FetchFault::Status, FetchFault::Busy))
            }
            _ => Err(FetchFault::Status),
        }
    }
}

fn has_user(authority: &http::uri::Authority) -> bool {
    authority.as_str().contains('@')
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("loopback", &self.loopback)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Why an issuer gave no answer that can be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FetchFault {
    /// It broke off, or is too long.
    Body,
    /// It is to be asked again after this time.
    Busy(Duration),
    /// It is not what was asked for.
    Document,
    /// The address must not be asked.
    Insecure,
    /// The discovered issuer is another.
    Issuer,
    /// It took too long.
    Late,
    /// It lies elsewhere.
    Redirect,
    /// It was refused.
    Status,
    /// Nobody can be reached.
    Unreachable,
}

impl FetchFault {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Busy(_) => "busy",
            Self::Document => "document",
            Self::Insecure => "insecure",
            Self::Issuer => "issuer",
            Self::Late => "late",
            Self::Redirect => "redirect",
            Self::Status => "status",
            Self::Unreachable => "unreachable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Nobody;

    impl Service<Request<Full<Bytes>>> for Nobody {
        type Response = Response<Full<Bytes>>;
        type Error = ();
        type Future = std::future::Ready<Result<Self::Response, ()>>;

        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), ()>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
            std::future::ready(Err(()))
        }
    }

    #[test]
    fn api7_only_https_is_asked_and_loopback_if_told() {
        let strict = HttpClient::new(Nobody);
        let lenient = strict.clone().allow_loopback_http();
        let may = |client: &HttpClient, uri| client.address("uri", uri).is_ok();
        assert!(may(&strict, "https://id.example/keys"));
        for uri in ["http://127.0.0.1:80/keys", "http://localhost/keys", "http://[::1]:8080/keys"] {
            assert!(!may(&strict, uri) && may(&lenient, uri), "{uri}");
        }
        let never = [
            "http://id.example/keys",
            "http://127.0.0.1.evil.example/",
            "http://127.0.0.1@evil.example/",
            "https://id.example@evil.example/",
            "http://localhost.evil.example/",
            "http://169.254.169.254/latest",
            "file:///etc/passwd",
            "ftp://127.0.0.1/",
            "/keys",
            "id.example",
            "",
            "not a uri",
        ];
        for uri in never {
            assert!(!may(&lenient, uri), "{uri}");
        }
    }
}
