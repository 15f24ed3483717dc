//! What each route requires, in one list. See the README beside this package.

use std::error::Error;

use axum::Router;
use axum::http::Method;
use axum::routing::{get, post};
use bartizan::auth::{
    ApiKeys, AuthLayer, Authenticator, Principal, Requirement, RouteGuards, Settings,
};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // For the demonstration: keys in a program are no secret.
    let keys = ApiKeys::new();
    let reader = Principal::new("ann").with_scopes(["orders:read"]);
    let clerk = Principal::new("bob").with_scopes(["orders:read", "orders:refund"]);
    keys.insert("demo_reader_5c1f0a7be2d94836", reader)?;
    keys.insert("demo_clerk_e8b3d2904a6f7c15", clerk)?;
    // Who shows nothing passes the first layer; what it may see is for the list to say.
    let auth =
        Authenticator::new("orders").scheme(keys).settings(Settings::default().optional(true));

    let guards = RouteGuards::new(auth.clone())
        .any_method("/livez", Requirement::public())?
        .route(Method::GET, "/orders/{id}", Requirement::scope("orders:read"))?
        .route(Method::POST, "/orders/{id}/refund", Requirement::scope("orders:refund"))?
        .deny_unlisted();
    println!("{guards}");

    let app = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/orders/{id}", get(async || "an order\n"))
        .route("/orders/{id}/refund", post(async || "refunded\n"))
        // Nobody has thought of what this requires.
        .route("/forgotten", get(async || "secrets\n"))
        .layer(ServiceBuilder::new().layer(AuthLayer::new(auth)).layer(guards.layer()));
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse::<u16>())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
