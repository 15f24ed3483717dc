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
pub(crate) fn verifies(
    algorithm: Algorithm,
    key: &DecodingKey,
    message: &[u8],
    signature: &Vec<u8>,
) -> bool {
    // Boxed verifiers cannot be kept: they are not `Send`.
    (PROVIDER.verifier_factory)(&algorithm.backend(), key)
        .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
}

/// Modulus and exponent of an RSA public key in DER.
pub(crate) fn rsa_components(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    (PROVIDER.key_utils.rsa_pub_components_from_public_key)(der).ok()
}
