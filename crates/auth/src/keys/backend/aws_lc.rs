//! AWS-LC is used directly, since jsonwebtoken's verifiers read their key anew for each token, which
//! costs a fifth of RS256.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    VerificationAlgorithm,
};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;

use super::{Key, Provider, Verifier};
use crate::Algorithm;

pub(super) struct AwsLc;

impl Provider for AwsLc {
    fn max_rsa_bits(&self) -> usize {
        8192
    }

    fn rsa(&self, algorithm: Algorithm, modulus: &[u8], exponent: &[u8]) -> Option<Key> {
        public(algorithm, &rsa_der(modulus, exponent))
    }

    fn point(&self, algorithm: Algorithm, point: &[u8]) -> Option<Key> {
        public(algorithm, point)
    }

    fn secret(&self, algorithm: Algorithm, secret: &[u8]) -> Option<Key> {
        let hash = match algorithm {
            Algorithm::Hs256 => hmac::HMAC_SHA256,
            Algorithm::Hs384 => hmac::HMAC_SHA384,
            Algorithm::Hs512 => hmac::HMAC_SHA512,
            _ => return None,
        };
        Some(Key::new(hmac::Key::new(hash, secret)))
    }

    fn rsa_components(&self, der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(der).ok()
    }
}

fn public(algorithm: Algorithm, key: &[u8]) -> Option<Key> {
    let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
        Algorithm::EdDsa => &ED25519,
        Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
        Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &RSA_PSS_2048_8192_SHA512,
        Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return None,
    };
    ParsedPublicKey::new(algorithm, key).ok().map(Key::new)
}

impl Verifier for ParsedPublicKey {
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verify_sig(message, signature).is_ok()
    }
}

impl Verifier for hmac::Key {
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        hmac::verify(self, message, signature).is_ok()
    }
}

/// An `RSAPublicKey` (RFC 8017, appendix A.1.1) of a modulus and an exponent without leading zeros.
fn rsa_der(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let element = |tag: u8, content: &[u8]| {
        let length = content.len();
        let mut out = vec![tag];
        match u8::try_from(length) {
            Ok(short @ ..=0x7f) => out.push(short),
            Ok(byte) => out.extend([0x81, byte]),
            // A modulus has 1024 bytes at most.
            Err(_) => out.extend([0x82, (length >> 8) as u8, length as u8]),
        }
        out.extend(content);
        out
    };
    let integer = |number: &[u8]| match number.first() {
        Some(..=0x7f) => element(2, number),
        _ => element(2, &[&[0], number].concat()),
    };
    element(0x30, &[integer(modulus), integer(exponent)].concat())
}
