//! Signed tokens in compact form (RFC 7515), bytes in and bytes out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::keys::VerifyKey;
use crate::members::Members;
use crate::{Algorithm, Fault, KeySet};

/// What a header must not hold, whatever it says: extensions that must be understood, an unencoded
/// payload, encryption, compression.
const REFUSED: [&str; 6] = ["crit", "b64", "enc", "zip", "p2c", "epk"];

/// A token that was taken apart. Keys and addresses of keys in its header (`jwk`, `jku`, `x5c`,
/// `x5u`) are never used.
pub(crate) struct Compact<'a> {
    header: Vec<u8>,
    message: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
}

/// What a token's header says. Nothing in it is proven.
pub(crate) struct Header<'a> {
    members: Members<'a>,
    algorithm: Algorithm,
}

impl<'a> Compact<'a> {
    /// Takes `token` apart.
    pub(crate) fn read(token: &'a [u8]) -> Result<Self, Fault> {
        let dot = |byte: &u8| *byte == b'.';
        let first = token.iter().position(dot).ok_or(Fault::Malformed)?;
        let last = token.iter().rposition(dot).ok_or(Fault::Malformed)?;
        let payload = token.get(first + 1..last).ok_or(Fault::Malformed)?;
        if payload.contains(&b'.') {
            return Err(Fault::Malformed);
        }
        Ok(Self {
            header: decode(&token[..first])?,
            message: &token[..last],
            payload,
            signature: &token[last + 1..],
        })
    }

    pub(crate) fn header(&self) -> Result<Header<'_>, Fault> {
        Header::read(&self.header)
    }

    /// Verifies the signature by the key of `keys` that the header names, or by one of those that
    /// it may mean; by no algorithm but that key's. Returns the key that it is by.
    pub(crate) fn verify<'k>(
        &self,
        header: &Header<'_>,
        keys: &'k KeySet,
    ) -> Result<&'k VerifyKey, Unproven> {
        let signature = decode(self.signature)?;
        let by = |key: &'k VerifyKey| {
            if key.algorithm != header.algorithm {
                Err(Fault::Algorithm)
            } else if key.verifies(self.message, &signature) {
                Ok(key)
            } else {
                Err(Fault::Signature)
            }
        };
        if let Some(key) = header.kid().and_then(|kid| keys.by_name(kid)) {
            return Ok(by(key)?);
        }
        let mut fault = Fault::UnknownKey;
        for key in keys.unnamed(header.kid(), header.algorithm) {
            match by(key) {
                Ok(key) => return Ok(key),
                Err(other) => fault = other,
            }
        }
        Err(Unproven::by_these_keys(fault))
    }

    pub(crate) fn payload(&self) -> Result<Vec<u8>, Fault> {
        decode(self.payload)
    }
}

impl<'a> Header<'a> {
    fn read(json: &'a [u8]) -> Result<Self, Fault> {
        let text = str::from_utf8(json).map_err(|_| Fault::Malformed)?;
        let members: Members<'a> = serde_json::from_str(text).map_err(|_| Fault::Malformed)?;
        if REFUSED.iter().any(|name| members.contains(name)) {
            return Err(Fault::Header);
        }
        let algorithm = members.text("alg").and_then(Algorithm::named).ok_or(Fault::Algorithm)?;
        let is_text = |name| members.get(name).is_none_or(|member| member.as_str().is_some());
        if is_text("kid") && is_text("typ") {
            Ok(Self { members, algorithm })
        } else {
            Err(Fault::Malformed)
        }
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.members.text("kid")
    }

    pub(crate) fn typ(&self) -> Option<&str> {
        self.members.text("typ")
    }
}

/// Why a token was not believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unproven {
    pub(crate) fault: Fault,
    /// Other keys than those that are there may prove it.
    pub(crate) lacks_key: bool,
}

impl Unproven {
    pub(crate) const fn by_these_keys(fault: Fault) -> Self {
        Self { fault, lacks_key: true }
    }
}

impl From<Fault> for Unproven {
    fn from(fault: Fault) -> Self {
        Self { fault, lacks_key: false }
    }
}

/// Base64url without padding, in its one spelling.
fn decode(part: &[u8]) -> Result<Vec<u8>, Fault> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Malformed)
}
