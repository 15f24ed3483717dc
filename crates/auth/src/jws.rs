//! Signed tokens in compact form (RFC 7515), bytes in and bytes out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::members::Members;
use crate::{Algorithm, Fault, KeySet, backend};

/// A token whose signature fits.
pub(crate) struct Verified {
    pub(crate) typ: Option<String>,
    pub(crate) payload: Vec<u8>,
}

/// What a header must not hold, whatever it says: extensions that must be understood, an unencoded
/// payload, encryption, compression.
const REFUSED: [&str; 6] = ["crit", "b64", "enc", "zip", "p2c", "epk"];

/// Verifies `token` by the key of `keys` that its header asks for, and by no algorithm but that
/// key's. Keys and addresses of keys in the header (`jwk`, `jku`, `x5c`, `x5u`) are never used.
pub(crate) fn verify(keys: &KeySet, token: &[u8]) -> Result<Verified, Fault> {
    let mut dots = token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
        return Err(Fault::Malformed);
    };
    let (message, signature) = (&token[..second], &token[second + 1..]);
    let header: Members =
        serde_json::from_slice(&decode(&token[..first])?).map_err(|_| Fault::Malformed)?;
    if REFUSED.iter().any(|name| header.0.contains_key(*name)) {
        return Err(Fault::Header);
    }
    let algorithm = header.text("alg").and_then(Algorithm::named).ok_or(Fault::Algorithm)?;
    let key = keys.select(text(&header, "kid")?, algorithm).ok_or(Fault::UnknownKey)?;
    if key.algorithm != algorithm {
        return Err(Fault::Algorithm);
    }
    if !backend::verifies(algorithm, &key.key, message, &decode(signature)?) {
        return Err(Fault::Signature);
    }
    Ok(Verified {
        typ: text(&header, "typ")?.map(str::to_owned),
        payload: decode(&token[first + 1..second])?,
    })
}

/// A member that may be left out, but must be a string.
fn text<'a>(header: &'a Members, name: &str) -> Result<Option<&'a str>, Fault> {
    match header.0.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Fault::Malformed),
    }
}

/// Base64url without padding, in its one spelling.
fn decode(part: &[u8]) -> Result<Vec<u8>, Fault> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Malformed)
}
