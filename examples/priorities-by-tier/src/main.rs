//! Where not all can be served, those who pay go first. See the README beside this package.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bartizan::auth::{ApiKeys, AuthLayer, Authenticator, Principal};
use bartizan::core::key;
use bartizan::shed::{LoadShedLayer, LoadShedder, Priority, Settings, by_tier};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let keys = ApiKeys::new();
    keys.insert("demo_free_2f8a61c4b7d90e35aa14", Principal::new("ann").with_tier("free"))?;
    keys.insert("demo_gold_91c0d7b25e4f8a63bb70", Principal::new("bob").with_tier("gold"))?;
    let auth = Authenticator::new("demo").scheme(keys);

    // Two at once, so that a shell is load enough; leave the settings out for a limit that finds
    // itself.
    let settings = Settings::fixed(2).longest_wait(Duration::from_millis(500));
    let shedder = LoadShedder::new("api").settings(settings)?;
    let by_plan = by_tier([("gold", Priority::Critical), ("free", Priority::Sheddable)]);
    let layers = ServiceBuilder::new()
        // Who calls has to be known first. A second shedder, without priorities, may stand outside.
        .layer(AuthLayer::new(auth))
        .layer(LoadShedLayer::new(shedder).priority(by_plan).tenant(key::principal()));
    let work = async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        "done\n"
    };
    let app = Router::new().route("/", get(work)).layer(layers);

    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
