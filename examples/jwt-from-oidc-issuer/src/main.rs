//! An API that takes the tokens of an OpenID Connect issuer. See the README beside this package.

mod issuer;

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bartizan::auth::{AuthLayer, Authenticator, Caller, HttpClient, Oidc};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = |name, default| std::env::var(name).map_or(Ok(default), |port| port.parse::<u16>());
    let issuers = TcpListener::bind(("127.0.0.1", port("ISSUER_PORT", 3001)?)).await?;
    let name = format!("http://{}", issuers.local_addr()?);
    println!("issuer at {name}");
    let router = issuer::router(name.clone())?;
    tokio::spawn(async move { axum::serve(issuers, router).await });

    // An issuer elsewhere is `Oidc::auth0`, `Oidc::entra` and so on, and has https.
    let client = HttpClient::https()?.allow_loopback_http();
    let oidc = Oidc::new(&name, "orders")?;
    let keys = oidc.jwks(client)?.cooldown(Duration::from_secs(1));
    let auth = Authenticator::new("orders").scheme(oidc.jwt_by(keys));

    let app = Router::new()
        .route("/me", get(|Caller(who): Caller| async move { format!("{}\n", who.subject()) }))
        .layer(AuthLayer::new(auth).strip_credentials());
    let listener = TcpListener::bind(("127.0.0.1", port("PORT", 3000)?)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
