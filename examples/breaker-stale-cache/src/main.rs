//! A weather page whose source fails now and then: while the circuit is open, callers get the last
//! good answer. See the README beside this package.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::{get, put};
use bartizan::cache::{self, CacheLayer, ResponseCache};
use bartizan::circuit_breaker::{self, CircuitBreaker, CircuitBreakerLayer};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

/// Where the weather comes from.
#[derive(Default)]
struct Source {
    down: AtomicBool,
    asked: AtomicU32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A stale answer stands in for an error for an hour, whatever the handler says of it.
    let grace = cache::Settings::default().stale_if_error(Duration::from_secs(60 * 60));
    let cache = ResponseCache::new("weather").settings(grace)?;
    let rules = circuit_breaker::Settings::default()
        .window(10, 3)
        .open_wait(Duration::from_secs(2), Duration::from_secs(10));
    let breaker = CircuitBreaker::new("weather").settings(rules)?;

    // The cache outside: a refusal of the breaker is one of the errors that it covers.
    let layers = ServiceBuilder::new()
        .layer(CacheLayer::new(cache))
        .layer(CircuitBreakerLayer::new(breaker));
    let source = Arc::new(Source::default());
    let app = Router::new()
        .route("/weather", get(weather).layer(layers))
        .route("/source/{state}", put(set))
        .with_state(source);

    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

type Weather = (StatusCode, [(HeaderName, &'static str); 1], String);

async fn weather(State(source): State<Arc<Source>>) -> Weather {
    let asked = source.asked.fetch_add(1, Relaxed) + 1;
    let reuse = |value| [(header::CACHE_CONTROL, value)];
    if source.down.load(Relaxed) {
        return (StatusCode::BAD_GATEWAY, reuse("no-store"), format!("no weather, call {asked}\n"));
    }
    (StatusCode::OK, reuse("max-age=1"), format!("sunny, call {asked}\n"))
}

/// Lets the source fail, or work again.
async fn set(
    State(source): State<Arc<Source>>,
    axum::extract::Path(state): axum::extract::Path<String>,
) -> StatusCode {
    source.down.store(state == "down", Relaxed);
    StatusCode::NO_CONTENT
}
