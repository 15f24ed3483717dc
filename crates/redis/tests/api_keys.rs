//! API keys that processes share over a Redis which is well, frozen or dead.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod server;

use std::time::Duration;

use bartizan_auth::{
    Clock, Fault, IssuedKey, IssuedKeys, KeyRecord, Peppers, Principal, Scheme, Verdict,
};
use bartizan_redis::{KeyStore, NotShared, Redis};
use server::Server;
use tokio::time::timeout;

/// One process of several.
struct Node {
    store: KeyStore,
    keys: IssuedKeys,
}

impl Node {
    fn new(server: &Server) -> Self {
        let redis = Redis::new(&server.url()).unwrap().deadline(Duration::from_millis(500));
        let store = KeyStore::new(redis).prefix("test").unwrap();
        store.listen();
        Self { keys: IssuedKeys::new(store.clone(), "bz", "live"), store }
    }

    async fn ask(&self, key: &IssuedKey) -> Result<(), Fault> {
        let verdict = self.keys.verify(key.reveal().as_bytes(), Clock::system().unix());
        verdict.settled().await.map(drop)
    }

    /// Whether it is known without asking.
    fn knows(&self, key: &IssuedKey) -> bool {
        let verdict = self.keys.verify(key.reveal().as_bytes(), Clock::system().unix());
        matches!(verdict, Verdict::Now(_))
    }

    /// Waits until it is so: what travels is there sooner or later.
    async fn comes_to(&self, key: &IssuedKey, expected: Result<(), Fault>) {
        let so = async {
            while self.ask(key).await != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(Duration::from_secs(20), so).await.is_ok(), "{expected:?}");
    }

    async fn comes_to_know(&self, key: &IssuedKey) {
        let so = async {
            while !self.knows(key) {
                let _ = self.ask(key).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(Duration::from_secs(20), so).await.is_ok());
    }
}

fn record(key: &IssuedKey) -> KeyRecord {
    KeyRecord::new(key, &Peppers::none(), Principal::new("billing"))
}

#[tokio::test]
async fn what_one_puts_and_removes_all_know() {
    let server = Server::start();
    let (a, b) = (Node::new(&server), Node::new(&server));
    let key = IssuedKey::generate("bz", "live").unwrap();
    for node in [&a, &b] {
        node.comes_to(&key, Err(Fault::UnknownKey)).await;
        // That there is none is remembered too.
        node.comes_to_know(&key).await;
    }
    a.store.put(key.id(), &record(&key)).await.unwrap();
    for node in [&a, &b] {
        node.comes_to(&key, Ok(())).await;
        node.comes_to_know(&key).await;
    }
    let next = key.again().unwrap();
    b.store.put(key.id(), &record(&key).rotate(&next, &Peppers::none())).await.unwrap();
    a.comes_to(&next, Ok(())).await;
    a.comes_to(&key, Ok(())).await;
    b.store.remove(key.id()).await.unwrap();
    for node in [&a, &b] {
        node.comes_to(&key, Err(Fault::UnknownKey)).await;
    }
}

#[tokio::test]
async fn what_was_not_heard_is_noticed_within_a_pulse() {
    let server = Server::start();
    let node = Node::new(&server);
    let key = IssuedKey::generate("bz", "live").unwrap();
    node.comes_to(&key, Err(Fault::UnknownKey)).await;
    node.comes_to_know(&key).await;
    // As another process would leave it whose word was lost.
    server.say(&format!("SET {{test}}:auth:key:{} '{}'", key.id(), record(&key).to_json()));
    server.say("INCR {test}:auth:keys:changes");
    node.comes_to(&key, Ok(())).await;
    server.say("PUBLISH {test}:auth:keys garbage");
    server.say(&format!("SET {{test}}:auth:key:{} garbage", key.id()));
    server.say("INCR {test}:auth:keys:changes");
    node.comes_to(&key, Err(Fault::Unavailable)).await;
}

#[tokio::test]
async fn an_outage_is_503_for_whom_is_not_remembered_and_ends_by_itself() {
    let mut server = Server::start();
    let node = Node::new(&server);
    let key = IssuedKey::generate("bz", "live").unwrap();
    node.store.put(key.id(), &record(&key)).await.unwrap();
    node.comes_to(&key, Ok(())).await;
    server.freeze();
    let other = IssuedKey::generate("bz", "live").unwrap();
    assert_eq!(node.ask(&other).await, Err(Fault::Unavailable));
    let error = node.store.put(other.id(), &record(&other)).await.unwrap_err();
    assert_eq!(error, NotShared::Unreachable);
    server.thaw();
    node.comes_to(&key, Ok(())).await;
    server.restart();
    // The server has forgotten, and so have they.
    node.comes_to(&key, Err(Fault::UnknownKey)).await;
    assert!(format!("{:?}", node.store).contains("remembered"));
    assert!(node.store.clone().prefix("{a}").is_err());
}
