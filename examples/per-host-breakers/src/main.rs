//! A service that fetches from several hosts, with a breaker for each. See the README beside this
//! package.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{Request, Response, StatusCode, Uri};
use axum::routing::get;
use bartizan::circuit_breaker::{CircuitBreakerLayer, KeyedCircuitBreaker, Settings};
use bartizan::core::{Key, Registry};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tower::timeout::TimeoutLayer;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt};

type Fetch = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

#[derive(Clone)]
struct App {
    fetch: Fetch,
    hosts: Arc<[String]>,
    registry: Registry,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Whom it fetches from. Any host at all would be a way into the network that it stands in.
    let hosts = std::env::var("HOSTS").unwrap_or("127.0.0.1".into());
    let hosts = hosts.split(',').map(str::to_ascii_lowercase).collect();

    let settings = Settings::default()
        .window(20, 5)
        .consecutive_failures(5)
        .open_wait(Duration::from_secs(2), Duration::from_secs(60));
    // At most half of the hosts at once: when all seem to fail, the fault is on this side.
    let breakers = KeyedCircuitBreaker::new("hosts")
        .capacity(10_000)
        .max_open_share(0.5)
        .settings(settings)?;
    let registry = Registry::new();
    registry.register(breakers.clone());

    let fetch = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::keyed(breakers, by_host))
        // Inside the breaker, which must see the time-out as a failure.
        .layer(TimeoutLayer::new(Duration::from_secs(10)))
        .service(Client::builder(TokioExecutor::new()).build_http());
    let fetch = fetch.map_response(|response| response.map(Body::new));

    let app = Router::new()
        .route("/", get(forward))
        .route(
            "/metrics",
            get(|State(app): State<App>| async move { app.registry.to_prometheus() }),
        )
        .with_state(App { fetch: BoxCloneSyncService::new(fetch), hosts, registry });
    let port = std::env::var("PORT").unwrap_or("3000".into()).parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("fetcher listens on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

/// What stands before the host, in another case or left out, must not be another breaker.
fn by_host(request: &Request<Body>) -> Option<Key> {
    let host = request.uri().host()?.to_ascii_lowercase();
    Some(Key::of(&(host, request.uri().port_u16().unwrap_or(80))))
}

/// Fetches the URL that is the query.
async fn forward(State(app): State<App>, RawQuery(query): RawQuery) -> Response<Body> {
    let url: Option<Uri> = query.and_then(|url| url.parse().ok());
    let Some(url) = url.filter(|url| url.scheme().is_some()) else {
        return answer(StatusCode::BAD_REQUEST, "the query must be a URL\n");
    };
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    if !app.hosts.contains(&host) {
        return answer(StatusCode::FORBIDDEN, "not one of the hosts\n");
    }
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = url;
    match app.fetch.oneshot(request).await {
        Ok(response) => response,
        Err(_) => answer(StatusCode::BAD_GATEWAY, "the host does not answer\n"),
    }
}

fn answer(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
