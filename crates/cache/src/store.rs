use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;

use crate::engine::WeakCache;
use crate::lease::{Lease, Turn};
use crate::{Purge, StoreError};

/// A store behind the memory of this process: shared with others, slower, perhaps down.
///
/// The cache asks it after a miss in memory, within
/// [`Settings::store_deadline`](crate::Settings::store_deadline), and writes to it beside the
/// clients. An error, a late answer or one that cannot be read is a miss; after several in a row it
/// is left alone for a while. A purge is repeated until it is done, and what it names is not taken from
/// the store before. No client ever sees an error of the store.
///
/// # Contract
///
/// - `save` replaces a record of the same key and variant; records of other variants stay, up to a
///   number that the store sets.
/// - `load` finds the newest record whose head suits. What was purged since its
///   [`position`](Record::position) is not found, even if it was saved after that.
/// - `purge` costs the same for any number of records.
/// - A record may be forgotten at any time, and is of no use after its `keep`.
/// - A dropped future may or may not have had its effect.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Finds a record under a key, of which `suits` accepts the head.
    fn load<'a>(
        &'a self,
        key: StoreKey,
        suits: &'a (dyn Fn(&[u8]) -> bool + Send + Sync),
    ) -> StoreFuture<'a, Option<Loaded>>;

    /// Keeps a record under a key.
    fn save(&self, key: StoreKey, record: Record) -> StoreFuture<'_, ()>;

    /// Forgets what is purged; of a URI, all with this [`resource`](Record::resource). A soft purge
    /// may be taken for a hard one.
    fn purge<'a>(&'a self, purge: &'a Purge, resource: Option<StoreKey>) -> StoreFuture<'a, ()>;

    /// The latest purge that this store knows of. A record carries what this said before the service
    /// was asked, so that a purge meanwhile holds for it. By default there is none.
    fn position(&self) -> u64 {
        0
    }

    /// Takes the turn to ask the service for what is not found under a key, for `span` at most, so
    /// that other processes wait for what comes of it. By default everyone has one at once.
    fn lease(&self, key: StoreKey, span: Duration) -> StoreFuture<'_, Turn> {
        let _ = (key, span);
        Box::pin(async { Ok(Turn::Mine(Lease::own())) })
    }

    /// Hands over the memory in front of this store, for a store that hears of purges which other
    /// processes make. By default it is not told.
    fn attach(&self, memory: FirstTier) {
        drop(memory);
    }
}

/// The memory of a cache in front of a store. It does not keep the cache alive.
#[derive(Clone, Debug)]
pub struct FirstTier(pub(crate) WeakCache);

impl FirstTier {
    /// Purges in memory, and leaves the store alone. False if the cache is gone.
    #[must_use]
    pub fn purge(&self, purge: &Purge) -> bool {
        self.0.upgrade().is_some_and(|cache| {
            cache.purge_memory(purge);
            true
        })
    }

    /// Whether the cache is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.upgrade().is_none()
    }
}

/// What a store will have done.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A body as it comes from a store, in parts of any size.
pub type StoreBody = Pin<Box<dyn Body<Data = Bytes, Error = StoreError> + Send>>;

/// A key that is the same in every process: a SHA-256 of the target and of what
/// [`KeyRules`](crate::KeyRules) add to it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StoreKey([u8; 32]);

impl StoreKey {
    pub(crate) const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A response as a store keeps it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Record {
    /// Status, fields, freshness and variant, in a versioned binary form.
    pub head: Bytes,
    /// The body.
    pub body: Bytes,
    /// The same for the same body.
    pub digest: [u8; 16],
    /// Whether the service confirmed what was stored: a store that has the body needs the head only.
    pub confirmed: bool,
    /// Tells the variants of a key apart.
    pub variant: [u8; 16],
    /// Where it was found: what purges by prefix compare.
    pub uri: String,
    /// What purges by URI compare: the key of the resource, in all partitions of the key.
    pub resource: StoreKey,
    /// What [`Store::position`] said before the service was asked.
    pub position: u64,
    /// Its tags, as in [`Purge::tag`].
    pub tags: Vec<String>,
    /// Its groups, as in [`Purge::group`].
    pub groups: Vec<String>,
    /// For how long it may be of use.
    pub keep: Duration,
    /// How long ago the service was asked: a store that forgets a purge after less does not take it.
    pub asked_ago: Duration,
}

impl Record {
    pub(crate) fn new(head: Bytes, body: Bytes, variant: [u8; 16], keep: Duration) -> Self {
        Self {
            head,
            body,
            digest: [0; 16],
            confirmed: false,
            variant,
            uri: String::new(),
            resource: StoreKey::new([0; 32]),
            position: 0,
            tags: Vec::new(),
            groups: Vec::new(),
            keep,
            asked_ago: Duration::ZERO,
        }
    }
}

/// A response as it comes from a store.
#[non_exhaustive]
pub struct Loaded {
    /// The head as it was saved.
    pub head: Bytes,
    /// The body as it was saved.
    pub body: StoreBody,
}

impl Loaded {
    /// What was found.
    pub fn new(
        head: Bytes,
        body: impl Body<Data = Bytes, Error = StoreError> + Send + 'static,
    ) -> Self {
        Self { head, body: Box::pin(body) }
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("head", &self.head.len()).finish_non_exhaustive()
    }
}
