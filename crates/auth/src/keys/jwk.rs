//! One key, and the gate that it must pass to verify anything.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;

use super::algorithm::Family;
use super::backend::{Key, Provider};
use super::{roca, small_order};
use crate::members::Members;
use crate::{Algorithm, Backend};

/// A key and the one algorithm that it is for.
#[derive(Clone)]
pub(crate) struct VerifyKey {
    pub(crate) kid: Option<String>,
    pub(crate) algorithm: Algorithm,
    /// Whose tokens it is for, by a member `issuer` of Microsoft's; theirs may hold `{tenantid}`.
    pub(crate) issuer: Option<Arc<str>>,
    key: Key,
}

/// What is wrong with a key, and what to do about it.
pub(crate) type Flaw = (&'static str, &'static str);

impl VerifyKey {
    /// Reads a JWK (RFC 7517). A key without `alg` gets the algorithm of its curve; RSA gets
    /// RS256, which is what providers that leave `alg` out sign with.
    pub(crate) fn from_jwk(backend: Backend, jwk: &Members<'_>) -> Result<Self, Flaw> {
        let by = backend.provider();
        let algorithm = meant_for(jwk)?;
        let key = match algorithm.family() {
            Family::Hmac => secret(by, algorithm, &bytes(jwk, "k")?)?,
            Family::Rsa => rsa(by, algorithm, &bytes(jwk, "n")?, &bytes(jwk, "e")?)?,
            Family::Ec => {
                let mut point = vec![4];
                for coordinate in ["x", "y"] {
                    let coordinate = bytes(jwk, coordinate)?;
                    if coordinate.len() != algorithm.hash_bytes() {
                        return Err(("a coordinate is not as long as its curve", FIX));
                    }
                    point.extend(coordinate);
                }
                ec(by, algorithm, &point)?
            }
            Family::Ed => ed(by, &bytes(jwk, "x")?)?,
        };
        let kid = match jwk.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or(("`kid` is not a string", FIX))?.to_owned()),
        };
        Ok(Self { kid, algorithm, issuer: jwk.text("issuer").map(Arc::from), key })
    }

    /// True if `signature` is one of `message` by this key.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verifies(message, signature)
    }

    /// Takes a shared secret.
    pub(crate) fn from_secret(
        backend: Backend,
        algorithm: Algorithm,
        bytes: &[u8],
    ) -> Result<Self, Flaw> {
        if algorithm.family() != Family::Hmac {
            return Err(("a secret is for HMAC only", "use HS256, HS384 or HS512"));
        }
        let key = secret(backend.provider(), algorithm, bytes)?;
        Ok(Self { kid: None, algorithm, issuer: None, key })
    }

    /// Reads a public key in PEM.
    pub(crate) fn from_pem(
        backend: Backend,
        algorithm: Algorithm,
        pem: &[u8],
    ) -> Result<Self, Flaw> {
        let by = backend.provider();
        let unreadable =
            |_| ("not a public key for this algorithm in PEM", "start with BEGIN PUBLIC KEY");
        let key = match algorithm.family() {
            Family::Hmac => return Err(("a secret is not public", "use `KeySet::secret`")),
            Family::Rsa => {
                let key = DecodingKey::from_rsa_pem(pem).map_err(unreadable)?;
                let der = key.try_get_as_bytes().map_err(unreadable)?;
                let (modulus, exponent) =
                    by.rsa_components(der).ok_or(("not an RSA public key", FIX))?;
                rsa(by, algorithm, &modulus, &exponent)?
            }
            Family::Ec => {
                let key = DecodingKey::from_ec_pem(pem).map_err(unreadable)?;
                let point = key.try_get_as_bytes().map_err(unreadable)?;
                if point.len() != 1 + 2 * algorithm.hash_bytes() || point[0] != 4 {
                    return Err(("a point on another curve, or a compressed one", FIX));
                }
                ec(by, algorithm, point)?
            }
            Family::Ed => {
                let key = DecodingKey::from_ed_pem(pem).map_err(unreadable)?;
                ed(by, key.try_get_as_bytes().map_err(unreadable)?)?
            }
        };
        Ok(Self { kid: None, algorithm, issuer: None, key })
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// What only private keys have (RFC 7518 §6.2.2, §6.3.2; RFC 8037 §2).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// True if whoever reads the key can sign by it: but for secrets, which are told by their type.
pub(super) fn is_private(jwk: &Members<'_>) -> bool {
    PRIVATE.iter().any(|name| jwk.contains(name))
}

/// The algorithm that the key says it verifies, whether it is sound or not.
pub(crate) fn meant_for(jwk: &Members<'_>) -> Result<Algorithm, Flaw> {
    may_verify(jwk)?;
    algorithm(jwk)
}

const FIX: &str = "have the issuer publish it as RFC 7518 says";

/// `use` and `key_ops` must not say otherwise.
fn may_verify(jwk: &Members<'_>) -> Result<(), Flaw> {
    if jwk.get("use").is_some_and(|use_for| use_for.as_str() != Some("sig")) {
        return Err(("not for signatures by its `use`", "leave it out"));
    }
    let verifies = jwk.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"))
    });
    if verifies { Ok(()) } else { Err(("cannot verify by its `key_ops`", "leave it out")) }
}

/// The algorithm that the key is for, which `kty` and `crv` must agree with.
fn algorithm(jwk: &Members<'_>) -> Result<Algorithm, Flaw> {
    const OTHER: Flaw = ("of a type or curve that is not supported", "leave it out");
    let (family, by_curve) = match (jwk.text("kty"), jwk.text("crv")) {
        (Some("oct"), None) => (Family::Hmac, None),
        (Some("RSA"), None) => (Family::Rsa, None),
        (Some("EC"), Some("P-256")) => (Family::Ec, Some(Algorithm::Es256)),
        (Some("EC"), Some("P-384")) => (Family::Ec, Some(Algorithm::Es384)),
        (Some("OKP"), Some("Ed25519")) => (Family::Ed, Some(Algorithm::EdDsa)),
        _ => return Err(OTHER),
    };
    let algorithm = match (jwk.get("alg"), by_curve) {
        (None, Some(algorithm)) => algorithm,
        (None, None) if family == Family::Rsa => Algorithm::Rs256,
        (None, None) => return Err(("a secret without an `alg`", "add one, as \"HS256\"")),
        (Some(name), _) => name
            .as_str()
            .and_then(Algorithm::named)
            .ok_or(("its `alg` is unknown or no signature", "leave it out"))?,
    };
    if algorithm.family() != family || by_curve.is_some_and(|curve| curve != algorithm) {
        return Err(("its `alg` is for another type of key or curve", FIX));
    }
    Ok(algorithm)
}

fn bytes(jwk: &Members<'_>, name: &str) -> Result<Vec<u8>, Flaw> {
    jwk.text(name)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or(("a part of it is missing or not base64url", FIX))
}

fn secret(by: &dyn Provider, algorithm: Algorithm, bytes: &[u8]) -> Result<Key, Flaw> {
    if bytes.len() < algorithm.hash_bytes() {
        return Err(("a secret shorter than its hash", "draw 32, 48 or 64 random bytes"));
    }
    by.secret(algorithm, bytes).ok_or(("a secret is for HMAC only", FIX))
}

fn rsa(
    by: &dyn Provider,
    algorithm: Algorithm,
    modulus: &[u8],
    exponent: &[u8],
) -> Result<Key, Flaw> {
    let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
    let bits = match modulus {
        [first, rest @ ..] => rest.len() * 8 + 8 - first.leading_zeros() as usize,
        [] => 0,
    };
    if bits < 2048 {
        return Err(("an RSA modulus of less than 2048 bits", "use 2048 bits or more"));
    }
    if bits > by.max_rsa_bits() {
        let fix = "use at most 4096 bits, or 8192 with the backend AWS-LC";
        return Err(("an RSA modulus of more bits than its backend takes", fix));
    }
    let odd = exponent.last().is_some_and(|last| last % 2 == 1);
    if !odd || exponent == [1] || exponent.len() > 4 {
        return Err(("an RSA exponent that is even, 1 or too large", "use 65537"));
    }
    if roca::is_weak(modulus) {
        return Err(("an RSA key made by a broken generator (ROCA)", "make another"));
    }
    by.rsa(algorithm, modulus, exponent).ok_or(("not an RSA key", FIX))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

fn ec(by: &dyn Provider, algorithm: Algorithm, point: &[u8]) -> Result<Key, Flaw> {
    by.point(algorithm, point).ok_or(("a point that is not on its curve", FIX))
}

fn ed(by: &dyn Provider, point: &[u8]) -> Result<Key, Flaw> {
    if point.len() != 32 {
        return Err(("an Ed25519 key that is not 32 bytes long", FIX));
    }
    if small_order::is_one(point) {
        return Err(("an Ed25519 key of small order, which anyone can sign for", "make another"));
    }
    ec(by, Algorithm::EdDsa, point)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const ALL: &[Backend] = &[
        #[cfg(feature = "aws-lc")]
        Backend::AwsLc,
        #[cfg(feature = "rust-crypto")]
        Backend::RustCrypto,
    ];

    #[test]
    fn rfc7518_6_3_1_1_a_modulus_that_its_backend_cannot_use_is_no_key() {
        let jwk = |bits: usize| {
            let mut modulus = vec![0xa5; bits / 8];
            modulus[0] = 0xff;
            let modulus = URL_SAFE_NO_PAD.encode(modulus);
            format!(r#"{{"kty":"RSA","n":"{modulus}","e":"AQAB"}}"#)
        };
        for &backend in ALL {
            let most = backend.provider().max_rsa_bits();
            for (bits, expected) in [(2048, true), (most, true), (most + 8, false)] {
                let jwk = jwk(bits);
                let read = VerifyKey::from_jwk(backend, &serde_json::from_str(&jwk).unwrap());
                assert_eq!(read.is_ok(), expected, "{backend:?} {bits}");
            }
        }
    }

    /// Wycheproof's Ed25519 signatures, whose messages are no tokens (C2SP/wycheproof dac1dd47).
    #[test]
    fn ed25519_signatures_are_judged_as_labelled() {
        let suite: Value =
            serde_json::from_str(include_str!("../../tests/data/ed25519_test.json")).unwrap();
        let unhex = |hex: &Value| -> Vec<u8> {
            let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
            let hex = hex.as_str().unwrap().as_bytes();
            hex.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
        };
        let groups = suite["testGroups"].as_array().unwrap();
        for &backend in ALL {
            let mut cases = 0;
            for group in groups {
                let jwk = group["publicKeyJwk"].to_string();
                let jwk = serde_json::from_str(&jwk).unwrap();
                let key = VerifyKey::from_jwk(backend, &jwk).unwrap();
                for case in group["tests"].as_array().unwrap() {
                    cases += 1;
                    let verified = key.verifies(&unhex(&case["msg"]), &unhex(&case["sig"]));
                    assert_eq!(verified, case["result"] == "valid", "case {}", case["tcId"]);
                }
            }
            assert_eq!(cases, 151);
            println!("bar: wycheproof-ed25519-{backend:?} 151 151 ok");
        }
    }
}
