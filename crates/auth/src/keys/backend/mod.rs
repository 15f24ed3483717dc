//! Which cryptography runs: named by whoever reads keys, never by the process.

use std::fmt;
use std::sync::Arc;

use crate::Algorithm;

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(feature = "rust-crypto")]
mod rust_crypto;

/// The cryptography that tokens are verified by. Both may be in one build, and each set of keys has
/// its own.
///
/// By default AWS-LC if it is there (feature `aws-lc`), as it is faster.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Backend {
    /// AWS-LC, by way of aws-lc-rs.
    #[cfg(feature = "aws-lc")]
    AwsLc,
    /// RustCrypto, by way of jsonwebtoken: no C compiler, slower with RSA and ECDSA.
    #[cfg(feature = "rust-crypto")]
    RustCrypto,
}

impl Default for Backend {
    fn default() -> Self {
        #[cfg(feature = "aws-lc")]
        let preferred = Self::AwsLc;
        #[cfg(not(feature = "aws-lc"))]
        let preferred = Self::RustCrypto;
        preferred
    }
}

impl Backend {
    pub(super) fn provider(self) -> &'static dyn Provider {
        match self {
            #[cfg(feature = "aws-lc")]
            Self::AwsLc => &aws_lc::AwsLc,
            #[cfg(feature = "rust-crypto")]
            Self::RustCrypto => &rust_crypto::RustCrypto,
        }
    }
}

/// A key that was read.
#[derive(Clone)]
pub(super) struct Key(Arc<dyn Verifier>);

impl Key {
    fn new(verifier: impl Verifier + 'static) -> Self {
        Self(Arc::new(verifier))
    }

    /// True if `signature` is one of `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verifies(message, signature)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// What a key does in the terms of its backend.
trait Verifier: Send + Sync {
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool;
}

/// What reads keys; none if they are not of their kind.
pub(super) trait Provider {
    /// The longest RSA modulus that it verifies by.
    fn max_rsa_bits(&self) -> usize;

    /// By modulus and exponent, without leading zeros.
    fn rsa(&self, algorithm: Algorithm, modulus: &[u8], exponent: &[u8]) -> Option<Key>;

    /// By a point of its curve, uncompressed.
    fn point(&self, algorithm: Algorithm, point: &[u8]) -> Option<Key>;

    fn secret(&self, algorithm: Algorithm, secret: &[u8]) -> Option<Key>;

    /// Modulus and exponent of an RSA public key in DER.
    fn rsa_components(&self, der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)>;
}
