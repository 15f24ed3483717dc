use bartizan_core::ConfigError;
use serde::Deserialize;

use super::jwk::{self, Flaw, VerifyKey};
use crate::jwt::jws::Compact;
use crate::members::Listed;
use crate::{Algorithm, Backend, Fault};

/// The most keys that a set may hold, and the most bytes of its document.
const MAX_KEYS: usize = 128;
const MAX_BYTES: usize = 256 * 1024;
/// How many keys are tried for a token that names none: two while one takes the place of the other,
/// and some to spare, but each costs as much as a token.
const MAX_TRIED: usize = 4;

/// The keys of one issuer, each with the one algorithm that it is for.
///
/// Key identifiers are unique, and secrets and public keys never stand side by side.
#[derive(Clone, Debug)]
#[must_use]
pub struct KeySet {
    keys: Vec<VerifyKey>,
    skipped: Vec<ConfigError>,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<Listed<'a>>,
}

impl KeySet {
    /// Reads a JWKS document of public keys (RFC 7517 §5).
    ///
    /// Keys that cannot be used (unknown types, for encryption, too weak, private ones that anybody
    /// can read, what is no key at all) are left out and told by [`KeySet::skipped`], so that a new
    /// kind of key does not take the others down.
    ///
    /// # Errors
    ///
    /// If the document is none, holds secrets beside public keys or an identifier twice, or no key
    /// of it can be used.
    pub fn from_jwks(json: &str) -> Result<Self, ConfigError> {
        Self::from_jwks_by(Backend::default(), json)
    }

    /// As [`KeySet::from_jwks`], by the cryptography of `backend`.
    ///
    /// # Errors
    ///
    /// As [`KeySet::from_jwks`].
    pub fn from_jwks_by(backend: Backend, json: &str) -> Result<Self, ConfigError> {
        let set = Self::read(backend, json, true)?;
        if set.keys.iter().any(|key| key.algorithm.is_for_secrets()) {
            return Err(ConfigError::new(
                "keys",
                "secrets in a document of public keys",
                "take them out, or use `from_secret_jwks` if nobody else can read it",
            ));
        }
        Ok(set)
    }

    /// Reads a JWKS document that may hold secrets (`kty` of `oct`), as from a file of one's own.
    ///
    /// # Errors
    ///
    /// As [`KeySet::from_jwks`].
    pub fn from_secret_jwks(json: &str) -> Result<Self, ConfigError> {
        Self::from_secret_jwks_by(Backend::default(), json)
    }

    /// As [`KeySet::from_secret_jwks`], by the cryptography of `backend`.
    ///
    /// # Errors
    ///
    /// As [`KeySet::from_jwks`].
    pub fn from_secret_jwks_by(backend: Backend, json: &str) -> Result<Self, ConfigError> {
        Self::read(backend, json, false)
    }

    fn read(backend: Backend, json: &str, is_public: bool) -> Result<Self, ConfigError> {
        let error = |problem, fix| Err(ConfigError::new("keys", problem, fix));
        if json.len() > MAX_BYTES {
            return error("a document of more than 256 KiB", "publish fewer keys");
        }
        // What serde says could hold a part of the document.
        let Ok(document) = serde_json::from_str::<Document<'_>>(json) else {
            return error("not a JWKS document", "see RFC 7517, section 5");
        };
        if document.keys.len() > MAX_KEYS {
            return error("more than 128 keys", "publish fewer keys");
        }
        // A key that is left out as unsound still makes its set ambiguous.
        let mut meant = Vec::new();
        for jwk in document.keys.iter().filter_map(|Listed(jwk)| jwk.as_ref()) {
            if let Ok(algorithm) = jwk::meant_for(jwk) {
                meant.push((jwk.text("kid"), algorithm));
            }
        }
        unambiguous(&meant)?;
        let mut set = Self { keys: Vec::new(), skipped: Vec::new() };
        for (index, Listed(jwk)) in document.keys.iter().enumerate() {
            let key = match jwk {
                None => Err(("no object, or one in which a name comes twice", "leave it out")),
                Some(jwk) if is_public && jwk::is_private(jwk) => {
                    let fix = "make another one, and publish its public part";
                    Err(("a private key, which anybody can sign by", fix))
                }
                Some(jwk) => VerifyKey::from_jwk(backend, jwk),
            };
            match key {
                Ok(key) => set.keys.push(key),
                Err(flaw) => set.skipped.push(flawed(format!("keys[{index}]"), flaw)),
            }
        }
        if set.keys.is_empty() {
            return error("no key that can be used", "see that one is for signatures and strong");
        }
        Ok(set)
    }

    /// Takes a shared secret, at least as long as the hash.
    ///
    /// # Errors
    ///
    /// If it is shorter, or the algorithm is not one of HMAC.
    pub fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, ConfigError> {
        Self::secret_by(Backend::default(), algorithm, secret)
    }

    /// As [`KeySet::secret`], by the cryptography of `backend`.
    ///
    /// # Errors
    ///
    /// As [`KeySet::secret`].
    pub fn secret_by(
        backend: Backend,
        algorithm: Algorithm,
        secret: &[u8],
    ) -> Result<Self, ConfigError> {
        VerifyKey::from_secret(backend, algorithm, secret)
            .map(Self::one)
            .map_err(|flaw| flawed("secret".into(), flaw))
    }

    /// Reads a public key in PEM (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    ///
    /// If it is none, of another kind than the algorithm's, or too weak.
    pub fn public_pem(algorithm: Algorithm, pem: &str) -> Result<Self, ConfigError> {
        Self::public_pem_by(Backend::default(), algorithm, pem)
    }

    /// As [`KeySet::public_pem`], by the cryptography of `backend`.
    ///
    /// # Errors
    ///
    /// As [`KeySet::public_pem`].
    pub fn public_pem_by(
        backend: Backend,
        algorithm: Algorithm,
        pem: &str,
    ) -> Result<Self, ConfigError> {
        VerifyKey::from_pem(backend, algorithm, pem.as_bytes())
            .map(Self::one)
            .map_err(|flaw| flawed("pem".into(), flaw))
    }

    fn one(key: VerifyKey) -> Self {
        Self { keys: vec![key], skipped: Vec::new() }
    }

    /// Gives the keys that have none this identifier.
    ///
    /// # Errors
    ///
    /// If more than one would get it, or another has it already.
    pub fn named(mut self, kid: &str) -> Result<Self, ConfigError> {
        for key in &mut self.keys {
            key.kid.get_or_insert_with(|| kid.to_owned());
        }
        self.unambiguous()
    }

    /// Adds the keys of `other`.
    ///
    /// # Errors
    ///
    /// If an identifier would come twice, or secrets beside public keys.
    pub fn and(mut self, other: Self) -> Result<Self, ConfigError> {
        self.keys.extend(other.keys);
        self.skipped.extend(other.skipped);
        self.unambiguous()
    }

    /// The number of keys that can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never: a set has a key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys of the document that were left out, and why.
    #[must_use]
    pub fn skipped(&self) -> &[ConfigError] {
        &self.skipped
    }

    /// Verifies a signed token in compact form (RFC 7515) and returns its payload, whatever that
    /// is. Looks at no claim: for requests use [`Jwt`](crate::Jwt).
    ///
    /// # Errors
    ///
    /// Says which check failed.
    pub fn verify(&self, token: &str) -> Result<Vec<u8>, Fault> {
        let token = Compact::read(token.as_bytes())?;
        token.verify(&token.header()?, self).map_err(|unproven| unproven.fault)?;
        token.payload()
    }

    /// The key of this identifier.
    pub(crate) fn by_name(&self, kid: &str) -> Option<&VerifyKey> {
        self.keys.iter().find(|key| key.kid.as_deref() == Some(kid))
    }

    /// The keys that a header may mean which names none of them: those of its algorithm, unless
    /// both have names that differ. The algorithm only tells keys apart; it is compared with the
    /// key's own afterwards.
    pub(crate) fn unnamed(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &VerifyKey> {
        let is_alone = self.keys.len() == 1;
        let fits = move |key: &&VerifyKey| match (kid, &key.kid) {
            (Some(_), Some(_)) => false,
            (None, _) if is_alone => true,
            _ => key.algorithm == algorithm,
        };
        self.keys.iter().filter(fits).take(MAX_TRIED)
    }

    fn unambiguous(self) -> Result<Self, ConfigError> {
        let keys: Vec<_> =
            self.keys.iter().map(|key| (key.kid.as_deref(), key.algorithm)).collect();
        unambiguous(&keys).map(|()| self)
    }
}

/// Identifiers are unique, and secrets and public keys do not stand side by side.
fn unambiguous(keys: &[(Option<&str>, Algorithm)]) -> Result<(), ConfigError> {
    let error = |problem, fix| Err(ConfigError::new("keys", problem, fix));
    let secrets = keys.iter().filter(|(_, algorithm)| algorithm.is_for_secrets()).count();
    if secrets != 0 && secrets != keys.len() {
        return error("secrets beside public keys", "keep them in sets of their own");
    }
    for (index, (kid, _)) in keys.iter().enumerate() {
        if kid.is_some() && keys[..index].iter().any(|(other, _)| other == kid) {
            return error("a key identifier comes twice", "give each key its own `kid`");
        }
    }
    Ok(())
}

fn flawed(field: String, (problem, fix): Flaw) -> ConfigError {
    ConfigError::new(field, problem, fix)
}
