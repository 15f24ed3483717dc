//! A small shop behind Bartizan's layers. See the README beside this package.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bartizan::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use bartizan::core::{ClientIp, ClientIpLayer, ConfigError, Engine, Registry};
use bartizan::flags::{FileSource, Flags, FlagsLayer};
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bartizan::shed::{LoadShedLayer, LoadShedder};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

mod shop;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let file = std::env::var("FLAGS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/flags.json").to_owned());

    let source = FileSource::load(&file)?;
    let app = app(source.flags())?;
    tokio::spawn(source.watch(Duration::from_millis(100)));

    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!("storefront listens on {url}, flags in {file}");
    println!("  curl -i {url}/products");
    println!("  curl -i {url}/shipping/down");
    println!("  curl -i {url}/report");
    println!("  curl -N {url}/events");
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

fn app(flags: Flags) -> Result<Router, ConfigError> {
    let shedder = LoadShedder::new("storefront");
    let limiter = RateLimiter::new(Quota::per_minute(60)?.burst(20)?).named("by-address");
    let carriers = CircuitBreaker::new("carriers")
        .settings(bartizan::circuit_breaker::Settings::default().window(10, 5))?;
    // Reports are slow for good reason, so they have a shedder of their own: two at once.
    let reports = LoadShedder::new("reports").settings(
        bartizan::shed::Settings::default().limits(1, 2, 2).latency_target(Duration::from_secs(5)),
    )?;

    flags.control("limiter-mode", limiter.switch().clone());
    let registry = Registry::new();
    registry.register(shedder.clone());
    registry.register(reports.clone());
    registry.register(limiter.clone());
    registry.register(carriers.clone());
    registry.register(flags.clone());

    let layers = ServiceBuilder::new()
        .layer(LoadShedLayer::new(shedder))
        .layer(ClientIpLayer::new(ClientIp::peer()))
        .layer(RateLimitLayer::new(limiter))
        .layer(FlagsLayer::new(flags));
    Ok(Router::new()
        .route("/products", get(shop::products))
        .route("/events", get(shop::events))
        .route("/report", get(shop::report).layer(LoadShedLayer::new(reports)))
        .route("/shipping/{carrier}", get(shop::shipping).layer(CircuitBreakerLayer::new(carriers)))
        .layer(layers)
        // Outside the layers: probes and figures are always served.
        .route("/livez", get(async || "up"))
        .route("/metrics", get(async move || registry.to_prometheus())))
}
