//! A small shop behind Bartizan's layers. See the README beside this package.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use bartizan::core::{ClientIp, ClientIpLayer, Engine, Registry};
use bartizan::flags::{FileSource, FlagsLayer};
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bartizan::shed::{LoadShedLayer, LoadShedder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let file = std::env::var("FLAGS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/flags.json").to_owned());

    let source = FileSource::load(&file)?;
    let flags = source.flags();
    let shedder = LoadShedder::new("storefront");
    let limiter = RateLimiter::new(Quota::per_minute(60)?.burst(5)?).named("by-address");
    flags.control("limiter-mode", limiter.switch().clone());
    tokio::spawn(source.watch(Duration::from_millis(100)));

    let registry = Registry::new();
    registry.register(shedder.clone());
    registry.register(limiter.clone());
    registry.register(flags.clone());

    let layers = ServiceBuilder::new()
        .layer(LoadShedLayer::new(shedder).exempt_paths(["/livez", "/metrics"]))
        .layer(ClientIpLayer::new(ClientIp::peer()))
        .layer(RateLimitLayer::new(limiter))
        .layer(FlagsLayer::new(flags));
    let app = Router::new()
        .route("/products", get(products))
        .layer(layers)
        .route("/livez", get(async || "up"))
        .route("/metrics", get(async move || registry.to_prometheus()));

    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    println!("storefront listens on http://{address}, flags in {file}");
    println!("try: curl -i http://{address}/products");
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

async fn products() -> Json<Value> {
    Json(json!([{ "id": 1, "name": "anvil" }, { "id": 2, "name": "bellows" }]))
}
