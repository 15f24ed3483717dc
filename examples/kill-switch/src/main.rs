//! A route and a limiter that an edit of a file switches off. See the README beside this package.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bartizan::core::Engine;
use bartizan::flags::{FileSource, Flag, FlagsLayer, GateLayer, RequestFlags};
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use tokio::net::TcpListener;

static EXPORT: Flag<bool> = Flag::new("export", false);
static LIMITER_MODE: Flag<&str> = Flag::new("limiter-mode", "enforce");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or(default.into());
    let file = setting("FLAGS", concat!(env!("CARGO_MANIFEST_DIR"), "/flags.json"));
    let source = FileSource::load(&file)?;
    let flags = source.flags();
    for finding in flags.declare([EXPORT.declaration(), LIMITER_MODE.declaration()]) {
        eprintln!("{file}: {finding}");
    }

    let limiter = RateLimiter::new("2/min".parse::<Quota>()?).named("demo");
    flags.control(LIMITER_MODE.name(), limiter.switch().clone());
    tokio::spawn(source.watch(Duration::from_secs(5)));

    let app = Router::new()
        .route("/export", get(export))
        .layer(GateLayer::new(flags.clone(), EXPORT))
        .route("/", get(async || "hello\n"))
        .layer(FlagsLayer::new(flags))
        .layer(RateLimitLayer::new(limiter));
    let listener = TcpListener::bind(("127.0.0.1", setting("PORT", "3000").parse()?)).await?;
    println!("listening on http://{}, flags in {file}", listener.local_addr()?);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(listener, app).await?)
}

async fn export(flags: RequestFlags) -> String {
    format!("exported under version {}\n", flags.version().unwrap_or("?"))
}
