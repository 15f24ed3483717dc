//! Servers that follow one flag document in Redis. See the README beside this package.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, put};
use bartizan::core::Engine;
use bartizan::flags::{Flag, Flags, FlagsLayer, RequestFlags};
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bartizan::redis::{FlagsSource, Redis};
use tokio::net::TcpListener;

static GREETING: Flag<&str> = Flag::new("greeting", "good day");
static LIMITER_MODE: Flag<&str> = Flag::new("limiter-mode", "enforce");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or(default.into());
    let redis = Redis::new(&setting("REDIS", "redis://127.0.0.1:6379"))?;

    let flags = Flags::empty();
    // What was in force before a restart is so at once, whether Redis is there or not.
    let feed = flags.feed(0).keep_in(setting("KEEP", "flags-kept.json"));
    let source = FlagsSource::new(redis, feed);
    tokio::spawn(source.clone().watch(Duration::from_secs(10)));
    // Give the first document a moment, but start in any case.
    let _ = flags.ready_within(Duration::from_secs(1)).await;

    let limiter = RateLimiter::new("5/min".parse::<Quota>()?).named("demo");
    flags.control(LIMITER_MODE.name(), limiter.switch().clone());
    let app = Router::new()
        .route("/greeting", get(greeting))
        .layer(FlagsLayer::new(flags.clone()))
        .route("/limited", get(async || "within the quota\n").layer(RateLimitLayer::new(limiter)))
        // Behind an administrator's login, in earnest.
        .route("/flags", put(publish).with_state(source))
        .route("/age", get(async move || format!("{:?}\n", flags.age())));
    let listener = TcpListener::bind(("127.0.0.1", setting("PORT", "3000").parse()?)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(listener, app).await?)
}

async fn greeting(flags: RequestFlags) -> String {
    format!("{}\n", flags.get(&GREETING))
}

async fn publish(State(source): State<FlagsSource>, document: String) -> (StatusCode, String) {
    match source.publish(&document).await {
        Ok(version) => (StatusCode::OK, format!("version {version}\n")),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}
