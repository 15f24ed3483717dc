//! A flag document at the server, which all processes follow.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{ConfigError, Engine};
use bartizan_flags::{Feed, Flags};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::client::Redis;
use crate::observe;

/// How long the server has to answer. No request waits for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long before another connection is tried.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The shortest time between two questions that no message calls for.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// A flag document at a Redis or Valkey server, for all processes that follow it.
///
/// The document is the value of a key, `bartizan:flags` by default; beside it, under
/// `bartizan:flags:version`, stands a number that grows with each change, and on the channel
/// `bartizan:flags` a change is told of. [`publish`](Self::publish) does all three at once, and so
/// can an operator:
///
/// ```text
/// redis-cli -x SET bartizan:flags < flags.json
/// redis-cli INCR bartizan:flags:version
/// redis-cli PUBLISH bartizan:flags changed
/// ```
///
/// A message that is lost is made good by the next question for the number; a document without a
/// number is compared itself. No evaluation waits for any of it.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// use bartizan_flags::Flags;
/// use bartizan_redis::{FlagsSource, Redis};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), bartizan_redis::ConfigError> {
/// let flags = Flags::empty();
/// let redis = Redis::new("redis://127.0.0.1")?;
/// // What was in force before a restart is in force at once.
/// let feed = flags.feed(0).keep_in("/var/lib/shop/flags.json");
/// tokio::spawn(FlagsSource::new(redis, feed).watch(Duration::from_secs(10)));
/// // Give the first document a moment, but start in any case.
/// let _ = flags.ready_within(Duration::from_secs(2)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FlagsSource {
    redis: Redis,
    feed: Feed,
    key: Arc<str>,
}

/// What is known of the document at the server.
#[derive(Default)]
struct Seen {
    /// The number of the document that was last looked at; `None` if it has to be looked at again.
    version: Option<u64>,
    /// Whether somebody was told that there is none.
    absent: bool,
}

/// What the server has.
enum Found {
    /// The number that was known.
    Same,
    Document {
        version: Option<u64>,
        text: String,
    },
    Nothing,
}

impl FlagsSource {
    /// Creates a source that feeds `feed`: [`Flags`], or one of several places in them.
    #[must_use]
    pub fn new(redis: Redis, feed: impl Into<Feed>) -> Self {
        Self { redis, feed: feed.into(), key: "bartizan:flags".into() }
    }

    /// Names the document's key, and with it the number's and the channel.
    ///
    /// # Errors
    ///
    /// If the name is empty or longer than 512 bytes.
    pub fn key(mut self, key: impl Into<Arc<str>>) -> Result<Self, ConfigError> {
        self.key = key.into();
        if self.key.is_empty() || self.key.len() > 512 {
            return Err(ConfigError::new(
                "redis.flags.key",
                format!("is {} bytes long", self.key.len()),
                "give it 1 to 512 bytes, as `shop:flags`",
            ));
        }
        Ok(self)
    }

    /// The flags that are fed.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.feed.flags()
    }

    fn version_key(&self) -> String {
        format!("{}:version", self.key)
    }

    /// Puts a document in place for all processes, and tells them. Returns its number.
    ///
    /// # Errors
    ///
    /// If the document cannot be read, or has a flag that cannot be used, so that nobody is given it;
    /// or if the server does not take it, in which case it may have taken it all the same.
    pub async fn publish(&self, document: &str) -> Result<u64, PublishError> {
        let flags = Flags::from_json(document).map_err(Kind::Document)?;
        if let Some(problem) = flags.problems().into_iter().next() {
            return Err(Kind::Document(problem).into());
        }
        let (changed, lost) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let written = async {
            let mut connection = self.connect(&changed, &lost).await?;
            let mut write = redis::pipe();
            write.atomic().set(&*self.key, document).ignore();
            write.incr(self.version_key(), 1).publish(&*self.key, "changed").ignore();
            write.query_async::<(u64,)>(&mut connection).await
        };
        match timeout(PATIENCE, written).await {
            Ok(Ok((version,))) => Ok(version),
            Ok(Err(_)) | Err(_) => Err(Kind::Server.into()),
        }
    }

    /// Follows the document for ever: on word of a change, and besides every `interval`. From now on
    /// the flags [wait](Flags::ready) for it: until there is a document, which a server that has none yet, or
    /// has lost it, does not bring.
    ///
    /// Nothing runs unless the future is polled: spawn it, and abort the task to stop.
    pub fn watch(self, interval: Duration) -> impl Future<Output = Infallible> + Send {
        // Not when it is first polled: before that, whoever waits could find nothing to wait for.
        self.feed.expect();
        self.run(interval)
    }

    async fn run(self, interval: Duration) -> Infallible {
        let interval = interval.max(MIN_INTERVAL);
        let (mut seen, mut wait, mut told) = (Seen::default(), FIRST_WAIT, false);
        loop {
            if self.follow(interval, &mut seen).await.is_some() {
                (wait, told) = (FIRST_WAIT, false);
            }
            if !told {
                observe::flags_unheard(self.redis.name());
                told = true;
            }
            tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        }
    }

    /// Follows the document for as long as the server is there. `None` if it never was.
    async fn follow(&self, interval: Duration, seen: &mut Seen) -> Option<()> {
        let (changed, lost) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let connection = timeout(PATIENCE, self.connect(&changed, &lost)).await;
        let mut connection = connection.ok()?.ok()?;
        timeout(PATIENCE, connection.subscribe(&*self.key)).await.ok()?.ok()?;
        // Whatever was told before was perhaps not heard, so the first look is at the document.
        seen.version = None;
        let mut heard = false;
        loop {
            let found = timeout(PATIENCE, self.ask(&mut connection, seen.version)).await;
            let Ok(Ok(found)) = found else { return heard.then_some(()) };
            if !std::mem::replace(&mut heard, true) {
                observe::flags_heard(self.redis.name());
            }
            self.take(found, seen).await;
            tokio::select! {
                () = lost.notified() => return Some(()),
                // Who tells of a change need not have changed the number.
                () = changed.notified() => seen.version = None,
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    /// Asks for the number, and for the document if it is another than the one that is known.
    async fn ask(
        &self,
        connection: &mut MultiplexedConnection,
        known: Option<u64>,
    ) -> Result<Found, RedisError> {
        // What is no number says nothing, so that the document itself is looked at.
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        if known.is_some() {
            let get = redis::cmd("GET").arg(self.version_key()).to_owned();
            if number(get.query_async(connection).await?) == known {
                return Ok(Found::Same);
            }
        }
        // Both at once, so that they belong together.
        let mut get = redis::cmd("MGET");
        get.arg(self.version_key()).arg(&*self.key);
        let (version, text): (Option<String>, Option<String>) = get.query_async(connection).await?;
        let version = number(version);
        Ok(text.map_or(Found::Nothing, |text| Found::Document { version, text }))
    }

    /// Puts in force what was found, for as long as that takes: the server has answered.
    async fn take(&self, found: Found, seen: &mut Seen) {
        match found {
            Found::Same => {
                let feed = self.feed.clone();
                // It may have to be read again.
                let _ = tokio::task::spawn_blocking(move || feed.confirm()).await;
            }
            Found::Nothing => {
                // Whatever comes may have the number that was known.
                seen.version = None;
                if !std::mem::replace(&mut seen.absent, true) {
                    observe::flags_absent(self.redis.name());
                }
            }
            Found::Document { version, text } => {
                let feed = self.feed.clone();
                // A long document is work, and may have to be kept on disk. One that is refused has
                // been logged, and is not looked at again until it, or another document, changes.
                let offered = tokio::task::spawn_blocking(move || feed.offer(&text)).await;
                *seen = Seen { version: version.filter(|_| offered.is_ok()), absent: false };
            }
        }
    }

    async fn connect(
        &self,
        changed: &Arc<Notify>,
        lost: &Arc<Notify>,
    ) -> Result<MultiplexedConnection, RedisError> {
        let (changed, lost) = (Arc::clone(changed), Arc::clone(lost));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_push_sender(move |push: PushInfo| {
                match push.kind {
                    PushKind::Disconnection => lost.notify_one(),
                    PushKind::Message => changed.notify_one(),
                    _ => {}
                }
                Ok::<_, ()>(())
            });
        self.redis.client().get_multiplexed_async_connection_with_config(&config).await
    }
}

impl fmt::Debug for FlagsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlagsSource").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Why a document was not put in place.
#[derive(Debug)]
pub struct PublishError(Kind);

#[derive(Debug)]
enum Kind {
    Document(ConfigError),
    Server,
}

impl From<Kind> for PublishError {
    fn from(kind: Kind) -> Self {
        Self(kind)
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Document(_) => "the document cannot be used",
            Kind::Server => "the server does not take the document",
        })
    }
}

impl Error for PublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Kind::Document(error) => Some(error),
            Kind::Server => None,
        }
    }
}
