//! Who showed which credential, so that it need not be verified again.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use ahash::RandomState;
use bartizan_core::{Counter, Principal};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, Weighter};
use sha2::{Digest, Sha256};

/// What an entry takes beside its texts: the cache's own, the principal and a node of its claims.
const ENTRY_BYTES: usize = 1024;
const WORD_BYTES: usize = 64;
/// The bytes at a credential's end that it is hashed by.
const HASHED: usize = 32;

/// Credentials that were verified, up to so many bytes. Only those: a flood of others leaves no
/// trace.
///
/// An entry is found by the whole credential, compared byte by byte behind a hash with random keys,
/// or by its SHA-256; so that no credential can be made that finds another's.
pub(crate) struct Verified {
    cache: Option<Cache<Whole, Entry, Weigh, RandomState>>,
    bytes: usize,
    digests: bool,
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
}

#[derive(Clone)]
struct Entry {
    principal: Principal,
    /// When it is no longer to be believed, since 1970.
    until: Duration,
    /// What it was verified by.
    generation: u64,
    /// What its claims take.
    bytes: usize,
}

impl Verified {
    pub(crate) fn new(bytes: usize, digests: bool) -> Self {
        let cache = (bytes > 0).then(|| {
            let (items, bytes) = (bytes / (2 * ENTRY_BYTES), bytes as u64);
            Cache::with(items, bytes, Weigh, RandomState::new(), DefaultLifecycle::default())
        });
        let (hits, misses) = (Counter::new(), Counter::new());
        Self { cache, bytes, digests, hits, misses }
    }

    /// As this one, but empty: for other rules.
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.bytes, self.digests)
    }

    /// Who showed `credential`, if it was verified by this generation and is to be believed at
    /// `now`.
    #[inline]
    pub(crate) fn get(
        &self,
        credential: &[u8],
        now: Duration,
        generation: u64,
    ) -> Option<Principal> {
        let cache = self.cache.as_ref()?;
        let found = if self.digests {
            cache.get(&Part(&Sha256::digest(credential)))
        } else {
            cache.get(&Part(credential))
        };
        match found {
            Some(entry) if entry.generation == generation && now < entry.until => {
                self.hits.add(1);
                Some(entry.principal)
            }
            Some(_) => {
                self.forget(credential);
                None
            }
            None => None,
        }
    }

    fn forget(&self, credential: &[u8]) {
        let Some(cache) = &self.cache else { return };
        if self.digests {
            cache.remove(&Part(&Sha256::digest(credential)));
        } else {
            cache.remove(&Part(credential));
        }
    }

    /// Remembers who showed `credential`, whose claims take `bytes` once they are read.
    pub(crate) fn put(
        &self,
        credential: &[u8],
        principal: &Principal,
        bytes: usize,
        until: Duration,
        generation: u64,
    ) {
        self.misses.add(1);
        let Some(cache) = &self.cache else { return };
        let key =
            if self.digests { Sha256::digest(credential)[..].into() } else { credential.into() };
        cache.insert(Whole(key), Entry { principal: principal.clone(), until, generation, bytes });
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn digests(&self) -> bool {
        self.digests
    }

    /// The bytes that it takes, by its own reckoning.
    pub(crate) fn held(&self) -> u64 {
        self.cache.as_ref().map_or(0, Cache::weight)
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("bytes", &self.bytes)
            .field("digests", &self.digests)
            .finish_non_exhaustive()
    }
}

/// A credential that is kept. Compared whole, but hashed by its end only, where the signature of a
/// token is: as good as random in what is in here, and nothing else gets in.
#[derive(Eq, PartialEq)]
struct Whole(Box<[u8]>);

/// One that is looked for.
struct Part<'a>(&'a [u8]);

impl Hash for Whole {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Part(&self.0).hash(state);
    }
}

impl Hash for Part<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0[self.0.len().saturating_sub(HASHED)..]);
    }
}

impl Equivalent<Whole> for Part<'_> {
    fn equivalent(&self, Whole(key): &Whole) -> bool {
        *self.0 == **key
    }
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Whole, Entry> for Weigh {
    fn weight(&self, Whole(key): &Whole, entry: &Entry) -> u64 {
        let principal = &entry.principal;
        let words = principal.scopes().iter().chain(principal.roles());
        let words: usize = words.map(|word| word.len() + WORD_BYTES).sum();
        (ENTRY_BYTES + key.len() + words + entry.bytes) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn entries_die_with_time_and_generation_and_are_told_apart() {
        for digests in [false, true] {
            let verified = Verified::new(1 << 20, digests);
            verified.put(b"a.b.c", &Principal::new("alice"), 0, HOUR, 1);
            let get = |credential: &[u8], now, generation| {
                let found = verified.get(credential, now, generation)?;
                Some(found.subject().to_owned())
            };
            assert_eq!(get(b"a.b.c", Duration::ZERO, 1).as_deref(), Some("alice"));
            assert_eq!(get(b"a.b.d", Duration::ZERO, 1), None);
            assert_eq!(get(b"a.b.", Duration::ZERO, 1), None);
            assert_eq!(get(b"a.b.c", HOUR, 1), None);
            assert_eq!(get(b"a.b.c", Duration::ZERO, 1), None, "it is gone");
            verified.put(b"a.b.c", &Principal::new("alice"), 0, HOUR, 1);
            assert_eq!(get(b"a.b.c", Duration::ZERO, 2), None);
        }
    }

    #[test]
    fn bytes_are_bounded_by_whatever_is_put_in() {
        let verified = Verified::new(1 << 20, false);
        let alice = Principal::new("alice");
        for index in 0..20_000_u32 {
            verified.put(&index.to_be_bytes(), &alice, 500, HOUR, 1);
            assert!(verified.held() <= 1 << 20);
        }
        assert!(verified.held() > 1 << 18);
        let none = Verified::new(0, false);
        none.put(b"a", &Principal::new("a"), 0, HOUR, 1);
        assert!(none.get(b"a", Duration::ZERO, 1).is_none());
    }
}
