//! Which cryptography runs. It is named here, so that jsonwebtoken's process-wide provider, which
//! panics when another crate of the program turns on another backend, is never asked.

use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::CryptoProvider;

use crate::Algorithm;

#[cfg(feature = "aws-lc")]
static PROVIDER: &CryptoProvider = &jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc")))]
static PROVIDER: &CryptoProvider = &jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;

/// True if `signature` is one of `message` by `key`.
pub(super) fn verifies(
    algorithm: Algorithm,
    key: &DecodingKey,
    message: &[u8],
    signature: &Vec<u8>,
) -> bool {
    // Boxed verifiers cannot be kept: they are not `Send`.
    (PROVIDER.verifier_factory)(&algorithm.backend(), key)
        .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
}

/// True if `point` is one of the algorithm's curve: uncompressed for ECDSA.
#[cfg(feature = "aws-lc")]
pub(super) fn is_on_curve(algorithm: Algorithm, point: &[u8]) -> bool {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    };

    match algorithm {
        Algorithm::Es256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok(),
        Algorithm::Es384 => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).is_ok(),
        Algorithm::EdDsa => ParsedPublicKey::new(&ED25519, point).is_ok(),
        _ => false,
    }
}

#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc")))]
pub(super) fn is_on_curve(algorithm: Algorithm, point: &[u8]) -> bool {
    match algorithm {
        Algorithm::Es256 => p256::PublicKey::from_sec1_bytes(point).is_ok(),
        Algorithm::Es384 => p384::PublicKey::from_sec1_bytes(point).is_ok(),
        Algorithm::EdDsa => ed25519_dalek::VerifyingKey::try_from(point).is_ok(),
        _ => false,
    }
}

/// Modulus and exponent of an RSA public key in DER.
pub(super) fn rsa_components(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    (PROVIDER.key_utils.rsa_pub_components_from_public_key)(der).ok()
}
