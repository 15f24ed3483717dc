//! Word of the purges that other processes make.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bartizan_cache::{Purge, What};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError, Value};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

use bartizan_core::Engine;

use super::Inner;
use crate::observe;

/// How often the server is asked whether it is still there, and how long it has to answer.
const PULSE: Duration = Duration::from_secs(1);
/// How long before another connection is tried.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Tells of the latest purge.
const CLOCK: &str =
    concat!(include_str!("../scripts/cache.lua"), include_str!("../scripts/cache_clock.lua"));

/// What is said on the channel, after the purge's place among all.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Said {
    node: u64,
    soft: bool,
    change: bool,
    what: Named,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Named {
    All,
    Group { origin: String, name: String },
    Prefix(String),
    Tag(String),
    Uri(String),
}

/// What a purge is to the others.
pub(super) fn write(node: u64, purge: &Purge) -> String {
    let what = match purge.what() {
        What::Group { origin, name } => Named::Group { origin: origin.clone(), name: name.clone() },
        What::Prefix(prefix) => Named::Prefix(prefix.clone()),
        What::Tag(tag) => Named::Tag(tag.clone()),
        What::Uri(uri) => Named::Uri(uri.to_string()),
        _ => Named::All,
    };
    let said = Said { node, soft: purge.is_soft(), change: purge.is_by_change(), what };
    serde_json::to_string(&said).expect("texts and numbers can be written")
}

/// Reads what was said: the purge's place among all, who made it, and what it is. What cannot be
/// read may have been anything.
fn read(said: &[u8]) -> (u64, Option<u64>, Purge) {
    let said = std::str::from_utf8(said).unwrap_or_default();
    let (mark, said) = said.split_once(' ').unwrap_or_default();
    let mark = mark.parse().unwrap_or_default();
    let Ok(Said { node, soft, change, what }) = serde_json::from_str(said) else {
        return (mark, None, Purge::all());
    };
    let purge = match what {
        Named::All => Purge::all(),
        Named::Group { origin, name } => Purge::group(origin, name),
        Named::Prefix(prefix) => Purge::prefix(prefix),
        Named::Tag(tag) => Purge::tag(tag),
        Named::Uri(uri) => uri.parse().map_or_else(|_| Purge::all(), Purge::uri),
    };
    let purge = if change { purge.by_change() } else { purge };
    (mark, Some(node), if soft { purge.soft() } else { purge })
}

impl Inner {
    fn purge_memories(&self, purge: &Purge) {
        // Not under the lock: a cache that goes meanwhile takes its store along.
        let memories = self.memories.lock().clone();
        for memory in memories {
            let _ = memory.purge(purge);
        }
    }

    fn hear(&self, said: &[u8]) {
        let (mark, node, purge) = read(said);
        self.heard.fetch_max(mark, SeqCst);
        self.known.fetch_max(mark, SeqCst);
        if node != Some(self.node) {
            self.purge_memories(&purge);
        }
    }
}

/// Has the channel listened to, by one task, on the runtime that this is called on.
pub(super) fn listen(inner: &Arc<Inner>) {
    if inner.listens.load(SeqCst) {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    if !inner.listens.swap(true, SeqCst) {
        runtime.spawn(Listening(Arc::downgrade(inner)).run());
    }
}

/// The task that listens. Ends with the store.
struct Listening(Weak<Inner>);

impl Listening {
    async fn run(self) {
        let mut wait = FIRST_WAIT;
        while let Some(inner) = self.0.upgrade() {
            let client = inner.redis.client();
            drop(inner);
            let listened = self.listen(&client).await.is_some();
            if let Some(inner) = self.0.upgrade().filter(|_| listened) {
                wait = FIRST_WAIT;
                inner.hears.store(false, SeqCst);
                observe::deaf(inner.redis.name());
            }
            tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        }
    }

    /// Listens for as long as the server is there. `None` if it never was.
    async fn listen(&self, client: &redis::Client) -> Option<()> {
        let (connection, lost) = timeout(PULSE, self.connect(client)).await.ok()?.ok()?;
        let mut connection = connection;
        let (channel, clock, before) = {
            let inner = self.0.upgrade()?;
            (inner.channel(), inner.clock_key(), inner.heard.load(SeqCst))
        };
        timeout(PULSE, connection.subscribe(channel)).await.ok()?.ok()?;
        let mut ask = redis::cmd("EVAL");
        ask.arg(CLOCK).arg(1).arg(clock);
        let asked = ask.query_async::<[u64; 1]>(&mut connection);
        let [last] = timeout(PULSE, asked).await.ok()?.ok()?;
        {
            let inner = self.0.upgrade()?;
            // Whatever was said until now was perhaps not heard. Before the first fetch there is
            // nothing in memory.
            if last != before && inner.asked.load(SeqCst) {
                inner.purge_memories(&Purge::all());
                observe::missed(inner.redis.name());
            }
            if last < before {
                inner.heard.store(last, SeqCst);
            }
            inner.heard.fetch_max(last, SeqCst);
            inner.known.fetch_max(last, SeqCst);
            inner.hears.store(true, SeqCst);
        }
        loop {
            if timeout(PULSE, lost.notified()).await.is_ok() || self.0.strong_count() == 0 {
                return Some(());
            }
            let ping = redis::cmd("PING");
            let pong = timeout(PULSE, connection.send_packed_command(&ping)).await;
            if !matches!(pong, Ok(Ok(Value::SimpleString(_)))) {
                return Some(());
            }
        }
    }

    async fn connect(
        &self,
        client: &redis::Client,
    ) -> Result<(MultiplexedConnection, Arc<Notify>), RedisError> {
        let lost = Arc::new(Notify::new());
        let (inner, tell) = (self.0.clone(), Arc::clone(&lost));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_push_sender(move |push: PushInfo| {
                match (push.kind, &push.data[..]) {
                    (PushKind::Disconnection, _) => tell.notify_one(),
                    (PushKind::Message, [_, Value::BulkString(said)]) => {
                        if let Some(inner) = inner.upgrade() {
                            inner.hear(said);
                        }
                    }
                    _ => {}
                }
                Ok::<_, ()>(())
            });
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok((connection, lost))
    }
}

impl Drop for Listening {
    /// The runtime has ended before the store did: another may begin.
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.hears.store(false, SeqCst);
            inner.listens.store(false, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read() {
        for purge in [
            Purge::all(),
            Purge::tag("a b").soft(),
            Purge::prefix("https://a.test/"),
            Purge::group("https://a.test", "g"),
            Purge::uri("https://a.test/x?y".parse().unwrap()).by_change(),
        ] {
            let said = format!("12 {}", write(7, &purge));
            assert_eq!(read(said.as_bytes()), (12, Some(7), purge));
        }
        for garbage in [&b"\xff"[..], b"", b"12", b"x {}", b"12 {\"node\":1}"] {
            let (_, node, purge) = read(garbage);
            assert_eq!((node, purge), (None, Purge::all()));
        }
    }
}
