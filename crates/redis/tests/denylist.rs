//! Denylists that share a Redis which is well, frozen or dead.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod server;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bartizan_auth::{Clock, Denylist, Fault, Principal, Revocation, WhenStale};
use bartizan_redis::{NotShared, Redis, SharedDenylist};
use server::Server;
use tokio::time::{Instant, timeout};

const ISSUER: &str = "https://id.test";

/// One process of several.
struct Node {
    denylist: Denylist,
    shared: SharedDenylist,
}

impl Node {
    fn new(server: &Server) -> Self {
        Self::of(server, Denylist::new())
    }

    fn of(server: &Server, denylist: Denylist) -> Self {
        Self::at(&server.url(), denylist)
    }

    fn at(url: &str, denylist: Denylist) -> Self {
        let denylist = denylist.stale_after(Duration::from_secs(3), WhenStale::Refuse);
        let redis = Redis::new(url).unwrap().deadline(Duration::from_millis(500));
        let shared = SharedDenylist::new(redis, denylist.clone()).prefix("test").unwrap();
        shared.listen();
        shared.listen();
        Self { denylist, shared }
    }

    fn check(&self, jti: &str) -> Result<(), Fault> {
        let claims = [("jti".to_owned(), jti.into())].into_iter().collect();
        let caller = Principal::new("alice").with_issuer(ISSUER).with_claims(claims);
        self.denylist.check(&caller, Clock::system().unix())
    }

    /// Waits until it is so: what travels is there sooner or later.
    async fn comes_to(&self, jti: &str, expected: Result<(), Fault>) -> Duration {
        let start = Instant::now();
        let so = async {
            while self.check(jti) != expected {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let so = timeout(Duration::from_secs(60), so).await;
        assert!(so.is_ok(), "{jti}: {:?} is not {expected:?}", self.check(jti));
        start.elapsed()
    }
}

fn token(jti: &str) -> Revocation {
    Revocation::token(ISSUER, jti, Clock::system().unix() + Duration::from_secs(600))
}

#[tokio::test]
async fn what_one_revokes_all_deny_and_who_comes_later_too() {
    let server = Server::start();
    let (a, b) = (Node::new(&server), Node::new(&server));
    for node in [&a, &b] {
        node.comes_to("x", Ok(())).await;
    }
    let x = token("x");
    a.shared.deny(&x).await.unwrap();
    assert_eq!(a.check("x"), Err(Fault::Revoked));
    b.comes_to("x", Err(Fault::Revoked)).await;
    assert_eq!(b.check("y"), Ok(()));

    let late = Node::new(&server);
    late.comes_to("x", Err(Fault::Revoked)).await;
    b.shared.pardon(&x).await.unwrap();
    a.comes_to("x", Ok(())).await;
    late.comes_to("x", Ok(())).await;
}

#[tokio::test]
async fn what_was_not_heard_is_read_within_a_pulse() {
    let server = Server::start();
    let node = Node::new(&server);
    node.comes_to("x", Ok(())).await;
    // As another process would leave it whose word was lost.
    let until = Clock::system().unix().as_secs() + 600;
    let text = format!(r#"{{"kind":"token","issuer":"{ISSUER}","id":"x","until":{until}}}"#);
    server.say(&format!("ZADD {{test}}:auth:revoked {until} '{text}'"));
    server.say("INCR {test}:auth:revoked:changes");
    let took = node.comes_to("x", Err(Fault::Revoked)).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_pardon_that_was_not_heard_is_made_good_within_a_pulse() {
    let server = Server::start();
    let (a, b) = (Node::new(&server), Node::new(&server));
    let until = Clock::system().unix() + Duration::from_secs(600);
    let logout = |secs| Revocation::subject(ISSUER, "bob", Duration::from_secs(secs), until);
    let bob = Principal::new("bob").with_issuer(ISSUER);
    let x = token("x");
    for revocation in [&x, &token("y"), &logout(1), &logout(2)] {
        a.shared.deny(revocation).await.unwrap();
    }
    b.comes_to("x", Err(Fault::Revoked)).await;
    b.comes_to("y", Err(Fault::Revoked)).await;
    // As other processes would leave it whose words were lost.
    let lost = |what: &str, revocation: &Revocation| {
        let text = serde_json::to_string(revocation).unwrap();
        let (to, from) =
            if what == "pardon" { ("pardoned", "revoked") } else { ("revoked", "pardoned") };
        let secs = revocation.until().as_secs();
        server.say(&format!("ZADD {{test}}:auth:{to} {secs} '{text}'"));
        server.say(&format!("ZREM {{test}}:auth:{from} '{text}'"));
        server.say("INCR {test}:auth:revoked:changes");
    };
    lost("pardon", &logout(1));
    lost("pardon", &x);
    let took = b.comes_to("x", Ok(())).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    a.comes_to("x", Ok(())).await;
    // Nothing else is pardoned, and of two revocations of one subject the other holds.
    for node in [&a, &b] {
        assert_eq!(node.check("y"), Err(Fault::Revoked));
        let now = Clock::system().unix();
        assert_eq!(node.denylist.check(&bob, now), Err(Fault::Revoked));
    }
    // What is revoked after it was pardoned is revoked.
    lost("deny", &x);
    b.comes_to("x", Err(Fault::Revoked)).await;
    b.shared.pardon(&x).await.unwrap();
    a.comes_to("x", Ok(())).await;
    // Who comes later hears of the revocations that are left.
    let late = Node::new(&server);
    late.comes_to("y", Err(Fault::Revoked)).await;
    assert_eq!(late.check("x"), Ok(()));
}

#[tokio::test]
async fn a_pardon_takes_back_no_other_revocation_of_the_same_subject() {
    let server = Server::start();
    let (a, b) = (Node::new(&server), Node::new(&server));
    let until = Clock::system().unix() + Duration::from_secs(600);
    let logout = |secs| Revocation::subject(ISSUER, "bob", Duration::from_secs(secs), until);
    let check = |node: &Node, issued: u64| {
        let claims = [("iat".to_owned(), issued.into())].into_iter().collect();
        let bob = Principal::new("bob").with_issuer(ISSUER).with_claims(claims);
        node.denylist.check(&bob, Clock::system().unix())
    };
    let is_denied = |node: &Node, issued: u64| check(node, issued) == Err(Fault::Revoked);
    for node in [&a, &b] {
        node.comes_to("x", Ok(())).await;
    }
    // What each of them denies of tokens issued at 1, 2 and 3, once the mark has come after it.
    let mut marks = 0;
    let mut all = async |expected: [bool; 3]| {
        let mark = format!("mark-{marks}");
        marks += 1;
        a.shared.deny(&token(&mark)).await.unwrap();
        for node in [&a, &b] {
            node.comes_to(&mark, Err(Fault::Revoked)).await;
            let denied = || [1, 2, 3].map(|issued| is_denied(node, issued));
            let so = async {
                while denied() != expected {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let so = timeout(Duration::from_secs(10), so).await;
            assert!(so.is_ok(), "{:?} is not {expected:?}", denied());
        }
    };
    for secs in [1, 2, 3] {
        a.shared.deny(&logout(secs)).await.unwrap();
    }
    all([true, true, true]).await;
    a.shared.pardon(&logout(1)).await.unwrap();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let is_let_in = [&a, &b].map(|node| check(node, 1).is_ok());
        assert_eq!(is_let_in, [false; 2], "by the others, at no time less");
    }
    b.shared.pardon(&logout(3)).await.unwrap();
    all([true, true, false]).await;
    a.shared.pardon(&logout(2)).await.unwrap();
    all([false, false, false]).await;
}

#[tokio::test]
async fn a_server_that_lost_all_is_read_anew_though_it_counts_to_the_same_number() {
    let mut server = Server::start();
    let node = Node::new(&server);
    node.comes_to("x", Ok(())).await;
    node.shared.deny(&token("x")).await.unwrap();
    // Away for so long that it is back some time before it is found again.
    server.kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.restart();
    let until = Clock::system().unix().as_secs() + 600;
    let text = format!(r#"{{"kind":"token","issuer":"{ISSUER}","id":"y","until":{until}}}"#);
    server.say(&format!("ZADD {{test}}:auth:revoked {until} '{text}'"));
    server.say("INCR {test}:auth:revoked:changes");
    node.comes_to("y", Err(Fault::Revoked)).await;
    assert_eq!(node.check("x"), Err(Fault::Revoked));
}

#[tokio::test]
async fn a_revocation_without_room_is_tried_again_and_the_list_is_not_fresh_meanwhile() {
    let server = Server::start();
    let (a, small) = (Node::new(&server), Node::of(&server, Denylist::new().capacity(1)));
    let (x, y) = (token("x"), token("y"));
    for node in [&a, &small] {
        node.comes_to("z", Ok(())).await;
    }
    a.shared.deny(&x).await.unwrap();
    small.comes_to("x", Err(Fault::Revoked)).await;
    a.shared.deny(&y).await.unwrap();
    small.comes_to("z", Err(Fault::Unavailable)).await;
    a.shared.pardon(&x).await.unwrap();
    // By the next reading, ten seconds after the one before, and not by the second.
    let took = small.comes_to("z", Ok(())).await;
    assert!(took < Duration::from_secs(13), "{took:?}");
    assert_eq!((small.check("x"), small.check("y")), (Ok(()), Err(Fault::Revoked)));
}

#[tokio::test]
async fn a_revocation_that_was_not_shared_is_not_lifted_by_an_earlier_pardon() {
    let server = Server::start();
    let (a, b) = (Node::new(&server), Node::new(&server));
    let until = Clock::system().unix() + Duration::from_secs(600);
    let logout = |secs| Revocation::subject(ISSUER, "bob", Duration::from_secs(secs), until);
    let check = |issued: u64| {
        let claims = [("iat".to_owned(), issued.into())].into_iter().collect();
        let bob = Principal::new("bob").with_issuer(ISSUER).with_claims(claims);
        a.denylist.check(&bob, Clock::system().unix())
    };
    for secs in [1, 2] {
        a.shared.deny(&logout(secs)).await.unwrap();
        a.shared.pardon(&logout(secs)).await.unwrap();
    }
    let x = token("x");
    a.shared.deny(&x).await.unwrap();
    b.comes_to("x", Err(Fault::Revoked)).await;
    timeout(Duration::from_secs(20), async {
        while check(1).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();

    // The same as when the server does not take it.
    a.denylist.deny(&logout(3)).unwrap();
    // All is read again, and it is known that it was.
    b.shared.pardon(&x).await.unwrap();
    a.comes_to("x", Ok(())).await;
    assert_eq!((check(3), check(4)), (Err(Fault::Revoked), Ok(())));
}

#[tokio::test]
async fn the_list_is_fresh_while_it_is_read_again_for_a_pardon() {
    let server = Server::start();
    let is_slow = Arc::new(AtomicBool::new(false));
    let url = slow_to_scan(server.port(), &is_slow);
    let (a, b) = (Node::new(&server), Node::at(&url, Denylist::new()));
    b.comes_to("z", Ok(())).await;
    let x = token("x");
    a.shared.deny(&x).await.unwrap();
    b.comes_to("x", Err(Fault::Revoked)).await;

    is_slow.store(true, SeqCst);
    a.shared.pardon(&x).await.unwrap();
    while b.check("x") != Ok(()) {
        assert_eq!(b.check("z"), Ok(()));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The URL of a proxy that holds each page of a list back for 1.8 seconds, once it is slow.
fn slow_to_scan(port: u16, is_slow: &Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let is_slow = Arc::clone(is_slow);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut asks, mut server) =
                (client.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
            let (mut hears, mut answers) = (asks.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut answers, &mut hears));
            let is_slow = Arc::clone(&is_slow);
            thread::spawn(move || {
                let mut asked = [0; 4096];
                while let Ok(len @ 1..) = asks.read(&mut asked) {
                    let is_page = asked[..len].windows(5).any(|word| word == b"ZSCAN");
                    if is_page && is_slow.load(SeqCst) {
                        thread::sleep(Duration::from_millis(1800));
                    }
                    if server.write_all(&asked[..len]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn garbage_is_passed_over() {
    let server = Server::start();
    let node = Node::new(&server);
    node.comes_to("x", Ok(())).await;
    for said in ["garbage", "1", "x deny {}", "7 deny garbage", "8 pardon garbage"] {
        server.say(&format!("PUBLISH {{test}}:auth:revocations '{said}'"));
    }
    server.say("ZADD {test}:auth:revoked 9999999999 garbage");
    server.say("INCR {test}:auth:revoked:changes");
    let other = Node::new(&server);
    other.shared.deny(&token("x")).await.unwrap();
    node.comes_to("x", Err(Fault::Revoked)).await;
}

#[tokio::test]
async fn an_outage_is_told_and_ends_by_itself() {
    let mut server = Server::start();
    let (a, b) = (Node::new(&server), Node::new(&server));
    for node in [&a, &b] {
        node.comes_to("x", Ok(())).await;
    }
    a.shared.deny(&token("x")).await.unwrap();
    b.comes_to("x", Err(Fault::Revoked)).await;

    server.freeze();
    let error = a.shared.deny(&token("y")).await.unwrap_err();
    assert_eq!(error, NotShared::Unreachable);
    // It holds where it was made, until nothing is known for sure.
    assert!(a.check("y").is_err());
    b.comes_to("z", Err(Fault::Unavailable)).await;
    server.thaw();
    b.comes_to("z", Ok(())).await;
    assert_eq!(b.check("x"), Err(Fault::Revoked));

    server.restart();
    for node in [&a, &b] {
        node.comes_to("z", Ok(())).await;
        // The server has forgotten; they have not.
        assert_eq!(node.check("x"), Err(Fault::Revoked));
    }
    b.shared.deny(&token("w")).await.unwrap();
    a.comes_to("w", Err(Fault::Revoked)).await;
}

#[tokio::test]
async fn prefixes_are_checked_and_debug_shows_no_names() {
    let redis = Redis::new("redis://127.0.0.1").unwrap();
    let shared = SharedDenylist::new(redis, Denylist::new());
    for prefix in ["", "a b", "{a}"] {
        assert!(shared.clone().prefix(prefix).is_err(), "{prefix}");
    }
    assert!(format!("{shared:?}").contains("len"));
}
