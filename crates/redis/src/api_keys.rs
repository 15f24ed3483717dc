//! Records of API keys that every process reads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bartizan_auth::{ApiKeyStore, Found, KeyRecord, StoreAway};
use bartizan_core::{ConfigError, Engine};
use quick_cache::sync::Cache;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::denylist::NotShared;
use crate::feed::{self, Follower};
use crate::script::Script;
use crate::{Redis, observe};

const FIND: &str = include_str!("scripts/key_find.lua");
const PUT: &str = include_str!("scripts/key_put.lua");
/// How many identifiers are remembered, with and without a record.
const REMEMBERED: usize = 10_000;
/// How long at most, were even the channel silent.
const LONGEST: Duration = Duration::from_secs(60);
/// No change that was counted.
const NONE: u64 = u64::MAX;

/// Records of API keys for [`IssuedKeys`](bartizan_auth::IssuedKeys), shared by all processes. Clones
/// are one.
///
/// Once it [listens](KeyStore::listen), what was read is remembered until the channel tells of a
/// change, for a minute at most, and forgotten when the connection is lost. While it does not, every
/// request asks the server. While the server is away, keys that are not remembered get 503.
///
/// ```no_run
/// use bartizan_auth::{Authenticator, IssuedKey, IssuedKeys, KeyRecord, Peppers, Principal};
/// use bartizan_redis::{KeyStore, Redis};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = KeyStore::new(Redis::new("redis://127.0.0.1")?);
/// store.listen();
/// let auth = Authenticator::new("api").scheme(IssuedKeys::new(store.clone(), "bz", "live"));
///
/// let key = IssuedKey::generate("bz", "live")?;
/// let record = KeyRecord::new(&key, &Peppers::none(), Principal::new("billing"));
/// store.put(key.id(), &record).await?;
/// println!("for its holder, once: {}", key.reveal());
/// # let _ = auth;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct KeyStore(Arc<Inner>);

struct Inner {
    redis: Redis,
    prefix: Box<str>,
    find: Script,
    put: Script,
    remembered: Cache<Box<str>, Remembered>,
    /// The latest change up to which all are known.
    known: AtomicU64,
    listens: AtomicBool,
    /// True while changes are heard.
    hears: AtomicBool,
}

#[derive(Clone)]
struct Remembered {
    record: Option<Arc<KeyRecord>>,
    until: Instant,
}

impl KeyStore {
    /// Keeps records under the prefix `bartizan`.
    pub fn new(redis: Redis) -> Self {
        Self::build(redis, "bartizan".into())
    }

    fn build(redis: Redis, prefix: Box<str>) -> Self {
        Self(Arc::new(Inner {
            redis,
            prefix,
            find: Script::new(FIND),
            put: Script::new(PUT),
            remembered: Cache::new(REMEMBERED),
            known: AtomicU64::new(NONE),
            listens: AtomicBool::new(false),
            hears: AtomicBool::new(false),
        }))
    }

    /// Keeps them under this prefix, so that services that share a server do not share keys. Before
    /// it listens.
    ///
    /// # Errors
    ///
    /// If the prefix is empty, or holds other than visible ASCII, or a brace.
    pub fn prefix(self, prefix: &str) -> Result<Self, ConfigError> {
        let is_plain = prefix.chars().all(|c| matches!(c, '!'..='~') && c != '{' && c != '}');
        if prefix.is_empty() || !is_plain {
            let problem = "is empty, or holds other than visible ASCII, or a brace";
            return Err(ConfigError::new("redis.prefix", problem, "write it as `shop`"));
        }
        Ok(Self::build(self.0.redis.clone(), prefix.into()))
    }

    /// Begins to listen, on the Tokio runtime that this is called on, until the last clone is gone.
    /// To listen twice is to listen once.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn listen(&self) {
        let runtime = Handle::current();
        if !self.0.listens.swap(true, SeqCst) {
            feed::follow(&runtime, &self.0, self.0.redis.client());
        }
    }

    /// Adds the record of a key, or replaces it, for all processes.
    ///
    /// # Errors
    ///
    /// If the server does not take it within the connection's deadline. Trying again does no harm.
    pub async fn put(&self, id: &str, record: &KeyRecord) -> Result<(), NotShared> {
        self.write(id, Some(record.to_json())).await
    }

    /// Removes the record of a key, for all processes.
    ///
    /// # Errors
    ///
    /// If the server does not take it within the connection's deadline. Trying again does no harm.
    pub async fn remove(&self, id: &str) -> Result<(), NotShared> {
        self.write(id, None).await
    }

    async fn write(&self, id: &str, record: Option<String>) -> Result<(), NotShared> {
        let inner = &*self.0;
        let mut run = inner.put.run(2);
        run.arg(inner.key(&format!("key:{id}"))).arg(inner.key("keys:changes"));
        run.arg(inner.channel()).arg(id).arg(record);
        let said = inner.redis.run(&inner.put, &run).await;
        inner.remembered.remove(id);
        said.map(drop).map_err(|_| NotShared::Unreachable)
    }
}

impl Inner {
    /// All keys are in one slot, by the braces.
    fn key(&self, name: &str) -> String {
        format!("{{{}}}:auth:{name}", self.prefix)
    }

    async fn ask(self: Arc<Self>, id: Box<str>) -> Result<Option<Arc<KeyRecord>>, StoreAway> {
        // What is changed from now on must not be remembered as it was.
        let known = self.known.load(SeqCst);
        let mut run = self.find.run(1);
        run.arg(self.key(&format!("key:{id}")));
        let found = self.redis.run(&self.find, &run).await.map_err(|_| StoreAway)?;
        let record = match &found[..] {
            [] => None,
            [Value::BulkString(text)] => {
                let record = std::str::from_utf8(text).ok();
                let record = record.and_then(|text| KeyRecord::from_json(text).ok());
                let Some(record) = record else {
                    observe::unread(self.redis.name());
                    return Err(StoreAway);
                };
                Some(Arc::new(record))
            }
            _ => return Err(StoreAway),
        };
        if self.hears.load(SeqCst) {
            let until = Instant::now() + LONGEST;
            let remembered = Remembered { record: record.clone(), until };
            self.remembered.insert(id.clone(), remembered);
            if self.known.load(SeqCst) != known || !self.hears.load(SeqCst) {
                self.remembered.remove(&id);
            }
        }
        Ok(record)
    }
}

impl ApiKeyStore for KeyStore {
    fn find(&self, id: &str) -> Found {
        if let Some(known) = self.0.remembered.get(id)
            && Instant::now() < known.until
        {
            return Found::Now(known.record);
        }
        Found::Later(Box::pin(Arc::clone(&self.0).ask(id.into())))
    }
}

impl Follower for Inner {
    fn channel(&self) -> String {
        self.key("keys")
    }

    async fn catch_up(&self, mut connection: MultiplexedConnection) -> Result<(), RedisError> {
        let mut ask = redis::cmd("GET");
        ask.arg(self.key("keys:changes"));
        let changes: Option<u64> = ask.query_async(&mut connection).await?;
        let changes = changes.unwrap_or_default();
        if self.known.swap(changes, SeqCst) != changes {
            self.remembered.clear();
        }
        self.hears.store(true, SeqCst);
        Ok(())
    }

    fn hear(&self, said: &[u8]) {
        let said = std::str::from_utf8(said).unwrap_or_default();
        let Some((change, id)) = said.split_once(' ') else {
            return observe::unread(self.redis.name());
        };
        // One that was missed in between shows at the next pulse.
        if let Ok(change) = change.parse::<u64>()
            && let Some(before) = change.checked_sub(1)
        {
            let _ = self.known.compare_exchange(before, change, SeqCst, SeqCst);
        }
        self.remembered.remove(id);
    }

    fn deaf(&self) {
        self.hears.store(false, SeqCst);
        self.known.store(NONE, SeqCst);
        self.remembered.clear();
        observe::feed_lost(self.redis.name());
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore")
            .field("remembered", &self.0.remembered.len())
            .finish_non_exhaustive()
    }
}
