//! A shop that asks a flaky service for prices, through a breaker around hyper's client. See the
//! README beside this package.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response, StatusCode, Uri};
use axum::routing::get;
use bartizan::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, Open, Settings};
use bartizan::core::Registry;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tower::timeout::TimeoutLayer;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt};

type Prices = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

#[derive(Clone)]
struct Shop {
    prices: Prices,
    upstream: Uri,
    registry: Registry,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or(default.into());
    let upstream: Uri = setting("PRICES", "http://127.0.0.1:8000/").parse()?;

    let settings = Settings::default()
        .window_time(Duration::from_secs(10), 5)
        .slow_calls(Duration::from_millis(500), 0.5)
        .open_wait(Duration::from_secs(1), Duration::from_secs(30))
        .half_open_probes(2);
    let breaker = CircuitBreaker::new("prices").settings(settings)?.on_transition(|change| {
        eprintln!("prices: {} ({})", change.to().as_str(), change.reason().as_str());
    });
    let registry = Registry::new();
    registry.register(breaker.clone());

    let prices = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker).fallback_with(yesterday))
        // Inside the breaker, which must see the time-out as a failure.
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .map_response(|response: Response<Incoming>| response.map(Body::new))
        .service(Client::builder(TokioExecutor::new()).build_http());
    let prices = prices.map_response(|response| response.map(Body::new));

    let shop = Shop { prices: BoxCloneSyncService::new(prices), upstream, registry };
    let app = Router::new()
        .route("/", get(price))
        .route(
            "/metrics",
            get(|State(shop): State<Shop>| async move { shop.registry.to_prometheus() }),
        )
        .with_state(shop);
    let listener = TcpListener::bind(("127.0.0.1", setting("PORT", "3000").parse()?)).await?;
    println!("shop listens on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

/// What the shop says while the circuit is open.
fn yesterday(_: &Request<Body>, open: Open) -> Option<Response<Body>> {
    let text = format!("9.99, as of yesterday; ask again in {:.0?}\n", open.retry_after());
    Some(Response::new(Body::from(text)))
}

async fn price(State(shop): State<Shop>) -> Response<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = shop.upstream.clone();
    match shop.prices.oneshot(request).await {
        Ok(response) => response,
        Err(error) => {
            let mut response = Response::new(Body::from(format!("no price: {error}\n")));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}
