use bartizan_core::ConfigError;

/// How a token is signed (RFC 7518 §3.1, RFC 8037).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
}

/// The kind of key that an algorithm takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    Ec,
    Ed,
    Hmac,
    Rsa,
}

impl Algorithm {
    /// The algorithm's registered name, as in a token's header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }

    /// Reads a registered name, in its one spelling. RFC 9864's `Ed25519` is the same algorithm
    /// as `EdDSA` here, since that is the only curve.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "EdDSA" | "Ed25519" => Self::EdDsa,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            _ => return None,
        })
    }

    pub(crate) const fn family(self) -> Family {
        match self {
            Self::EdDsa => Family::Ed,
            Self::Es256 | Self::Es384 => Family::Ec,
            Self::Hs256 | Self::Hs384 | Self::Hs512 => Family::Hmac,
            Self::Ps256 | Self::Ps384 | Self::Ps512 | Self::Rs256 | Self::Rs384 | Self::Rs512 => {
                Family::Rsa
            }
        }
    }

    pub(crate) fn is_for_secrets(self) -> bool {
        self.family() == Family::Hmac
    }

    /// The bytes of the hash, which a secret must have at least (RFC 7518 §3.2), and of a
    /// coordinate of the curve that goes with it.
    pub(crate) const fn hash_bytes(self) -> usize {
        match self {
            Self::Es256 | Self::EdDsa | Self::Hs256 | Self::Ps256 | Self::Rs256 => 32,
            Self::Es384 | Self::Hs384 | Self::Ps384 | Self::Rs384 => 48,
            Self::Hs512 | Self::Ps512 | Self::Rs512 => 64,
        }
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Algorithm {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        Self::named(name).ok_or_else(|| {
            ConfigError::new("algorithm", "unknown or not supported", "write for example \"RS256\"")
        })
    }
}
