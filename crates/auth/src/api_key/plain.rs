use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use bartizan_core::{ConfigError, Live, Principal};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::digest::unhex;
use crate::{Fault, Scheme, Verdict, bearer};

/// The shortest secret that is taken: 24 characters of base64 hold 144 bits.
const MIN_BYTES: usize = 24;
/// The longest one that is looked at.
const MAX_BYTES: usize = 512;

/// API keys in whatever form they have, in memory, as SHA-256 hashes only. Clones share them. For
/// keys of a form of their own, that are rotated and kept in stores, there is
/// [`IssuedKeys`](crate::IssuedKeys).
///
/// One fast hash is enough because keys are random: it is of no use for passwords.
#[derive(Clone)]
#[must_use]
pub struct ApiKeys {
    keys: Live<Table>,
    field: HeaderName,
    bearer: bool,
}

/// By the first eight bytes of the hash; the rest is compared in constant time.
type Table = HashMap<[u8; 8], Vec<Entry>>;

#[derive(Clone)]
struct Entry {
    hash: [u8; 32],
    principal: Principal,
}

impl ApiKeys {
    /// Starts with no keys, and looks for them in `x-api-key`.
    pub fn new() -> Self {
        Self { keys: Live::default(), field: HeaderName::from_static("x-api-key"), bearer: false }
    }

    /// Looks for keys in this field.
    pub fn header(mut self, field: HeaderName) -> Self {
        self.field = field;
        self.bearer = false;
        self
    }

    /// Looks for keys in `Authorization: Bearer`. Tokens of other schemes may stand there too.
    pub fn bearer(mut self) -> Self {
        self.field = AUTHORIZATION;
        self.bearer = true;
        self
    }

    /// Adds a key, of at least 24 random characters, or gives it to another principal. Copies the
    /// table: for changes now and then.
    ///
    /// # Errors
    ///
    /// If the key is shorter than 24 or longer than 512 bytes.
    pub fn insert(&self, key: &str, principal: Principal) -> Result<(), ConfigError> {
        if !(MIN_BYTES..=MAX_BYTES).contains(&key.len()) {
            return Err(ConfigError::new(
                "key",
                "shorter than 24 or longer than 512 characters",
                "draw 32 random bytes, and write them in base64url",
            ));
        }
        self.put([(hash(key.as_bytes()), principal)]);
        Ok(())
    }

    /// Adds keys by the SHA-256 of each in hexadecimal, as they are best stored.
    ///
    /// # Errors
    ///
    /// If one is not 64 hexadecimal digits; then none is added.
    pub fn insert_hashed<'a>(
        &self,
        keys: impl IntoIterator<Item = (&'a str, Principal)>,
    ) -> Result<(), ConfigError> {
        let keys: Vec<_> = keys
            .into_iter()
            .map(|(hex, principal)| Some((unhex(hex)?, principal)))
            .collect::<Option<_>>()
            .ok_or_else(|| {
                ConfigError::new("key", "not a SHA-256 hash", "write it as 64 hexadecimal digits")
            })?;
        self.put(keys);
        Ok(())
    }

    /// Takes a key back; false if it was not there.
    pub fn revoke(&self, key: &str) -> bool {
        let hash = hash(key.as_bytes());
        let mut found = false;
        self.keys.update(|table| {
            let mut table = table.clone();
            found = take(&mut table, &hash);
            table
        });
        found
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.load().values().map(Vec::len).sum()
    }

    /// True if there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.load().is_empty()
    }

    fn put(&self, keys: impl IntoIterator<Item = ([u8; 32], Principal)>) {
        let keys: Vec<_> = keys.into_iter().collect();
        self.keys.update(|table| {
            let mut table = table.clone();
            for (hash, principal) in &keys {
                take(&mut table, hash);
                let entry = Entry { hash: *hash, principal: principal.clone() };
                table.entry(prefix(hash)).or_default().push(entry);
            }
            table
        });
    }
}

impl Default for ApiKeys {
    fn default() -> Self {
        Self::new()
    }
}

impl Scheme for ApiKeys {
    fn field(&self) -> &HeaderName {
        &self.field
    }

    fn credential<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]> {
        if self.bearer { bearer::token(value.as_bytes()) } else { Some(value.as_bytes()) }
    }

    fn verify(&self, credential: &[u8], _: Duration) -> Verdict {
        if credential.len() > MAX_BYTES {
            return Verdict::Now(Err(Fault::TooLarge));
        }
        let hash = hash(credential);
        let found = self
            .keys
            .load()
            .get(&prefix(&hash))
            .and_then(|entries| entries.iter().find(|entry| entry.hash.ct_eq(&hash).into()))
            .map(|entry| entry.principal.clone());
        Verdict::Now(found.ok_or(Fault::UnknownKey))
    }

    fn name(&self) -> &'static str {
        if self.bearer { "Bearer" } else { "ApiKey" }
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("len", &self.len())
            .field("field", &self.field)
            .field("bearer", &self.bearer)
            .finish_non_exhaustive()
    }
}

fn take(table: &mut Table, hash: &[u8; 32]) -> bool {
    let Some(entries) = table.get_mut(&prefix(hash)) else { return false };
    let before = entries.len();
    entries.retain(|entry| entry.hash != *hash);
    let found = entries.len() < before;
    if entries.is_empty() {
        table.remove(&prefix(hash));
    }
    found
}

fn hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

fn prefix(hash: &[u8; 32]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "bz_live_0123456789abcdefghijkl";

    fn verify(keys: &ApiKeys, key: &str) -> Result<String, Fault> {
        match keys.verify(key.as_bytes(), Duration::ZERO) {
            Verdict::Now(found) => found.map(|principal| principal.subject().to_owned()),
            Verdict::Later(_) => panic!("it is all in memory"),
        }
    }

    #[test]
    fn keys_come_and_go_while_clones_look_on() {
        let keys = ApiKeys::new();
        let twin = keys.clone();
        assert!(keys.insert("short", Principal::new("a")).is_err());
        keys.insert(KEY, Principal::new("a")).unwrap();
        assert_eq!(verify(&twin, KEY).as_deref(), Ok("a"));
        keys.insert(KEY, Principal::new("b")).unwrap();
        assert_eq!((verify(&twin, KEY).as_deref(), twin.len()), (Ok("b"), 1));
        assert_eq!(verify(&twin, "bz_live_0123456789abcdefghijkm"), Err(Fault::UnknownKey));
        assert_eq!(verify(&twin, ""), Err(Fault::UnknownKey));
        assert_eq!(verify(&twin, &"a".repeat(513)), Err(Fault::TooLarge));
        assert!(twin.revoke(KEY) && !twin.revoke(KEY));
        assert_eq!(verify(&keys, KEY), Err(Fault::UnknownKey));
        assert!(keys.is_empty());
    }

    #[test]
    fn hashes_are_taken_and_neither_is_shown() {
        let keys = ApiKeys::new();
        let hex: String = hash(KEY.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(
            keys.insert_hashed([(&*hex, Principal::new("a")), ("ff", Principal::new("b"))])
                .is_err()
        );
        assert!(keys.is_empty());
        keys.insert_hashed([(&*hex, Principal::new("a"))]).unwrap();
        assert_eq!(verify(&keys, KEY).as_deref(), Ok("a"));
        assert!(!format!("{keys:?}").contains(&hex[..8]));
    }
}
