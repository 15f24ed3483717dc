//! A quota for each client address, behind a proxy or without one. See the README beside this
//! package.

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use bartizan::core::{ClientIp, ClientIpLayer};
use bartizan::rate_limit::{Policy, Quota, RateLimitLayer, RateLimiter};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // How many proxies of one's own stand before this server: the address is taken from what the
    // outermost of them wrote into X-Forwarded-For, and from nowhere if there is none.
    let hops = std::env::var("PROXIES").map_or(Ok(0), |hops| hops.parse())?;
    let client_ip = if hops == 0 { ClientIp::peer() } else { ClientIp::trust_hops(hops) };

    // Five at once, and a hundred a day.
    let limiter = RateLimiter::with_policies([
        Policy::new("burst", Quota::per_second(1)?.burst(5)?),
        Policy::new("day", Quota::per_day(100)?),
    ])?;
    let layers = ServiceBuilder::new()
        .layer(ClientIpLayer::new(client_ip))
        .layer(RateLimitLayer::new(limiter).skip_paths(&["/livez"]));
    let app = Router::new()
        .route("/", get(async || "hello\n"))
        .route("/livez", get(async || "up\n"))
        .layer(layers);

    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
