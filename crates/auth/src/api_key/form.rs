use std::fmt;

use bartizan_core::ConfigError;

/// The random characters of an identifier (71 bits) and of a secret (256 bits), and those of the
/// checksum.
const ID: usize = 12;
const SECRET: usize = 43;
const CHECKSUM: usize = 6;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new API key, to be shown to its holder once: `prefix_env_id_secret`, the secret followed by a
/// checksum, as `bz_live_4fTz81QnXb0c_…`.
///
/// The prefix lets scanners of leaked secrets recognise it, the identifier is no secret and may be
/// logged, the checksum tells a typing error from a wrong key without asking anyone.
#[derive(Clone)]
pub struct IssuedKey(String);

impl IssuedKey {
    /// Draws a key. `prefix` and `environment` are lower-case letters and digits, at most 16.
    ///
    /// # Errors
    ///
    /// If one of them is not, or the system has no randomness to give.
    pub fn generate(prefix: &str, environment: &str) -> Result<Self, ConfigError> {
        for (field, word) in [("prefix", prefix), ("environment", environment)] {
            if !is_word(word) {
                let fix = "write 1 to 16 lower-case letters and digits";
                return Err(ConfigError::new(field, "not a word", fix));
            }
        }
        let mut text = format!("{prefix}_{environment}_");
        draw(&mut text, ID)?;
        Self::of(text)
    }

    /// Draws another key of the same identifier, to take this one's place.
    ///
    /// # Errors
    ///
    /// If the system has no randomness to give.
    pub fn again(&self) -> Result<Self, ConfigError> {
        let named = self.0.rfind('_').map_or("", |end| &self.0[..end]);
        Self::of(named.to_owned())
    }

    fn of(mut text: String) -> Result<Self, ConfigError> {
        text.push('_');
        draw(&mut text, SECRET)?;
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.map(char::from));
        Ok(Self(text))
    }

    /// The key, for its holder.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The part that names it, for tables and logs.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.split('_').nth(2).unwrap_or_default()
    }
}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedKey").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// The identifier of `key`, if that is in the form of one that begins as `prefix_env_`.
pub(super) fn id<'a>(key: &'a [u8], beginning: &str) -> Option<&'a str> {
    let rest = key.strip_prefix(beginning.as_bytes())?;
    let (id, rest) = rest.split_at_checked(ID)?;
    let secret = rest.strip_prefix(b"_")?;
    let is_random = |text: &[u8]| text.iter().all(u8::is_ascii_alphanumeric);
    if secret.len() != SECRET + CHECKSUM || !is_random(id) || !is_random(secret) {
        return None;
    }
    let (checked, sum) = key.split_at(key.len() - CHECKSUM);
    if checksum(checked) != sum {
        return None;
    }
    str::from_utf8(id).ok()
}

fn is_word(word: &str) -> bool {
    (1..=16).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// CRC-32 in base 62, as GitHub's tokens have it.
fn checksum(text: &[u8]) -> [u8; CHECKSUM] {
    let mut rest = crc32fast::hash(text);
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// Draws characters, each as likely as the others.
fn draw(text: &mut String, count: usize) -> Result<(), ConfigError> {
    let end = text.len() + count;
    while text.len() < end {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes).map_err(|_| {
            ConfigError::new("key", "the system has no randomness to give", "see getrandom(2)")
        })?;
        // 248 is the largest multiple of 62 in a byte.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let digits = fair.map(|byte| char::from(DIGITS[usize::from(byte % 62)]));
        text.extend(digits.take(end - text.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_drawn_is_read_and_nothing_else() {
        let key = IssuedKey::generate("bz", "live").unwrap();
        let text = key.reveal();
        assert_eq!(text.len(), 3 + 5 + 13 + 49);
        assert_eq!(id(text.as_bytes(), "bz_live_"), Some(key.id()));
        let again = key.again().unwrap();
        assert!(again.id() == key.id() && again.reveal() != text);
        assert_eq!(id(again.reveal().as_bytes(), "bz_live_"), Some(key.id()));
        assert_ne!(key.reveal(), IssuedKey::generate("bz", "live").unwrap().reveal());
        for beginning in ["bz_test_", "b_live_", "__", "bz_live_x_"] {
            assert_eq!(id(text.as_bytes(), beginning), None);
        }
        // Any one character that is another, is missing or too many.
        for place in 0..text.len() {
            let mut other = text.as_bytes().to_vec();
            other[place] = if other[place] == b'x' { b'y' } else { b'x' };
            assert_eq!(id(&other, "bz_live_"), None, "{place}");
            other.remove(place);
            assert_eq!(id(&other, "bz_live_"), None, "{place}");
        }
        assert_eq!(id(format!("{text}0").as_bytes(), "bz_live_"), None);
        assert!(!format!("{key:?}").contains(&text[22..]));
        for word in ["", "A", "a_b", "a-b", "seventeen-letters", "\u{e9}"] {
            assert!(IssuedKey::generate(word, "live").is_err(), "{word}");
            assert!(IssuedKey::generate("bz", word).is_err(), "{word}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_read_that_was_not_drawn(key in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(id(&key, "bz_live_"), None);
        }
    }
}
