//! Signed tokens in compact form (RFC 7515), bytes in and bytes out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::keys::VerifyKey;
use crate::members::Members;
use crate::{Algorithm, Fault, KeySet};

/// What a header must not hold, whatever it says: extensions that must be understood, an unencoded
/// payload, encryption, compression.
const REFUSED: [&str; 6] = ["crit", "b64", "enc", "zip", "p2c", "epk"];

/// A token that was taken apart. Keys and addresses of keys in its header (`jwk`, `jku`, `x5c`,
/// `x5u`) are never used.
pub(crate) struct Compact<'a> {
    pub(crate) typ: Option<String>,
    pub(crate) kid: Option<String>,
    algorithm: Algorithm,
    message: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Compact<'a> {
    /// Takes `token` apart. Nothing in it is proven yet.
    pub(crate) fn read(token: &'a [u8]) -> Result<Self, Fault> {
        let mut dots =
            token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(Fault::Malformed);
        };
        let header: Members =
            serde_json::from_slice(&decode(&token[..first])?).map_err(|_| Fault::Malformed)?;
        if REFUSED.iter().any(|name| header.0.contains_key(*name)) {
            return Err(Fault::Header);
        }
        Ok(Self {
            algorithm: header.text("alg").and_then(Algorithm::named).ok_or(Fault::Algorithm)?,
            kid: text(&header, "kid")?,
            typ: text(&header, "typ")?,
            message: &token[..second],
            payload: &token[first + 1..second],
            signature: &token[second + 1..],
        })
    }

    /// The key of `keys` that the header asks for.
    pub(crate) fn key<'k>(&self, keys: &'k KeySet) -> Result<&'k VerifyKey, Fault> {
        keys.select(self.kid.as_deref(), self.algorithm).ok_or(Fault::UnknownKey)
    }

    /// Verifies the signature by `key`, and by no algorithm but that key's.
    pub(crate) fn verify(&self, key: &VerifyKey) -> Result<(), Fault> {
        if key.algorithm != self.algorithm {
            return Err(Fault::Algorithm);
        }
        let verified = key.verifies(self.message, &decode(self.signature)?);
        if verified { Ok(()) } else { Err(Fault::Signature) }
    }

    pub(crate) fn payload(&self) -> Result<Vec<u8>, Fault> {
        decode(self.payload)
    }
}

/// A member that may be left out, but must be a string.
fn text(header: &Members, name: &str) -> Result<Option<String>, Fault> {
    match header.0.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Fault::Malformed),
    }
}

/// Base64url without padding, in its one spelling.
fn decode(part: &[u8]) -> Result<Vec<u8>, Fault> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Malformed)
}
