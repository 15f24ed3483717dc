use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Scheme, Uri};
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tower::ServiceExt;
use tower::timeout::Timeout;
use tower::timeout::error::Elapsed;

/// The fields that are about one connection (RFC 9110 §7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// What the upstream sent, or the proxy's own few bytes.
pub(crate) type Body = Either<Incoming, Full<Bytes>>;

/// Forwards one request.
pub(crate) async fn forward(
    client: Timeout<Client<HttpConnector, Incoming>>,
    upstream: Authority,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    strip(request.headers_mut());
    // The upstream sees the host that the client asked for.
    if !request.headers().contains_key(HOST)
        && let Some(host) = request.uri().authority()
        && let Ok(host) = HeaderValue::try_from(host.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(upstream);
    match Uri::from_parts(parts) {
        Ok(uri) => *request.uri_mut() = uri,
        // `OPTIONS *` and `CONNECT` have no path to forward to.
        Err(_) => return Ok(plain(StatusCode::NOT_IMPLEMENTED, "not a path of the upstream\n")),
    }
    Ok(match client.oneshot(request).await {
        Ok(mut response) => {
            strip(response.headers_mut());
            response.map(Either::Left)
        }
        Err(error) if error.is::<Elapsed>() => {
            plain(StatusCode::GATEWAY_TIMEOUT, "the upstream does not answer in time\n")
        }
        Err(_) => plain(StatusCode::BAD_GATEWAY, "the upstream does not answer\n"),
    })
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::from(text)));
    *response.status_mut() = status;
    response
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}
