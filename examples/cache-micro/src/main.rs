//! A slow page that everybody wants, rendered once a second. See the README beside this package.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use bartizan::cache::{CacheLayer, ResponseCache, Settings};
use tokio::net::TcpListener;

static RENDERED: AtomicU64 = AtomicU64::new(0);
static BROKEN: AtomicBool = AtomicBool::new(false);

/// Says nothing of its freshness.
async fn page() -> (StatusCode, String) {
    tokio::time::sleep(Duration::from_millis(300)).await;
    if BROKEN.load(Relaxed) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "out of order\n".into());
    }
    (StatusCode::OK, format!("rendered {} times\n", RENDERED.fetch_add(1, Relaxed) + 1))
}

async fn break_down() {
    BROKEN.store(true, Relaxed);
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::default()
        .default_ttl(Duration::from_secs(1))
        .stale_while_revalidate(Duration::from_secs(10))
        .stale_if_error(Duration::from_secs(60));
    let cache = ResponseCache::new("micro").settings(settings)?;
    let app = Router::new()
        .route("/", get(page))
        .layer(CacheLayer::safe(cache))
        .route("/break", post(break_down));
    Ok(serve(app).await?)
}

/// Listens on `PORT` of this machine, 3000 if it is not set.
async fn serve(app: Router) -> std::io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
