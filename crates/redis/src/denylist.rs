//! Revocations that every process hears of.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bartizan_auth::{Denylist, Revocation};
use bartizan_core::{Clock, ConfigError, Engine};
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::runtime::Handle;

use crate::feed::{self, Follower};
use crate::script::Script;
use crate::{Redis, observe};

const DENY: &str = include_str!("scripts/deny.lua");
/// About how many revocations are read at a time.
const PAGE: u32 = 10_000;
/// How long after one found no room all are read again.
const NO_ROOM: Duration = Duration::from_secs(10);
/// No change that was counted.
const NONE: u64 = u64::MAX;

/// Feeds a [`Denylist`] in every process with what any of them revokes. Clones are one.
///
/// A revocation is in force in its own process at once, in the others as soon as the channel tells
/// them, and within a second if it was not heard. Processes that are started later, or were cut off,
/// read what they have missed. It is forgotten, there and here, when it ends. A pardon is in force
/// within a second, everywhere, or once the server is back: what is left of several revocations of one
/// subject is read first.
///
/// While the server is away each process goes by what it knows; whether it then goes on is the
/// denylist's own choice ([`Denylist::stale_after`], best with some seconds). So it is while there is
/// no room for all revocations in a process's denylist: they are read again every ten seconds.
///
/// ```no_run
/// use std::time::Duration;
///
/// use bartizan_auth::{Authenticator, Denylist, Revocation, WhenStale};
/// use bartizan_redis::{Redis, SharedDenylist};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let denylist = Denylist::new().stale_after(Duration::from_secs(10), WhenStale::Pass);
/// let shared = SharedDenylist::new(Redis::new("redis://127.0.0.1")?, denylist.clone());
/// shared.listen();
/// let auth = Authenticator::new("api").denylist(denylist);
///
/// let until = Duration::from_secs(1_900_000_000); // the token's `exp`
/// shared.deny(&Revocation::token("https://id.example", "b7f3c1", until)).await?;
/// # let _ = auth;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct SharedDenylist(Arc<Inner>);

struct Inner {
    redis: Redis,
    denylist: Denylist,
    clock: Clock,
    prefix: Box<str>,
    script: Script,
    /// The latest change up to which all are known.
    known: AtomicU64,
    /// Something was pardoned: what is left of its subject is to be read.
    reread: AtomicBool,
    /// Until when, in seconds since 1970, it is not tried again to find room for all.
    no_room_until: AtomicU64,
    listens: AtomicBool,
}

/// A revocation did not get to the server: it is in force in this process only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum NotShared {
    /// This process's own denylist is full: it is in force nowhere.
    Full,
    /// The server did not take it. Whether the other processes hear of it is not known; trying
    /// again does no harm.
    Unreachable,
}

impl SharedDenylist {
    /// Feeds `denylist` from what is kept under the prefix `bartizan`.
    pub fn new(redis: Redis, denylist: Denylist) -> Self {
        Self::build(redis, denylist, Clock::system(), "bartizan".into())
    }

    fn build(redis: Redis, denylist: Denylist, clock: Clock, prefix: Box<str>) -> Self {
        Self(Arc::new(Inner {
            redis,
            denylist,
            clock,
            prefix,
            script: Script::new(DENY),
            known: AtomicU64::new(NONE),
            reread: AtomicBool::new(false),
            no_room_until: AtomicU64::new(0),
            listens: AtomicBool::new(false),
        }))
    }

    /// Keeps it under this prefix, so that services that share a server do not share revocations.
    /// Before it listens.
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
        let Inner { redis, denylist, clock, .. } = &*self.0;
        Ok(Self::build(redis.clone(), denylist.clone(), clock.clone(), prefix.into()))
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

    /// Revokes, here and everywhere.
    ///
    /// # Errors
    ///
    /// If the server does not take it within the connection's deadline, or if there is no room.
    pub async fn deny(&self, revocation: &Revocation) -> Result<(), NotShared> {
        self.0.denylist.deny(revocation).map_err(|_| NotShared::Full)?;
        self.say("deny", revocation).await
    }

    /// Takes a revocation back, within a second, here and everywhere, where it [listens](Self::listen).
    /// It must be the same as the one that was made.
    ///
    /// # Errors
    ///
    /// If the server does not take it within the connection's deadline.
    pub async fn pardon(&self, revocation: &Revocation) -> Result<(), NotShared> {
        self.say("pardon", revocation).await
    }

    async fn say(&self, what: &str, revocation: &Revocation) -> Result<(), NotShared> {
        let inner = &*self.0;
        let text = serde_json::to_string(revocation).expect("texts and numbers can be written");
        let mut run = inner.script.run(3);
        run.arg(inner.key("revoked")).arg(inner.key("revoked:changes"));
        run.arg(inner.key("pardoned"));
        run.arg(inner.channel()).arg(what).arg(text).arg(revocation.until().as_secs());
        let said = inner.redis.run(&inner.script, &run).await;
        said.map(drop).map_err(|_| NotShared::Unreachable)
    }
}

impl Inner {
    /// All keys are in one slot, by the braces.
    fn key(&self, name: &str) -> String {
        format!("{{{}}}:auth:{name}", self.prefix)
    }

    fn understand(&self, text: &[u8]) -> Option<Revocation> {
        let revocation = serde_json::from_slice(text).ok();
        if revocation.is_none() {
            observe::unread(self.redis.name());
        }
        revocation
    }

    /// Reads everything, as of the change number `changes`. False if it is not in force for want of
    /// room, which the denylist counts and its authenticator shows.
    async fn read_all(
        &self,
        connection: &mut MultiplexedConnection,
        changes: u64,
    ) -> Result<bool, RedisError> {
        // Before the lists: what is pardoned from here on is read again. So is all if this fails, since
        // the connection is then made anew.
        self.reread.store(false, SeqCst);
        // Of a subject there may be several of either: those that are left hold.
        let mut pardons = HashMap::<_, (Vec<_>, Vec<_>)>::new();
        self.read("pardoned", connection, |pardon| {
            pardons.entry(pardon.name()).or_default().0.push(pardon);
        })
        .await?;
        let mut fits = true;
        let mut waiting = Vec::new();
        self.read("revoked", connection, |revocation| {
            if self.denylist.deny(&revocation).is_err() {
                // Pardons make room for no more than there are of them.
                if waiting.len() < pardons.len() {
                    waiting.push(revocation.clone());
                } else {
                    fits = false;
                }
            }
            if let Some((_, left)) = pardons.get_mut(&revocation.name()) {
                left.push(revocation);
            }
        })
        .await?;
        // If there was another change meanwhile, it is not known what of it is over.
        let is_settled = self.changes(connection).await? == changes;
        if is_settled {
            for (pardoned, left) in pardons.values() {
                self.denylist.pardon_all_but(pardoned, left);
            }
        } else {
            self.reread.store(true, SeqCst);
        }
        for revocation in &waiting {
            fits &= self.denylist.deny(revocation).is_ok();
        }
        if !fits {
            self.known.store(NONE, SeqCst);
        } else if is_settled {
            self.known.store(changes, SeqCst);
        }
        Ok(fits)
    }

    /// Reads what is not over of this list. Whatever is in it from the first page to the last is
    /// read, though others come and go.
    async fn read(
        &self,
        list: &str,
        connection: &mut MultiplexedConnection,
        mut each: impl FnMut(Revocation),
    ) -> Result<(), RedisError> {
        let now = self.clock.unix();
        let mut cursor = 0;
        loop {
            let mut page = redis::cmd("ZSCAN");
            page.arg(self.key(list)).arg(cursor).arg("COUNT").arg(PAGE);
            // A long list takes its time, and is fresh meanwhile if only a pardon is to be read.
            self.changes(connection).await?;
            let (next, page): (u64, Vec<(Vec<u8>, f64)>) = page.query_async(connection).await?;
            let texts = page.iter().map(|(text, _)| text);
            let all = texts.filter_map(|text| self.understand(text));
            all.filter(|revocation| revocation.until() > now).for_each(&mut each);
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// The number of changes so far. If all of them are known, the list is fresh.
    async fn changes(&self, connection: &mut MultiplexedConnection) -> Result<u64, RedisError> {
        // Before the question: what was there then is in force here afterwards.
        let now = self.clock.unix();
        let mut ask = redis::cmd("GET");
        ask.arg(self.key("revoked:changes"));
        let changes: Option<u64> = ask.query_async(connection).await?;
        let changes = changes.unwrap_or_default();
        // Of a pardon that is not in force yet, too much is denied, and nothing is missed.
        if self.known.load(SeqCst) == changes {
            self.denylist.heard(now);
        }
        Ok(changes)
    }
}

impl Follower for Inner {
    fn channel(&self) -> String {
        self.key("revocations")
    }

    async fn catch_up(&self, mut connection: MultiplexedConnection) -> Result<(), RedisError> {
        let now = self.clock.unix();
        // Before the list: what is changed while it is read is read again.
        let changes = self.changes(&mut connection).await?;
        let is_known = self.known.load(SeqCst) == changes;
        if is_known && !self.reread.load(SeqCst) {
            return Ok(());
        }
        if now.as_secs() < self.no_room_until.load(SeqCst) {
            return Ok(());
        }
        if self.read_all(&mut connection, changes).await? {
            self.denylist.heard(now);
        } else {
            self.no_room_until.store((now + NO_ROOM).as_secs(), SeqCst);
        }
        Ok(())
    }

    fn hear(&self, said: &[u8]) {
        let mut words = said.splitn(3, |byte| *byte == b' ');
        let mut word = || words.next().unwrap_or_default();
        let change = std::str::from_utf8(word()).ok().and_then(|change| change.parse::<u64>().ok());
        let denied = match (word(), word()) {
            (b"deny", text) => self.understand(text),
            // Whether another one of the same subject is left, the server knows.
            (b"pardon", _) => {
                self.reread.store(true, SeqCst);
                None
            }
            _ => return observe::unread(self.redis.name()),
        };
        // Before it is in force: if pardons are taken from the server just now, it is read again. One
        // that was missed in between shows at the next pulse.
        if let Some(change) = change
            && let Some(before) = change.checked_sub(1)
        {
            let _ = self.known.compare_exchange(before, change, SeqCst, SeqCst);
        }
        if denied.is_some_and(|denied| self.denylist.deny(&denied).is_err()) {
            self.known.store(NONE, SeqCst);
        }
    }

    fn deaf(&self) {
        // A server that comes back without what it had may count to the same number.
        self.known.store(NONE, SeqCst);
        observe::feed_lost(self.redis.name());
    }
}

impl fmt::Debug for SharedDenylist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedDenylist").field("denylist", &self.0.denylist).finish_non_exhaustive()
    }
}

impl fmt::Display for NotShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the denylist is full",
            Self::Unreachable => "the server did not take the revocation",
        })
    }
}

impl std::error::Error for NotShared {}
