//! Pages that two servers share, and purge for each other. See the README beside this package.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, header, uri::Scheme};
use axum::routing::get;
use bartizan::cache::{CacheLayer, PurgeAdmin, ResponseCache};
use bartizan::core::Registry;
use bartizan::redis::{CacheStore, Redis};
use tokio::net::TcpListener;

const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// A page that takes its time.
async fn page(made: Arc<AtomicU64>, title: String) -> ([(HeaderName, String); 2], String) {
    let number = made.fetch_add(1, Relaxed) + 1;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let fields = [(header::CACHE_CONTROL, "max-age=3600".into()), (SURROGATE_KEY, "pages".into())];
    let process = std::process::id();
    (fields, format!("{title}, made by process {process} as its number {number}\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let url = std::env::var("REDIS").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let token = std::env::var("PURGE_TOKEN")
        .map_err(|_| "set PURGE_TOKEN to a secret, such as `openssl rand -hex 16` prints")?;
    // Memory in front, Redis behind it.
    let store = CacheStore::new(Redis::new(&url)?);
    let cache = ResponseCache::new("pages").scheme(&Scheme::HTTP).over(store);
    let admin = PurgeAdmin::with_token(cache.clone(), &token)?;
    let registry = Registry::new();
    registry.register(cache.clone());

    let made = Arc::new(AtomicU64::new(0));
    let app = Router::new()
        .route("/{title}", get(move |Path(title): Path<String>| page(made, title)))
        .layer(CacheLayer::safe(cache))
        .route_service("/admin/purge", admin)
        .route("/admin/metrics", get(async move || registry.to_prometheus()));
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
