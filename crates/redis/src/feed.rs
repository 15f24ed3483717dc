//! What is kept up to date from a channel, whatever becomes of the connection.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError, Value};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How often the server is asked whether anything was missed.
const PULSE: Duration = Duration::from_secs(1);
/// How long it has to say all that it knows.
const LOAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long before another connection is tried.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Who listens.
pub(crate) trait Follower: Send + Sync + 'static {
    /// What to listen to.
    fn channel(&self) -> String;

    /// Catches up with whatever was not heard: when the channel begins to be listened to, and then
    /// once a second.
    fn catch_up(
        &self,
        connection: MultiplexedConnection,
    ) -> impl Future<Output = Result<(), RedisError>> + Send;

    /// Takes what is said on the channel.
    fn hear(&self, said: &[u8]);

    /// The connection is lost, and will be made anew.
    fn deaf(&self);
}

/// Has `follower` listen, by one task, which ends with it.
pub(crate) fn follow<F: Follower>(runtime: &Handle, follower: &Arc<F>, client: redis::Client) {
    runtime.spawn(run(Arc::downgrade(follower), client));
}

async fn run<F: Follower>(follower: Weak<F>, client: redis::Client) {
    let mut wait = FIRST_WAIT;
    while follower.strong_count() > 0 {
        let listened = listen(&follower, &client).await.is_some();
        let Some(follower) = follower.upgrade() else { return };
        if listened {
            wait = FIRST_WAIT;
            follower.deaf();
        }
        drop(follower);
        tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        wait = wait.saturating_mul(2).min(LONGEST_WAIT);
    }
}

/// Listens for as long as the server is there. `None` if it never was.
async fn listen<F: Follower>(follower: &Weak<F>, client: &redis::Client) -> Option<()> {
    let lost = Arc::new(Notify::new());
    let connected = connect(follower.clone(), Arc::clone(&lost), client);
    let mut connection = timeout(PULSE, connected).await.ok()?.ok()?;
    let channel = follower.upgrade()?.channel();
    timeout(PULSE, connection.subscribe(channel)).await.ok()?.ok()?;
    catch_up(follower, &connection).await?;
    loop {
        let is_lost = timeout(PULSE, lost.notified()).await.is_ok();
        if is_lost || catch_up(follower, &connection).await.is_none() {
            return Some(());
        }
    }
}

async fn catch_up<F: Follower>(
    follower: &Weak<F>,
    connection: &MultiplexedConnection,
) -> Option<()> {
    let follower = follower.upgrade()?;
    timeout(LOAD_DEADLINE, follower.catch_up(connection.clone())).await.ok()?.ok()
}

async fn connect<F: Follower>(
    follower: Weak<F>,
    lost: Arc<Notify>,
    client: &redis::Client,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_push_sender(move |push: PushInfo| {
            match (push.kind, &push.data[..]) {
                (PushKind::Disconnection, _) => lost.notify_one(),
                (PushKind::Message, [_, Value::BulkString(said)]) => {
                    if let Some(follower) = follower.upgrade() {
                        follower.hear(said);
                    }
                }
                _ => {}
            }
            Ok::<_, ()>(())
        });
    client.get_multiplexed_async_connection_with_config(&config).await
}
