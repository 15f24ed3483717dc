//! An origin that tells browsers, the CDN and its own cache different things. See the README beside
//! this package.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, header};
use axum::routing::get;
use bartizan::cache::{CacheControl, CacheControlLayer, CacheLayer, ResponseCache};
use tokio::net::TcpListener;

const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");
const OURS: HeaderName = HeaderName::from_static("shop-cache-control");

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let seconds = Duration::from_secs;
    let pages = CacheControlLayer::new(&CacheControl::public().max_age(seconds(10)))
        .targeted(CDN, &CacheControl::new().max_age(seconds(600)).stale_if_error(seconds(3600)))
        .targeted(OURS, &CacheControl::new().max_age(seconds(60)))
        .vary([header::ACCEPT_LANGUAGE])
        .etags(true);
    let private = CacheControlLayer::new(&CacheControl::private());
    let app = Router::new()
        .route("/", get(|| async { "welcome\n" }).layer(pages))
        .route("/account", get(|| async { "yours\n" }).layer(private))
        .layer(CacheLayer::safe(ResponseCache::new("shop")).targeted_fields([OURS]));
    serve(app).await
}

/// Listens on `PORT` of this machine, 3000 if it is not set.
async fn serve(app: Router) -> std::io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
