//! An API whose answers are computed once a minute. See the README beside this package.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use bartizan::cache::{CacheControl, CacheControlLayer, CacheLayer, ResponseCache};
use tokio::net::TcpListener;

/// How often something was computed.
static COMPUTED: AtomicU64 = AtomicU64::new(0);

async fn price(Path(item): Path<u32>) -> String {
    // As a slow query would.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let count = COMPUTED.fetch_add(1, Relaxed) + 1;
    format!("item {item} costs {}, computed as number {count}\n", 10 + item * 3)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let minute = CacheControl::new().max_age(Duration::from_secs(60));
    let app = Router::new()
        .route("/prices/{item}", get(price))
        .layer(CacheControlLayer::new(&minute).etags(true))
        .layer(CacheLayer::safe(ResponseCache::new("api")));
    serve(app).await
}

/// Listens on `PORT` of this machine, 3000 if it is not set.
async fn serve(app: Router) -> std::io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
