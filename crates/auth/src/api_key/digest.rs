use std::fmt;

use bartizan_core::ConfigError;
use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// What is kept of a key: its SHA-256, or its HMAC-SHA-256 by a pepper that is kept elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Digest {
    /// The pepper's name; none for plain SHA-256.
    pepper: Option<String>,
    sum: [u8; 32],
}

impl Digest {
    /// Reads `sha256:<hex>` or `hmac:<pepper>:<hex>`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (pepper, hex) = match kind {
            "sha256" => (None, rest),
            "hmac" => {
                let (name, hex) = rest.split_once(':')?;
                (Some(name.to_owned()), hex)
            }
            _ => return None,
        };
        Some(Self { pepper, sum: unhex(hex)? })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pepper {
            None => f.write_str("sha256:")?,
            Some(pepper) => write!(f, "hmac:{pepper}:")?,
        }
        self.sum.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Secrets that keys are hashed with, so that whoever reads the store cannot test a key. Each has a
/// name, by which records say which they were made with; the last one that was added is used for
/// new ones.
#[derive(Clone, Default)]
#[must_use]
pub struct Peppers(Vec<(String, Vec<u8>)>);

impl Peppers {
    /// Starts with none: keys are then kept as their SHA-256, which is enough for keys that were
    /// drawn with 256 bits.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds one, of at least 32 bytes.
    ///
    /// # Errors
    ///
    /// If it is shorter, or its name is empty, taken or holds a colon.
    pub fn with(mut self, name: &str, secret: &[u8]) -> Result<Self, ConfigError> {
        let error = |problem, fix| Err(ConfigError::new("pepper", problem, fix));
        if secret.len() < 32 {
            return error("shorter than 32 bytes", "draw 32 random bytes");
        }
        if name.is_empty() || name.contains(':') || self.0.iter().any(|(known, _)| known == name) {
            return error("a name that is empty, taken or holds a colon", "name it by its date");
        }
        self.0.push((name.to_owned(), secret.to_vec()));
        Ok(self)
    }

    /// What is to be kept of `key`.
    pub(super) fn digest(&self, key: &[u8]) -> Digest {
        match self.0.last() {
            Some((name, secret)) => Digest { pepper: Some(name.clone()), sum: mac(secret, key) },
            None => Digest { pepper: None, sum: Sha256::digest(key).into() },
        }
    }

    /// True if one of these two is of `key`. Takes as long if there is none, or one: whoever guesses
    /// learns nothing from a clock.
    pub(super) fn is_one(&self, kept: [Option<&Digest>; 2], key: &[u8]) -> bool {
        let nobody = Digest { pepper: self.0.last().map(|(name, _)| name.clone()), sum: [0; 32] };
        let mut found = subtle::Choice::from(0);
        for digest in kept {
            let there = subtle::Choice::from(u8::from(digest.is_some()));
            found |= self.fits(digest.unwrap_or(&nobody), key) & there;
        }
        found.into()
    }

    fn fits(&self, digest: &Digest, key: &[u8]) -> subtle::Choice {
        let sum = match &digest.pepper {
            None => Sha256::digest(key).into(),
            Some(name) => match self.0.iter().find(|(known, _)| known == name) {
                Some((_, secret)) => mac(secret, key),
                None => return subtle::Choice::from(0),
            },
        };
        digest.sum.ct_eq(&sum)
    }
}

fn mac(secret: &[u8], key: &[u8]) -> [u8; 32] {
    // HMAC takes secrets of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return [0; 32] };
    mac.update(key);
    mac.finalize().into_bytes().into()
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Thirty-two bytes in hexadecimal.
pub(super) fn unhex(hex: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; 32];
    if hex.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_written_and_read() {
        let peppers = Peppers::none().with("2026", &[7; 32]).unwrap();
        for digest in [Peppers::none().digest(b"key"), peppers.digest(b"key")] {
            assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        }
        let hex = "0".repeat(64);
        for text in ["", "sha256:", "md5:00", &format!("hmac:{hex}"), &format!("sha256:{hex}0")] {
            assert_eq!(Digest::parse(text), None, "{text}");
        }
        assert_eq!(unhex(&"\u{e9}".repeat(32)), None);
    }

    #[test]
    fn peppers_are_changed_without_new_keys() {
        let old = Peppers::none().with("a", &[1; 32]).unwrap();
        let kept = old.digest(b"key");
        let both = old.clone().with("b", &[2; 32]).unwrap();
        assert!(both.is_one([Some(&kept), None], b"key"));
        assert!(both.is_one([None, Some(&both.digest(b"key"))], b"key"));
        assert!(!both.is_one([Some(&kept), Some(&kept)], b"kex"));
        assert!(!both.is_one([None, None], b"key"));
        assert!(!Peppers::none().is_one([Some(&kept), None], b"key"));
        assert!(
            both.clone().with("b", &[2; 32]).is_err() && both.clone().with("c", &[2; 31]).is_err()
        );
        assert_eq!(format!("{both:?}"), r#"["a", "b"]"#);
    }
}
