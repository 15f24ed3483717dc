use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bartizan_core::{ConfigError, Engine, Mode, Snapshot, Switch};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, ProtocolVersion};
use redis::{Cmd, PushKind, RedisError, ServerErrorKind, Value};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::breaker::Breaker;
use crate::observe::{self, Figures};
use crate::script::Script;
use crate::settings::{self, Settings};

/// One Redis or Valkey server, for all the layers that share state over it. Clones share one
/// connection.
///
/// See the [crate docs](crate) for what happens when the server is slow or away.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    client: Client,
    /// In nanoseconds.
    deadline: AtomicU64,
    switch: Switch,
    link: Mutex<Link>,
    /// Told when an attempt to connect has ended, either way.
    attempted: Notify,
    figures: Figures,
}

/// The connection, and what is known of the server at its other end.
#[derive(Default)]
struct Link {
    connection: Option<MultiplexedConnection>,
    /// Tells connections apart: what befalls an earlier one says nothing of this one.
    generation: u64,
    breaker: Breaker,
    /// Whether a task is making a connection.
    mending: bool,
}

/// What a trip finds.
enum State<'a> {
    Away,
    /// A connection is being made, for the first time or since the last one was lost.
    Coming(Notified<'a>),
    Here(MultiplexedConnection),
}

/// Why a trip brought nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    Garbled,
    Late,
    Unreachable,
}

/// No request waits for as long as this: it is for the task that connects.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

impl Redis {
    /// Names a server by its URL, as `redis://:password@host:6379/0` or `redis+unix:///path`.
    /// Connects when it is first asked for something, on the Tokio runtime that it is asked on.
    ///
    /// # Errors
    ///
    /// If this is no URL of Redis, or asks for TLS, which is left to a proxy beside the process.
    /// The error does not repeat the URL.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        let unusable = |problem: &'static str| {
            ConfigError::new("redis.url", problem, "write it as `redis://:password@host:6379/0`")
        };
        if url.starts_with("rediss:") || url.starts_with("valkeys:") {
            return Err(unusable("asks for TLS, which is left to a proxy beside the process"));
        }
        let info = url.into_connection_info().map_err(|_| unusable("is no URL of Redis"))?;
        if !info.addr().is_supported() {
            return Err(unusable("is of a kind that this build cannot connect to"));
        }
        // The third protocol tells at once when a connection is lost.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
        let client = Client::open(info).map_err(|_| unusable("cannot be connected to"))?;
        Ok(Self::build("default".into(), client, settings::DEADLINE))
    }

    fn build(name: Arc<str>, client: Client, deadline: Duration) -> Self {
        Self(Arc::new(Inner {
            name,
            client,
            deadline: AtomicU64::new(settings::nanos(deadline)),
            switch: Switch::default(),
            link: Mutex::default(),
            attempted: Notify::new(),
            figures: Figures::default(),
        }))
    }

    /// Names the server, for operators. Before it is cloned or used: of one that is shared, this
    /// makes another.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self::build(name.into(), self.0.client.clone(), self.0.deadline())
    }

    /// Sets how long any request waits for an answer, 20 ms by default; at least 1 ms, and at most
    /// a minute. Kept to within the millisecond or two that timers take.
    ///
    /// Before it is cloned or used: of one that is shared, this makes another.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        let deadline = deadline.clamp(settings::SHORTEST, settings::LONGEST);
        Self::build(Arc::clone(&self.0.name), self.0.client.clone(), deadline)
    }

    /// Runs a script within the deadline, and returns what its answer lists.
    pub(crate) async fn run(&self, script: &Script, run: &Cmd) -> Result<Vec<Value>, Fault> {
        let answer = self.run_uncounted(script, run).await;
        self.0.figures.count(answer.as_ref().err().copied());
        answer
    }

    async fn run_uncounted(&self, script: &Script, run: &Cmd) -> Result<Vec<Value>, Fault> {
        if self.0.switch.setting().0 == Mode::Off || Handle::try_current().is_err() {
            return Err(Fault::Unreachable);
        }
        let (state, mut generation) = self.0.state();
        if matches!(state, State::Away) {
            return Err(Fault::Unreachable);
        }
        let trip = async {
            let connection = match state {
                State::Away => None,
                State::Coming(attempted) => {
                    attempted.await;
                    // Told by the attempt, which had the lock just now.
                    let link = self.0.link.lock();
                    generation = link.generation;
                    link.connection.clone().filter(|_| !link.breaker.is_open())
                }
                State::Here(connection) => Some(connection),
            };
            ask(connection.ok_or(Fault::Unreachable)?, script, run).await
        };
        let answer = match tokio::time::timeout(self.0.deadline(), trip).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::Late),
        };
        self.0.report(generation, answer.as_ref().err().copied());
        answer
    }
}

async fn ask(
    mut connection: MultiplexedConnection,
    script: &Script,
    run: &Cmd,
) -> Result<Vec<Value>, Fault> {
    let mut answer = connection.send_packed_command(run).await;
    if is_unknown(&answer) {
        answer = connection.send_packed_command(&script.run_by_text(run)).await;
    }
    match answer {
        Ok(Value::Array(values)) => Ok(values),
        Err(error) if error.kind() == ErrorKind::Io => Err(Fault::Unreachable),
        Ok(_) | Err(_) => Err(Fault::Garbled),
    }
}

fn is_unknown(answer: &Result<Value, RedisError>) -> bool {
    match answer {
        Ok(Value::ServerError(error)) => error.kind() == Some(ServerErrorKind::NoScript),
        Err(error) => error.kind() == ErrorKind::Server(ServerErrorKind::NoScript),
        Ok(_) => false,
    }
}

impl Inner {
    fn deadline(&self) -> Duration {
        Duration::from_nanos(self.deadline.load(Relaxed))
    }

    /// Where things stand, and with which connection.
    fn state(self: &Arc<Self>) -> (State<'_>, u64) {
        let mut link = self.link.lock();
        let state = match &link.connection {
            _ if link.breaker.is_open() => State::Away,
            Some(connection) => State::Here(connection.clone()),
            None => State::Coming(self.attempted.notified()),
        };
        if !matches!(state, State::Here(_)) {
            // A task does so already, unless there is a first time, or its runtime has ended.
            self.mend(&mut link);
        }
        (state, link.generation)
    }

    /// Takes note of how a trip over a connection went.
    fn report(self: &Arc<Self>, generation: u64, fault: Option<Fault>) {
        let mut link = self.link.lock();
        if link.generation != generation {
            return;
        }
        let Some(fault) = fault else { return link.breaker.answered() };
        if link.breaker.failed() {
            observe::away(&self.name, fault);
            self.mend(&mut link);
        }
        if fault == Fault::Unreachable {
            self.replace(&mut link);
        }
    }

    /// The connection has ended, whoever noticed.
    fn lost(self: &Arc<Self>, generation: u64) {
        let mut link = self.link.lock();
        if link.generation == generation {
            self.replace(&mut link);
        }
    }

    fn replace(self: &Arc<Self>, link: &mut Link) {
        link.connection = None;
        self.mend(link);
    }

    /// Has a connection made, by the one task that does so.
    fn mend(self: &Arc<Self>, link: &mut Link) {
        if link.mending {
            return;
        }
        // Without a runtime, the next request that has one sees to it.
        if let Ok(runtime) = Handle::try_current() {
            link.mending = true;
            runtime.spawn(Mending(Arc::downgrade(self)).run());
        }
    }

    /// One attempt to connect. True if it ends the task.
    async fn attempt(self: Arc<Self>) -> bool {
        let generation = self.link.lock().generation + 1;
        let attempt = connect(&self.client, Arc::downgrade(&self), generation);
        let attempt = tokio::time::timeout(CONNECT_DEADLINE, attempt).await;
        let mut link = self.link.lock();
        let made = match attempt {
            Ok(Ok(connection)) => {
                link.connection = Some(connection);
                link.generation = generation;
                link.mending = false;
                if link.breaker.connected() {
                    observe::back(&self.name);
                }
                true
            }
            Ok(Err(error)) => {
                if link.breaker.refused() {
                    observe::unconnected(&self.name, error.category());
                }
                false
            }
            Err(_) => {
                if link.breaker.refused() {
                    observe::unconnected(&self.name, "no greeting in time");
                }
                false
            }
        };
        drop(link);
        self.attempted.notify_waiters();
        made
    }
}

async fn connect(
    client: &Client,
    inner: Weak<Inner>,
    generation: u64,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_push_sender(move |push: redis::PushInfo| {
            if push.kind == PushKind::Disconnection
                && let Some(inner) = inner.upgrade()
            {
                inner.lost(generation);
            }
            Ok::<_, ()>(())
        });
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// The task that makes a connection. Ends when it has one, or when nobody could use it any more.
struct Mending(Weak<Inner>);

impl Mending {
    async fn run(mut self) {
        loop {
            let Some(inner) = self.0.upgrade() else { return };
            let wait = inner.link.lock().breaker.wait(fastrand::f64());
            drop(inner);
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let Some(inner) = self.0.upgrade() else { return };
            if inner.attempt().await {
                // Another may be at work already: this one has nothing to clear.
                self.0 = Weak::new();
                return;
            }
        }
    }
}

impl Drop for Mending {
    /// The runtime has ended before the task did: another may begin.
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.link.lock().mending = false;
            inner.attempted.notify_waiters();
        }
    }
}

impl Engine for Redis {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn kind(&self) -> &'static str {
        "redis"
    }

    /// Off, the server is not asked: every layer does as if it were away. There is no shadow: any
    /// other mode is as good as `Enforce`.
    fn switch(&self) -> &Switch {
        &self.0.switch
    }

    fn snapshot(&self) -> Snapshot {
        let away = self.0.link.lock().breaker.is_open();
        let snapshot = Snapshot::new(&*self.0.name, self.kind(), self.0.switch.setting().0);
        self.0.figures.add_to(snapshot, away)
    }

    fn current_settings(&self) -> serde_json::Value {
        let deadline = Duration::from_nanos(self.0.deadline.load(Relaxed));
        serde_json::to_value(Settings::of(deadline)).unwrap_or_default()
    }

    /// Takes the deadline as JSON: `{"deadline_ms": 20}`.
    fn apply(&self, settings: serde_json::Value) -> Result<(), ConfigError> {
        let deadline = Settings::from_json(settings)?.deadline();
        self.0.deadline.store(settings::nanos(deadline), Relaxed);
        observe::applied(&self.0.name);
        Ok(())
    }
}

impl Redis {
    /// For connections of a kind that trips do not use.
    pub(crate) fn client(&self) -> Client {
        self.0.client.clone()
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.0.figures
    }
}

/// Says nothing of the URL, which holds a password.
impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("name", &self.0.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_used_is_told_why_and_not_repeated() {
        let problem = |url: &str| Redis::new(url).map(drop).unwrap_err().to_string();
        for url in ["", "redis//:secret@host", "http://:secret@host", "redis://:secret@host:port"] {
            assert!(problem(url).contains("is no URL of Redis"), "{url}");
            assert!(!problem(url).contains("secret"));
        }
        assert!(problem("rediss://:secret@host").contains("asks for TLS"));
        assert!(Redis::new("redis://:secret@127.0.0.1:6379/3").is_ok());
    }
}
