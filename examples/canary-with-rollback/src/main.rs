//! A proxy that sends half of the visitors to a new release, and takes it back when it fails. See
//! the README beside this package.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::uri::InvalidUriParts;
use axum::http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri, header};
use axum::routing::get;
use bartizan::core::Registry;
use bartizan::flags::{FileSource, Flag, RolloutSettings, SplitLayer};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tower::util::BoxCloneSyncService;
use tower::{Layer, service_fn};

static BACKEND: Flag<&str> = Flag::new("backend", "stable");

type Backend = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or(default.into());
    let file = setting("FLAGS", concat!(env!("CARGO_MANIFEST_DIR"), "/flags.json"));
    let stable = backend(setting("STABLE", "http://127.0.0.1:8000/").parse()?);
    let canary = backend(setting("CANARY", "http://127.0.0.1:8001/").parse()?);

    let source = FileSource::load(file)?;
    let settings = RolloutSettings::default()
        .window(Duration::from_secs(30))
        .minimum_exchanges(20)
        .failure_margin(0.05);
    let split = SplitLayer::new(source.flags(), BACKEND, [("canary", canary)])
        .settings(settings)?
        .cookie("visitor");
    let registry = Registry::new();
    registry.register(split.rollout());
    tokio::spawn(source.watch(Duration::from_secs(5)));

    let app = Router::new()
        .route("/metrics", get(async |State(all): State<Registry>| all.to_prometheus()))
        .with_state(registry)
        .fallback_service(split.layer(stable));
    let listener = TcpListener::bind(("127.0.0.1", setting("PORT", "3000").parse()?)).await?;
    println!("proxy listens on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

/// The fields that are about one connection (RFC 9110 §7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// Hands every request, as it is, to the server at `to`; one that cannot be reached answers 502.
fn backend(to: Uri) -> Backend {
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
        let (client, request) = (client.clone(), addressed(request, &to));
        async move {
            let answer = match request {
                Ok(request) => client.request(request).await.ok(),
                Err(_) => None,
            };
            let Some(mut response) = answer else { return Ok(unreachable()) };
            strip(response.headers_mut());
            Ok(response.map(Body::new))
        }
    }))
}

/// The same request to another server.
fn addressed(mut request: Request<Body>, to: &Uri) -> Result<Request<Body>, InvalidUriParts> {
    let mut parts = to.clone().into_parts();
    parts.path_and_query = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from_parts(parts)?;
    strip(request.headers_mut());
    // The name of this server.
    request.headers_mut().remove(header::HOST);
    Ok(request)
}

fn strip(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(','));
    let named: Vec<HeaderName> = names.filter_map(|name| name.trim().parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn unreachable() -> Response<Body> {
    let mut response = Response::new(Body::from("cannot be reached\n"));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
