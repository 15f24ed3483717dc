//! A token for the demonstration. In earnest an issuer makes them and this service only has its
//! public keys.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

pub(crate) const ISSUER: &str = "https://issuer.storefront.test";
pub(crate) const AUDIENCE: &str = "storefront";

/// An HS256 token (RFC 7515) that is valid for a day.
pub(crate) fn for_ann(secret: &[u8; 32], now: Duration) -> String {
    let claims = json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann",
        "scope": "products:read products:write",
        "iat": now.as_secs(),
        "exp": now.as_secs() + 24 * 60 * 60,
    });
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{signed}.{signature}")
}
