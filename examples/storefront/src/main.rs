//! A small shop behind Bartizan's layers. See the README beside this package.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bartizan::auth::{
    Algorithm, ApiKeys, AuthLayer, Authenticator, Jwt, KeySet, Keys, Principal, RequireLayer,
};
use bartizan::cache::{CacheLayer, ResponseCache};
use bartizan::circuit_breaker::{self, CircuitBreaker, CircuitBreakerLayer};
use bartizan::core::{ClientIp, ClientIpLayer, Clock, ConfigError, Engine, Registry, key};
use bartizan::flags::{FileSource, Flags, FlagsLayer};
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bartizan::shed::{self, LoadShedLayer, LoadShedder};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

mod shop;
mod token;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // What changes, and what goes wrong, is told on the standard error output.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let file = std::env::var("FLAGS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/flags.json").to_owned());

    // Drawn apart: the key is printed, and must say nothing about the secret that signs tokens.
    let (mut secret, mut key) = ([0; 32], [0; 16]);
    getrandom::fill(&mut secret)?;
    getrandom::fill(&mut key)?;
    let api_key = format!("shop_{:032x}", u128::from_ne_bytes(key));
    let source = FileSource::load(&file)?;
    let app = app(source.flags(), authenticator(&secret, &api_key)?)?;
    tokio::spawn(source.watch(Duration::from_secs(5)));

    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!("storefront listens on {url}, flags in {file}");
    println!("export KEY='x-api-key: {api_key}'");
    println!(
        "export TOKEN='authorization: Bearer {}'",
        token::for_ann(&secret, Clock::system().unix())
    );
    println!("curl -i -H \"$KEY\" {url}/products");
    println!("curl -i -H \"$TOKEN\" -X POST {url}/products");
    println!("curl -i -H \"$KEY\" {url}/shipping/down");
    println!("curl -i -H \"$KEY\" {url}/report");
    println!("curl -N -H \"$KEY\" {url}/events");
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// Whom the shop knows: whoever has a token of its issuer, and one partner with an API key.
fn authenticator(secret: &[u8], api_key: &str) -> Result<Authenticator, ConfigError> {
    let issuer = Keys::new(KeySet::secret(Algorithm::Hs256, secret)?);
    let partners = ApiKeys::new();
    partners.insert(api_key, Principal::new("partner").with_scopes(["products:read"]))?;
    Ok(Authenticator::new("storefront")
        .scheme(Jwt::new(issuer, token::ISSUER, token::AUDIENCE))
        .scheme(partners))
}

fn app(flags: Flags, auth: Authenticator) -> Result<Router, ConfigError> {
    let shedder = LoadShedder::new("storefront");
    let by_address = RateLimiter::new(Quota::per_minute(600)?.burst(100)?).named("by-address");
    let by_caller = RateLimiter::new(Quota::per_minute(60)?.burst(20)?).named("by-caller");
    let cache = ResponseCache::new("storefront");
    let carriers = CircuitBreaker::new("carriers")
        .settings(circuit_breaker::Settings::default().window(10, 5))?;
    // Reports are slow for good reason, so they have a shedder of their own: two at once.
    let reports = LoadShedder::new("reports").settings(shed::Settings::fixed(2).queue(0))?;

    flags.control("limiter-mode", by_caller.switch().clone());
    let registry = Registry::new();
    registry.register(shedder.clone());
    registry.register(reports.clone());
    registry.register(by_address.clone());
    registry.register(by_caller.clone());
    registry.register(auth.clone());
    registry.register(flags.clone());
    registry.register(cache.clone());
    registry.register(carriers.clone());

    let layers = ServiceBuilder::new()
        // A stream holds its slot for as long as it lasts, and a few would be all there is.
        .layer(LoadShedLayer::new(shedder).exempt_paths(["/events"]))
        .layer(ClientIpLayer::new(ClientIp::peer()))
        .layer(RateLimitLayer::new(by_address).fields(false))
        .layer(AuthLayer::new(auth.clone()))
        .layer(FlagsLayer::new(flags))
        .layer(RateLimitLayer::new(by_caller).key(key::principal()))
        .layer(CacheLayer::new(cache));
    let sellers = RequireLayer::new(auth).scopes(["products:write"]);
    Ok(Router::new()
        .route("/products", get(shop::products).merge(post(shop::add_product).layer(sellers)))
        .route("/events", get(shop::events))
        .route("/report", get(shop::report).layer(LoadShedLayer::new(reports)))
        .route("/shipping/{carrier}", get(shop::shipping).layer(CircuitBreakerLayer::new(carriers)))
        .layer(layers)
        // Outside the layers: probes and figures are always served.
        .route("/livez", get(async || "up"))
        .route("/metrics", get(async move || registry.to_prometheus())))
}
