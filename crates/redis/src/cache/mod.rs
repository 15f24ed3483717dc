//! Responses that several processes share.
//!
//! A record is a field of a hash, by variant; its body lies apart, in chunks. Each has what
//! [`labels`] makes of its resource, tags and groups, and the place among all purges that its
//! service was asked at. A purge marks a label, the prefix or all with its own place, whatever the
//! number of records: a record with an earlier place than a mark of its labels is gone. So is one
//! whose mark is gone, since what Redis evicts must not bring back what was purged.

mod body;
mod labels;
mod news;
mod turn;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bartizan_cache::{
    FirstTier, Loaded, Purge, Record, Store, StoreError, StoreErrorKind, StoreFuture, StoreKey,
    Turn,
};
use bartizan_core::ConfigError;
use bytes::Bytes;
use parking_lot::Mutex;
use redis::{Cmd, Value};

use crate::Redis;
use crate::client::Fault;
use crate::script::Script;

use self::body::Chunks;

/// No trip carries more of a body at once.
const CHUNK: usize = 128 << 10;
/// Redis is not asked to keep anything for longer: a week.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a mark lasts at least: every change of a resource makes one, whether or not anything is
/// stored. A response that was on its way for longer is not stored, for it may have been purged
/// meanwhile.
const MARK: Duration = Duration::from_secs(300);
/// How long chunks wait for their record, and a body that was replaced for its readers.
const LOOSE: Duration = Duration::from_secs(30);
/// As many as the memory in front has by default.
const MAX_VARIANTS: usize = 16;
/// Each is compared with each record that is older.
const MAX_PREFIXES: usize = 256;
/// What is longer purges by its beginning, which is more.
const MAX_PREFIX: usize = 1024;

/// A cache's store that all processes with one Redis share: what goes behind the memory of a
/// `ResponseCache`. Clones are one store.
///
/// See the [crate docs](crate) for an example.
#[derive(Clone)]
pub struct CacheStore(Arc<Inner>);

pub(crate) struct Inner {
    redis: Redis,
    /// What all keys begin with. In braces: they are of one slot.
    root: Box<str>,
    largest: usize,
    scripts: Scripts,
    /// The latest purge that any answer told of.
    known: AtomicU64,
    /// The latest purge that was heard of on the channel.
    heard: AtomicU64,
    /// Tells this process's own purges apart.
    node: u64,
    memories: Mutex<Vec<FirstTier>>,
    /// Whether there is a task that listens, and whether it hears anything.
    listens: AtomicBool,
    hears: AtomicBool,
    /// Whether anything may ever have been fetched, and be in memory.
    asked: AtomicBool,
}

struct Scripts {
    chunk: Script,
    held: Script,
    lease: Script,
    load: Script,
    purge: Script,
    put_chunk: Script,
    release: Script,
    save: Script,
}

impl Scripts {
    fn new() -> Self {
        Self {
            chunk: Script::new(include_str!("../scripts/cache_chunk.lua")),
            held: Script::new(include_str!("../scripts/cache_held.lua")),
            lease: Script::new(include_str!("../scripts/cache_lease.lua")),
            load: Script::new(concat!(
                include_str!("../scripts/cache.lua"),
                include_str!("../scripts/cache_load.lua")
            )),
            purge: Script::new(concat!(
                include_str!("../scripts/cache.lua"),
                include_str!("../scripts/cache_purge.lua")
            )),
            put_chunk: Script::new(include_str!("../scripts/cache_put_chunk.lua")),
            release: Script::new(include_str!("../scripts/cache_release.lua")),
            save: Script::new(concat!(
                include_str!("../scripts/cache.lua"),
                include_str!("../scripts/cache_save.lua")
            )),
        }
    }
}

impl CacheStore {
    /// Stores at `redis`, under keys that begin with `{bartizan:cache}`, what has a body of at most
    /// 8 MiB.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self::build(redis, "bartizan:cache", 8 << 20)
    }

    fn build(redis: Redis, prefix: &str, largest: usize) -> Self {
        Self(Arc::new(Inner {
            redis,
            root: format!("{{{prefix}}}:").into(),
            largest,
            scripts: Scripts::new(),
            known: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            node: fastrand::u64(..),
            memories: Mutex::default(),
            listens: AtomicBool::new(false),
            hears: AtomicBool::new(false),
            asked: AtomicBool::new(false),
        }))
    }

    /// Sets what all keys at Redis begin with, in braces, so that several systems can use one
    /// server. Caches that share a prefix share what is stored and what is purged.
    ///
    /// Before it is cloned or used: of one that is shared, this makes another.
    ///
    /// # Errors
    ///
    /// If it is empty, is not printable ASCII, or has a brace.
    pub fn prefix(self, prefix: &str) -> Result<Self, ConfigError> {
        let is_plain = prefix.chars().all(|c| matches!(c, '!'..='~') && c != '{' && c != '}');
        if prefix.is_empty() || !is_plain {
            return Err(ConfigError::new(
                "redis.prefix",
                "is empty, or has something else than printable ASCII, or a brace",
                "write letters, digits and `:`",
            ));
        }
        Ok(Self::build(self.0.redis.clone(), prefix, self.0.largest))
    }

    /// Sets how long a body may be, in bytes; at most 256 MiB. One that is longer is not stored
    /// here. What the cache itself takes is limited by its own settings.
    ///
    /// Before it is cloned or used: of one that is shared, this makes another.
    #[must_use]
    pub fn max_body_bytes(self, bytes: usize) -> Self {
        // Without the braces and the colon.
        let (redis, prefix) = (self.0.redis.clone(), &self.0.root[1..self.0.root.len() - 2]);
        Self::build(redis, prefix, bytes.min(256 << 20))
    }

    /// Whether it hears at once of the purges that other processes make. While it does not, the
    /// memory in front of it does not know of them; when it does again, and there may have been any,
    /// all that is in memory is dropped.
    #[must_use]
    pub fn hears_of_purges(&self) -> bool {
        self.0.hears.load(SeqCst)
    }
}

impl Inner {
    fn clock_key(&self) -> String {
        format!("{}clock", self.root)
    }

    fn channel(&self) -> String {
        format!("{}purges", self.root)
    }

    fn record_key(&self, key: StoreKey) -> Vec<u8> {
        [self.root.as_bytes(), b"r:", key.as_bytes()].concat()
    }

    fn chunk_key(&self, body: &[u8], number: usize) -> Vec<u8> {
        [self.root.as_bytes(), b"b:", body, format!(":{number}").as_bytes()].concat()
    }

    async fn run(&self, script: &Script, run: &Cmd) -> Result<Vec<Value>, StoreError> {
        self.redis.run(script, run).await.map_err(|fault| {
            StoreError::new(match fault {
                Fault::Garbled => StoreErrorKind::Corrupt,
                Fault::Late => StoreErrorKind::Late,
                Fault::Unreachable => StoreErrorKind::Unavailable,
            })
        })
    }

    /// Takes note of the latest purge, which answers begin with.
    fn learn(&self, last: &[u8]) -> Result<u64, StoreError> {
        let last = std::str::from_utf8(last).ok().and_then(|last| last.parse().ok());
        let last = last.ok_or(StoreError::new(StoreErrorKind::Corrupt))?;
        self.known.fetch_max(last, SeqCst);
        Ok(last)
    }

    async fn find(
        self: &Arc<Self>,
        key: StoreKey,
        suits: &(dyn Fn(&[u8]) -> bool + Send + Sync),
    ) -> Result<Option<Loaded>, StoreError> {
        let mut run = self.scripts.load.run(2);
        run.arg(self.clock_key()).arg(self.record_key(key)).arg(&*self.root);
        let mut values = self.run(&self.scripts.load, &run).await?.into_iter();
        self.learn(&bytes(values.next())?)?;
        let mut first = Some(bytes(values.next())?);
        while let Some(head) = values.next() {
            let (head, body) = (bytes(Some(head))?, bytes(values.next())?);
            let Some(Value::Int(count)) = values.next() else {
                return Err(StoreError::new(StoreErrorKind::Corrupt));
            };
            // Of the newest record only.
            let first = first.take();
            if suits(&head) {
                let count = usize::try_from(count).unwrap_or_default();
                return Ok(Some(Loaded::new(head, Chunks::new(self, body, count, first))));
            }
        }
        Ok(None)
    }

    async fn keep(&self, key: StoreKey, record: Record) -> Result<(), StoreError> {
        let count = record.body.len().div_ceil(CHUNK).max(1);
        let keep = millis(record.keep.min(LONGEST));
        if record.body.len() > self.largest || keep == 0 || record.asked_ago >= MARK {
            return Ok(());
        }
        let body = labels::body(key, &record);
        if count > 1 && !self.put_chunks(&body, count, &record).await? {
            return Ok(());
        }
        let Record { head, variant, uri, position, .. } = &record;
        let first = &record.body[..record.body.len().min(CHUNK)];
        let mut run = self.scripts.save.run(2);
        run.arg(self.clock_key()).arg(self.record_key(key)).arg(&*self.root);
        run.arg(variant).arg(*position).arg(keep).arg(&body).arg(count).arg(uri);
        run.arg(labels::of(&record)).arg(&head[..]).arg(first);
        run.arg(MAX_VARIANTS).arg(millis(LOOSE));
        let values = self.run(&self.scripts.save, &run).await?;
        self.learn(&bytes(values.into_iter().next())?)?;
        Ok(())
    }

    /// Sends all chunks but the first, unless they are those of a response that was confirmed, and
    /// are there. False if there is no room for them.
    async fn put_chunks(
        &self,
        body: &[u8],
        count: usize,
        record: &Record,
    ) -> Result<bool, StoreError> {
        if record.confirmed {
            let mut run = self.scripts.held.run(count - 1);
            for number in 1..count {
                run.arg(self.chunk_key(body, number));
            }
            let held = self.run(&self.scripts.held, &run).await?;
            if held == [Value::Int(count as i64 - 1)] {
                return Ok(true);
            }
        }
        for (number, chunk) in record.body.chunks(CHUNK).enumerate().skip(1) {
            let mut run = self.scripts.put_chunk.run(1);
            run.arg(self.chunk_key(body, number)).arg(chunk).arg(millis(LOOSE));
            if self.run(&self.scripts.put_chunk, &run).await? != [Value::Int(1)] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn forget(&self, purge: &Purge, resource: Option<StoreKey>) -> Result<(), StoreError> {
        let (kind, what) = labels::purged(purge, resource);
        let what = &what[..what.len().min(MAX_PREFIX)];
        let mut run = self.scripts.purge.run(1);
        run.arg(self.clock_key()).arg(&*self.root).arg(kind).arg(what);
        run.arg(self.channel()).arg(news::write(self.node, purge));
        run.arg(MAX_PREFIXES).arg(millis(MARK));
        let values = self.run(&self.scripts.purge, &run).await?;
        self.learn(&bytes(values.into_iter().next())?)?;
        Ok(())
    }
}

impl Store for CacheStore {
    fn load<'a>(
        &'a self,
        key: StoreKey,
        suits: &'a (dyn Fn(&[u8]) -> bool + Send + Sync),
    ) -> StoreFuture<'a, Option<Loaded>> {
        news::listen(&self.0);
        Box::pin(self.0.find(key, suits))
    }

    fn save(&self, key: StoreKey, record: Record) -> StoreFuture<'_, ()> {
        news::listen(&self.0);
        Box::pin(self.0.keep(key, record))
    }

    fn purge<'a>(&'a self, purge: &'a Purge, resource: Option<StoreKey>) -> StoreFuture<'a, ()> {
        Box::pin(self.0.forget(purge, resource))
    }

    fn lease(&self, key: StoreKey, span: Duration) -> StoreFuture<'_, Turn> {
        Box::pin(turn::take(&self.0, key, span))
    }

    fn position(&self) -> u64 {
        // Whoever wants to know fetches something, and may have it in memory from then on.
        self.0.asked.store(true, SeqCst);
        self.0.known.load(SeqCst)
    }

    fn attach(&self, memory: FirstTier) {
        let mut memories = self.0.memories.lock();
        memories.retain(|memory| !memory.is_gone());
        memories.push(memory);
        drop(memories);
        news::listen(&self.0);
    }
}

fn bytes(value: Option<Value>) -> Result<Bytes, StoreError> {
    match value {
        Some(Value::BulkString(bytes)) => Ok(bytes.into()),
        _ => Err(StoreError::new(StoreErrorKind::Corrupt)),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for CacheStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheStore")
            .field("redis", &self.0.redis)
            .field("root", &self.0.root)
            .field("hears_of_purges", &self.hears_of_purges())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_stays_as_it_was_said() {
        for prefix in ["a", ":a:", "a:b:", ":"] {
            let store = CacheStore::new(Redis::new("redis://127.0.0.1:1").unwrap());
            let store = store.prefix(prefix).unwrap().max_body_bytes(1);
            assert_eq!(&*store.0.root, format!("{{{prefix}}}:"));
        }
    }
}
