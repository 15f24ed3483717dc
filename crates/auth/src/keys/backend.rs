//! Which cryptography runs.
//!
//! AWS-LC is used directly, since jsonwebtoken's verifiers read their key anew for each token, which
//! costs a fifth of RS256. RustCrypto is used through jsonwebtoken, by a provider that is named here:
//! the process-wide one panics when another crate of the program turns on another backend.

use jsonwebtoken::crypto::CryptoProvider;

#[cfg(feature = "aws-lc")]
pub(super) use self::aws_lc::Key;
#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc")))]
pub(super) use self::rust_crypto::Key;

#[cfg(feature = "aws-lc")]
static PROVIDER: &CryptoProvider = &jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc")))]
static PROVIDER: &CryptoProvider = &jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;

/// Modulus and exponent of an RSA public key in DER.
pub(super) fn rsa_components(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    (PROVIDER.key_utils.rsa_pub_components_from_public_key)(der).ok()
}

#[cfg(feature = "aws-lc")]
mod aws_lc {
    use std::sync::Arc;

    use aws_lc_rs::hmac;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
        RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
        VerificationAlgorithm,
    };

    use crate::Algorithm;

    /// A key that was read once.
    #[derive(Clone)]
    pub(in crate::keys) enum Key {
        Public(Arc<ParsedPublicKey>),
        Secret(Arc<hmac::Key>),
    }

    impl Key {
        pub(in crate::keys) fn rsa(
            algorithm: Algorithm,
            modulus: &[u8],
            exponent: &[u8],
        ) -> Option<Self> {
            Self::public(algorithm, &super::rsa_der(modulus, exponent))
        }

        /// By a point of its curve; none if it is not on it.
        pub(in crate::keys) fn point(algorithm: Algorithm, point: &[u8]) -> Option<Self> {
            Self::public(algorithm, point)
        }

        pub(in crate::keys) fn secret(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
            let hash = match algorithm {
                Algorithm::Hs256 => hmac::HMAC_SHA256,
                Algorithm::Hs384 => hmac::HMAC_SHA384,
                Algorithm::Hs512 => hmac::HMAC_SHA512,
                _ => return None,
            };
            Some(Self::Secret(Arc::new(hmac::Key::new(hash, secret))))
        }

        fn public(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
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
            ParsedPublicKey::new(algorithm, key).ok().map(|key| Self::Public(Arc::new(key)))
        }

        /// True if `signature` is one of `message`.
        pub(in crate::keys) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
            match self {
                Self::Public(key) => key.verify_sig(message, signature).is_ok(),
                Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            }
        }
    }
}

#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc")))]
mod rust_crypto {
    use jsonwebtoken::DecodingKey;

    use crate::Algorithm;

    /// A key, which is read for each token.
    #[derive(Clone)]
    pub(in crate::keys) struct Key(Algorithm, DecodingKey);

    impl Key {
        pub(in crate::keys) fn rsa(
            algorithm: Algorithm,
            modulus: &[u8],
            exponent: &[u8],
        ) -> Option<Self> {
            Some(Self(algorithm, DecodingKey::from_rsa_raw_components(modulus, exponent)))
        }

        /// By a point of its curve; none if it is not on it.
        pub(in crate::keys) fn point(algorithm: Algorithm, point: &[u8]) -> Option<Self> {
            let is_on_curve = match algorithm {
                Algorithm::Es256 => p256::PublicKey::from_sec1_bytes(point).is_ok(),
                Algorithm::Es384 => p384::PublicKey::from_sec1_bytes(point).is_ok(),
                Algorithm::EdDsa => ed25519_dalek::VerifyingKey::try_from(point).is_ok(),
                _ => false,
            };
            let key = if algorithm == Algorithm::EdDsa {
                DecodingKey::from_ed_der(point)
            } else {
                DecodingKey::from_ec_der(point)
            };
            is_on_curve.then_some(Self(algorithm, key))
        }

        pub(in crate::keys) fn secret(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
            Some(Self(algorithm, DecodingKey::from_secret(secret)))
        }

        /// True if `signature` is one of `message`.
        pub(in crate::keys) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
            let Self(algorithm, key) = self;
            // Boxed verifiers cannot be kept: they are not `Send`.
            (super::PROVIDER.verifier_factory)(&algorithm.backend(), key)
                .is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
        }
    }
}

/// An `RSAPublicKey` (RFC 8017, appendix A.1.1) of a modulus and an exponent without leading zeros.
#[cfg(feature = "aws-lc")]
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
