//! One quota for several servers, counted in Redis. See the README beside this package.

use std::error::Error;

use axum::Router;
use axum::routing::get;
use bartizan::core::{Registry, key};
use bartizan::rate_limit::{Outage, Quota, RateLimitLayer, RateLimiter, Unkeyed};
use bartizan::redis::{RateLimitStore, Redis};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    // Before anything is counted: servers with the same secret find the same keys.
    let secret = std::env::var("KEY_SECRET").map_err(
        |_| "set KEY_SECRET, the same for all servers, such as `openssl rand -hex 16` prints",
    )?;
    key::share(secret.as_bytes())?;
    let url = std::env::var("REDIS").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let store = RateLimitStore::new(Redis::new(&url)?);

    // Without Redis, each of the two servers grants its half.
    let limiter = RateLimiter::new(Quota::per_minute(10)?)
        .named("api")
        .outage(Outage::Local { nodes: 2 })
        .shared(store);
    let registry = Registry::new();
    registry.register(limiter.clone());
    // For short: nobody looks at the key here, and each one made up buys another quota. In earnest
    // an `AuthLayer` stands outside, and the key is `key::principal()`, as in `limit-by-tier`.
    let by_key = RateLimitLayer::new(limiter)
        .key(key::header("x-api-key".parse()?))
        .unkeyed(Unkeyed::Refuse);

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
