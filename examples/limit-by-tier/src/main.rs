//! API keys with tiers, each tier with a quota of its own, which an operator can change while the
//! server runs. See the README beside this package.

use std::error::Error;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, put};
use bartizan::auth::{ApiKeys, AuthLayer, Authenticator, Principal};
use bartizan::core::{Registry, key};
use bartizan::rate_limit::{Policy, Quota, RateLimitLayer, RateLimiter};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let keys = ApiKeys::new();
    keys.insert("demo_free_2f8a61c4b7d90e35aa14", Principal::new("ann").with_tier("free"))?;
    keys.insert("demo_gold_91c0d7b25e4f8a63bb70", Principal::new("bob").with_tier("gold"))?;
    let auth = Authenticator::new("demo").scheme(keys);

    let calls = Policy::new("calls", Quota::per_minute(3)?).tier("gold", Quota::per_minute(30)?);
    let limiter = RateLimiter::with_policies([calls])?.named("api");
    let registry = Registry::new();
    registry.register(limiter.clone());

    let layers = ServiceBuilder::new()
        .layer(AuthLayer::new(auth))
        .layer(RateLimitLayer::new(limiter).key(key::principal()).principal_tier());
    let app = Router::new()
        .route("/", get(async || "hello\n"))
        .layer(layers)
        // For operators: not to be reached from outside.
        .route("/admin/limits", put(change))
        .with_state(registry);

    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// Replaces the quotas; what callers have used stays used.
async fn change(State(registry): State<Registry>, settings: String) -> (StatusCode, String) {
    let limiter = registry.get("rate_limit", "api").expect("it was registered at the start");
    let applied = serde_json::from_str(&settings)
        .map_err(|error| error.to_string())
        .and_then(|settings| limiter.apply(settings).map_err(|error| error.to_string()));
    match applied {
        Ok(()) => (StatusCode::NO_CONTENT, String::new()),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}
