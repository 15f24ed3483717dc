//! An API that takes API keys, tokens, or tickets of the company's own. See the README beside this
//! package.

mod ticket;

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bartizan::auth::{
    Algorithm, AuthLayer, Authenticator, Caller, IssuedKey, IssuedKeys, Jwt, KeyRecord, KeySet,
    KeyTable, Peppers, Principal,
};
use bartizan::core::Clock;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tokio::net::TcpListener;

use self::ticket::Tickets;

/// For the demonstration: a secret in a program is none.
const SECRET: &[u8; 32] = b"a secret in a program is none...";
const ISSUER: &str = "https://id.example";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // As an operator would: draw a key, keep its record, show the key to its holder once.
    let (table, key) = (KeyTable::new(), IssuedKey::generate("demo", "live")?);
    let peppers = Peppers::none().with("2026", SECRET)?;
    let expires = Clock::system().unix() + Duration::from_secs(90 * 24 * 3600);
    let record = KeyRecord::new(&key, &peppers, Principal::new("billing")).expires_at(expires);
    table.put(key.id(), record);
    println!("key {}", key.reveal());
    println!("token {}", token());
    println!("ticket {}", Tickets::new(SECRET).issue("batch"));

    let auth = Authenticator::new("demo")
        .scheme(IssuedKeys::new(table, "demo", "live").peppers(peppers))
        .scheme(Jwt::new(KeySet::secret(Algorithm::Hs256, SECRET)?, ISSUER, "demo"))
        .scheme(Tickets::new(SECRET));

    let app = Router::new()
        .route("/me", get(|Caller(who): Caller| async move { format!("{}\n", who.subject()) }))
        .layer(AuthLayer::new(auth));
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse::<u16>())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// A token as an issuer with the same secret would make it.
fn token() -> String {
    let encode = |part: serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let expires = Clock::system().unix().as_secs() + 3600;
    let claims = json!({"iss": ISSUER, "aud": "demo", "sub": "alice", "exp": expires});
    let message = format!("{}.{}", encode(json!({"alg": "HS256"})), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(ticket::mac(SECRET, message.as_bytes()));
    format!("{message}.{signature}")
}
