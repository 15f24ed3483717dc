//! A service that can do four things at once, and says no to what it cannot do in time. See the README
//! beside this package.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bartizan::core::Registry;
use bartizan::shed::{LoadShedLayer, LoadShedder};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Nobody tells the shedder that there are four workers, or that each call takes one 40 ms.
    let workers = Arc::new(Semaphore::new(4));
    let work = async move || {
        let _worker = workers.acquire().await;
        tokio::time::sleep(Duration::from_millis(40)).await;
        "done\n"
    };

    let shedder = LoadShedder::new("api");
    let registry = Registry::new();
    registry.register(shedder.clone());
    let app = Router::new()
        .route("/", get(work))
        .route("/livez", get(async || "up\n"))
        .route("/metrics", get(async move || registry.to_prometheus()));
    // `SHED=off` shows what happens without.
    let app = if std::env::var("SHED").is_ok_and(|shed| shed == "off") {
        app
    } else {
        app.layer(LoadShedLayer::new(shedder).exempt_paths(["/livez", "/metrics"]))
    };

    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
