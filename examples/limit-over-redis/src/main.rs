//! One quota for several servers, counted in Redis. See the README beside this package.

use std::error::Error;

use axum::Router;
use axum::routing::get;
use bartizan::core::{Registry, key};
use bartizan::rate_limit::{Outage, Quota, RateLimitLayer, RateLimiter};
use bartizan::redis::{RateLimitStore, Redis};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    // Before anything is counted: servers with the same secret find the same keys.
    key::share(std::env::var("KEY_SECRET")?.as_bytes())?;
    let url = std::env::var("REDIS").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let store = RateLimitStore::new(Redis::new(&url)?);

    // Without Redis, each of the two servers grants its half.
    let limiter = RateLimiter::new(Quota::per_minute(10)?)
        .named("api")
        .outage(Outage::Local { nodes: 2 })
        .shared(store);
    let registry = Registry::new();
    registry.register(limiter.clone());
    let by_key = RateLimitLayer::new(limiter).key(key::header("x-api-key".parse()?));

    let app = Router::new()
        .route("/", get(async || "hello\n"))
        .layer(by_key)
        .route("/metrics", get(async move || registry.to_prometheus()));
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
