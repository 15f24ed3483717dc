//! The least that an issuer is: a configuration, keys, tokens, and another key when it is asked to.

use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

struct Issuer {
    name: String,
    /// The last one signs; the others are still published, for the tokens that they have signed.
    keys: RwLock<Vec<Ed25519KeyPair>>,
}

#[derive(Deserialize)]
struct Wanted {
    client_id: String,
    #[serde(default)]
    scope: String,
}

/// The issuer that is known by this name.
pub(crate) fn router(name: String) -> Result<Router, Box<dyn Error>> {
    let keys = RwLock::new(vec![Ed25519KeyPair::generate()?]);
    Ok(Router::new()
        .route("/.well-known/openid-configuration", get(configuration))
        .route("/keys", get(keys_document))
        .route("/token", post(token))
        .route("/rotate", post(rotate))
        .with_state(Arc::new(Issuer { name, keys })))
}

async fn configuration(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    let name = &issuer.name;
    Json(json!({"issuer": name, "jwks_uri": format!("{name}/keys")}))
}

async fn keys_document(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    let keys = issuer.keys.read().unwrap_or_else(PoisonError::into_inner);
    let jwk = |(number, key): (usize, &Ed25519KeyPair)| {
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": number.to_string(), "x": x})
    };
    Json(json!({"keys": keys.iter().enumerate().map(jwk).collect::<Vec<_>>()}))
}

async fn token(State(issuer): State<Arc<Issuer>>, Form(wanted): Form<Wanted>) -> String {
    let keys = issuer.keys.read().unwrap_or_else(PoisonError::into_inner);
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": (keys.len() - 1).to_string()});
    let claims = json!({
        "iss": issuer.name,
        "aud": "orders",
        "sub": wanted.client_id,
        "scope": wanted.scope,
        "exp": now() + 300,
    });
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(&header), encode(&claims));
    let signature = keys[keys.len() - 1].sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

async fn rotate(State(issuer): State<Arc<Issuer>>) -> &'static str {
    let Ok(key) = Ed25519KeyPair::generate() else { return "no randomness to be had\n" };
    issuer.keys.write().unwrap_or_else(PoisonError::into_inner).push(key);
    "another key signs\n"
}

#[allow(clippy::disallowed_methods, reason = "an issuer of its own has a clock of its own")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
