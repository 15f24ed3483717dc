//! RustCrypto is used through jsonwebtoken, by a provider that is named here: the process-wide one
//! panics when another crate of the program turns on another backend.

use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;

use super::{Key, Provider, Verifier};
use crate::Algorithm;

pub(super) struct RustCrypto;

/// A key, which is read for each token: boxed verifiers cannot be kept, since they are not `Send`.
struct Read(jsonwebtoken::Algorithm, DecodingKey);

impl Provider for RustCrypto {
    fn max_rsa_bits(&self) -> usize {
        // `rsa::RsaPublicKey::MAX_SIZE`. It takes longer keys apart, but verifies nothing by them.
        4096
    }

    fn rsa(&self, algorithm: Algorithm, modulus: &[u8], exponent: &[u8]) -> Option<Key> {
        read(algorithm, DecodingKey::from_rsa_raw_components(modulus, exponent))
    }

    fn point(&self, algorithm: Algorithm, point: &[u8]) -> Option<Key> {
        let is_on_curve = match algorithm {
            Algorithm::Es256 => p256::PublicKey::from_sec1_bytes(point).is_ok(),
            Algorithm::Es384 => p384::PublicKey::from_sec1_bytes(point).is_ok(),
            Algorithm::EdDsa => ed25519_dalek::VerifyingKey::try_from(point).is_ok(),
            _ => false,
        };
        if !is_on_curve {
            return None;
        }
        let key = match algorithm {
            Algorithm::EdDsa => DecodingKey::from_ed_der(point),
            _ => DecodingKey::from_ec_der(point),
        };
        read(algorithm, key)
    }

    fn secret(&self, algorithm: Algorithm, secret: &[u8]) -> Option<Key> {
        read(algorithm, DecodingKey::from_secret(secret))
    }

    fn rsa_components(&self, der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(der).ok()
    }
}

fn read(algorithm: Algorithm, key: DecodingKey) -> Option<Key> {
    let algorithm = algorithm.as_str().parse().ok()?;
    Some(Key::new(Read(algorithm, key)))
}

impl Verifier for Read {
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Self(algorithm, key) = self;
        (DEFAULT_PROVIDER.verifier_factory)(algorithm, key)
            .is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
    }
}
