//! Pages that are purged by what they are made of. See the README beside this package.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, header, uri::Scheme};
use axum::routing::{get, post};
use bartizan::cache::{CacheLayer, ConfigError, PurgeAdmin, ResponseCache};
use tokio::net::TcpListener;

static MADE: AtomicU64 = AtomicU64::new(0);

const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

async fn article(
    Path((author, title)): Path<(String, String)>,
) -> ([(HeaderName, String); 3], String) {
    let fields = [
        (header::CACHE_CONTROL, "max-age=3600, stale-while-revalidate=60".into()),
        (SURROGATE_KEY, format!("articles author-{author}")),
        (CACHE_GROUPS, "\"comments\"".into()),
    ];
    let count = MADE.fetch_add(1, Relaxed) + 1;
    (fields, format!("{title} by {author}, made as number {count}\n"))
}

/// Whoever comments changes all pages that show comments (RFC 9875).
async fn comment() -> [(HeaderName, &'static str); 1] {
    [(INVALIDATION, "\"comments\"")]
}

fn app(token: &str) -> Result<Router, ConfigError> {
    let cache = ResponseCache::new("blog").scheme(&Scheme::HTTP);
    let admin = PurgeAdmin::with_token(cache.clone(), token)?;
    Ok(Router::new()
        .route("/{author}/{title}", get(article))
        .route("/comments", post(comment))
        .layer(CacheLayer::safe(cache))
        .route_service("/admin/purge", admin))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let token = std::env::var("PURGE_TOKEN")
        .map_err(|_| "set PURGE_TOKEN to a secret, such as `openssl rand -hex 16` prints")?;
    Ok(serve(app(&token)?).await?)
}

/// Listens on `PORT` of this machine, 3000 if it is not set.
async fn serve(app: Router) -> std::io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
