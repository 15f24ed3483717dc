//! Schemes, alone and combined: at once and later.

#![cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bartizan_auth::{
    AllOf, ApiKeys, AuthLayer, Authenticator, Engine, Fault, Introspection, IssuedKey, IssuedKeys,
    KeyRecord, KeySet, KeyTable, Peppers, Principal, Scheme, Settings, Verdict,
};
use common::issuer::{Issuer, Keys as Published, Time, client, opaque};
use common::{KEY, Signer, ask, bearer, jwks, status};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use serde_json::json;
use tower::{Layer, Service, ServiceExt};

const OK: StatusCode = StatusCode::OK;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// Says what its credential asks it to, at once or after a while.
#[derive(Debug)]
struct Oracle(&'static str);

impl Scheme for Oracle {
    fn field(&self) -> &HeaderName {
        static FIELDS: [HeaderName; 2] =
            [HeaderName::from_static("x-first"), HeaderName::from_static("x-second")];
        FIELDS.iter().find(|field| *field == self.0).unwrap()
    }

    fn credential<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]> {
        Some(value.as_bytes())
    }

    fn verify(&self, credential: &[u8], _: Duration) -> Verdict {
        let text = str::from_utf8(credential).unwrap().to_owned();
        let (when, who) = text.split_once(' ').unwrap();
        let answer = match who {
            "bad" => Err(Fault::UnknownKey),
            "away" => Err(Fault::Unavailable),
            who => Ok(Principal::new(who)),
        };
        if when == "now" {
            return answer.into();
        }
        Verdict::later(async move {
            tokio::task::yield_now().await;
            answer
        })
    }

    fn name(&self) -> &'static str {
        "Oracle"
    }
}

async fn who(auth: &Authenticator, fields: &[(&str, &str)]) -> String {
    let request = fields
        .iter()
        .fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
    let response = ask(auth, request).await;
    match response.status() {
        OK => response.headers()["who"].to_str().unwrap().to_owned(),
        status => status.as_str().to_owned(),
    }
}

#[tokio::test]
async fn any_of_takes_the_first_that_knows_at_once_or_later() {
    // Two in one field, and one in another.
    let auth = Authenticator::new("api")
        .scheme(Oracle("x-first"))
        .scheme(ApiKeys::new().header(HeaderName::from_static("x-first")))
        .scheme(Oracle("x-second"));
    for when in ["now", "later"] {
        for (who_is, expected) in [("alice", "alice"), ("bad", "401"), ("away", "503")] {
            let credential = format!("{when} {who_is}");
            assert_eq!(who(&auth, &[("x-first", &credential)]).await, expected);
            assert_eq!(who(&auth, &[("x-second", &credential)]).await, expected);
        }
        let twice = [("x-first", "now a"), ("x-second", "now b")];
        assert_eq!(who(&auth, &twice).await, "400");
    }
    assert_eq!(who(&auth, &[]).await, "401");
    let keys = ApiKeys::new().header(HeaderName::from_static("x-first"));
    keys.insert("later bad with a long key", Principal::new("by key")).unwrap();
    let auth = Authenticator::new("api").scheme(keys.clone()).scheme(Oracle("x-first"));
    assert_eq!(who(&auth, &[("x-first", "later bad with a long key")]).await, "by key");
    let auth = Authenticator::new("api").scheme(Oracle("x-first")).scheme(keys);
    assert_eq!(who(&auth, &[("x-first", "later bad")]).await, "401");
}

#[tokio::test]
async fn a_credential_that_is_revoked_is_shown_to_no_other_scheme() {
    use bartizan_auth::{Clock, Denylist, Revocation};

    let clock = Clock::manual();
    let denylist = Denylist::new().clock(clock.clone());
    let keys = ApiKeys::new().header(HeaderName::from_static("x-first"));
    for credential in ["now known by both of the schemes", "later known by both of the schemes"] {
        keys.insert(credential, Principal::new("by key")).unwrap();
    }
    let auth = Authenticator::new("api")
        .scheme(Oracle("x-first"))
        .scheme(keys)
        .clock(clock.clone())
        .denylist(denylist.clone());
    let (now, until) = (clock.unix(), clock.unix() + Duration::from_secs(60));
    let both = ["now known by both of the schemes", "later known by both of the schemes"];
    for credential in both {
        assert_eq!(who(&auth, &[("x-first", credential)]).await, "known by both of the schemes");
    }
    denylist.deny(&Revocation::subject("", "known by both of the schemes", now, until)).unwrap();
    for credential in both {
        assert_eq!(who(&auth, &[("x-first", credential)]).await, "401", "{credential}");
    }
    assert_eq!(auth.snapshot().value("bartizan_auth_denials_total", "revoked"), Some(2.0));
}

#[tokio::test]
async fn all_of_wants_every_credential_and_takes_the_first_principal() {
    let both = AllOf::new(Oracle("x-first")).and(Oracle("x-second"));
    let auth = Authenticator::new("api").scheme(both);
    for (first, second, expected) in [
        ("now alice", "now app", "alice"),
        ("later alice", "now app", "alice"),
        ("now alice", "later app", "alice"),
        ("later alice", "later app", "alice"),
        ("now alice", "now bad", "401"),
        ("later alice", "later bad", "401"),
        ("now bad", "now app", "401"),
        ("later bad", "now app", "401"),
        ("now alice", "later away", "503"),
    ] {
        let fields = [("x-first", first), ("x-second", second)];
        assert_eq!(who(&auth, &fields).await, expected, "{first}, {second}");
    }
    assert_eq!(who(&auth, &[("x-first", "now alice")]).await, "401", "half of it is not enough");
    // Beside a single one.
    let keys = ApiKeys::new();
    keys.insert(KEY, Principal::new("key")).unwrap();
    let auth = auth.scheme(keys);
    assert_eq!(who(&auth, &[("x-api-key", KEY)]).await, "key");
    let three = [("x-first", "now a"), ("x-second", "now b"), ("x-api-key", KEY)];
    assert_eq!(who(&auth, &three).await, "400");
    assert_eq!(who(&auth, &[("x-first", "now a"), ("x-api-key", KEY)]).await, "400");
}

#[tokio::test]
async fn optional_or_failed_lets_bad_credentials_pass_without_a_principal() {
    let auth = Authenticator::new("api")
        .scheme(Oracle("x-first"))
        .settings(Settings::default().optional_or_failed(true));
    for (credential, expected) in [
        ("now alice", "alice"),
        ("now bad", "nobody"),
        ("later bad", "nobody"),
        ("now away", "503"),
        ("later away", "503"),
    ] {
        assert_eq!(who(&auth, &[("x-first", credential)]).await, expected, "{credential}");
    }
    assert_eq!(who(&auth, &[]).await, "nobody");
    assert_eq!(who(&auth, &[("x-first", "now a"), ("x-first", "now b")]).await, "400");
    let optional = auth.settings(Settings::default().optional(true));
    assert_eq!(who(&optional, &[]).await, "nobody");
    assert_eq!(who(&optional, &[("x-first", "later bad")]).await, "401");
}

/// Panics if it is called without having been made ready.
#[derive(Debug)]
struct Strict {
    ready: bool,
    calls: Arc<AtomicU64>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl Service<Request<Body>> for Strict {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(self.ready, "called without having been made ready");
        self.ready = false;
        self.calls.fetch_add(1, SeqCst);
        std::future::ready(Ok(Response::new(Body::empty())))
    }
}

#[tokio::test]
async fn the_readied_instance_is_called_also_after_a_wait_and_dropping_one_leaves_nothing() {
    let auth = Authenticator::new("api").scheme(Oracle("x-first"));
    let strict = Strict { ready: false, calls: Arc::default() };
    let mut service = AuthLayer::new(auth.clone()).layer(strict.clone());
    let request = |credential: &str| {
        Request::get("/").header("x-first", credential).body(Body::empty()).unwrap()
    };
    for credential in ["later alice", "now alice", "later bad", "later alice"] {
        let response = service.ready().await.unwrap().call(request(credential)).await.unwrap();
        assert_eq!(response.status() == OK, credential != "later bad");
    }
    assert_eq!(strict.calls.load(SeqCst), 3);
    let waiting = service.ready().await.unwrap().call(request("later alice"));
    assert!(format!("{waiting:?}").contains("AuthFuture"));
    drop(waiting);
    let count = |outcome| auth.snapshot().value("bartizan_auth_requests_total", outcome);
    assert_eq!((count("authenticated"), count("refused")), (Some(3.0), Some(1.0)));
}

#[tokio::test(start_paused = true)]
async fn rfc7662_active_tokens_are_remembered_for_a_while_and_inactive_ones_too() {
    let time = Time::hold();
    let issuer = Issuer::start(Published::of(&[]));
    let (uri, whoever) = (issuer.url("/introspect"), bartizan_auth::Issuer::Unchecked);
    let scheme = Introspection::new(client(), &uri, ("api:1", "s e&cret"), whoever, "api").unwrap();
    let auth = Authenticator::new("api").scheme(scheme.opaque_only()).clock(time.clock.clone());
    let now = time.clock.unix().as_secs();
    let asked = || issuer.introspected().len();

    assert_eq!(status(&auth, "opaque/1+~==").await, UNAUTHORIZED);
    let said = &issuer.introspected()[0];
    // Both parts are form-encoded before they are put together (RFC 6749 §2.3.1).
    assert!(said.starts_with("Basic YXBpJTNBMTpzJTIwZSUyNmNyZXQ= "), "{said}");
    assert!(said.ends_with("token=opaque%2F1%2B%7E%3D%3D&token_type_hint=access_token"), "{said}");
    assert_eq!(status(&auth, "opaque/1+~==").await, UNAUTHORIZED);
    assert_eq!(asked(), 1, "inactive is remembered");
    time.pass(Duration::from_secs(10)).await;

    let active = json!({"active": true, "client_id": "batch", "aud": "api", "scope": "read", "exp": now + 100});
    issuer.introspects(active.clone());
    let response = ask(&auth, bearer("opaque/1+~==")).await;
    assert_eq!(
        (response.status(), &response.headers()["who"]),
        (OK, &HeaderValue::from_static("batch"))
    );
    assert_eq!(status(&auth, "opaque/1+~==").await, OK);
    assert_eq!(asked(), 2);
    // Revoked: known within the minute that it is remembered for.
    issuer.introspects(json!({"active": false}));
    time.pass(Duration::from_secs(59)).await;
    assert_eq!((status(&auth, "opaque/1+~==").await, asked()), (OK, 2));
    time.pass(Duration::from_secs(1)).await;
    assert_eq!((status(&auth, "opaque/1+~==").await, asked()), (UNAUTHORIZED, 3));
    // Never beyond its end (RFC 7662 §4): within the leeway it is for the issuer to say.
    issuer.introspects(active);
    time.pass(Duration::from_secs(20)).await;
    for (seconds, questions) in [(0, 4), (9, 4), (1, 5), (29, 6)] {
        time.pass(Duration::from_secs(seconds)).await;
        assert_eq!(status(&auth, "opaque/1+~==").await, OK);
        assert_eq!(asked(), questions, "after {seconds} seconds more");
    }
    time.pass(Duration::from_secs(1)).await;
    assert_eq!(status(&auth, "opaque/1+~==").await, UNAUTHORIZED);

    for answer in
        [json!({}), json!([]), json!({"active": "true"}), json!({"active": 1}), json!(null)]
    {
        issuer.introspects(answer);
        assert_eq!(status(&auth, "another").await, UNAVAILABLE);
    }
    let (far, before) = (now + 10_000, asked());
    for (index, wrong) in [
        json!({"active": true, "sub": "a", "aud": "other", "exp": far}),
        json!({"active": true, "sub": "a", "exp": far}),
        json!({"active": true, "aud": "api", "exp": far}),
        json!({"active": true, "sub": "a", "aud": "api", "exp": "soon"}),
    ]
    .into_iter()
    .enumerate()
    {
        issuer.introspects(wrong);
        assert_eq!(status(&auth, &format!("wrong-{index}")).await, UNAUTHORIZED);
    }
    assert_eq!(asked(), before + 4);
    let before = asked();
    for text in ["a b", "a=b", "a&b=c", "a.b.c", &"x".repeat(8193)] {
        assert_eq!(status(&auth, text).await, UNAUTHORIZED, "{text}");
    }
    assert_eq!(asked(), before, "what is no opaque token is not asked about");
}

#[tokio::test(start_paused = true)]
async fn rfc7662_one_question_for_all_who_show_the_token_at_once() {
    let time = Time::hold();
    let issuer = Issuer::start(Published::of(&[]));
    let opaque = opaque(&issuer);
    let auth = Authenticator::new("api").scheme(opaque).clock(time.clock.clone());
    issuer.introspects(json!({"active": true, "sub": "alice"}));
    let show = |token: &'static str| {
        let auth = auth.clone();
        tokio::spawn(async move { status(&auth, token).await })
    };
    let shown: Vec<_> = (0..50).map(|_| show("opaque")).collect();
    for one in shown {
        assert_eq!(one.await.unwrap(), OK);
    }
    assert_eq!(issuer.introspected().len(), 1);

    // Whoever asks for all gives up: the others are not left waiting.
    let (first, second) = (show("another"), show("another"));
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(second.await.unwrap(), OK);
    // Whether the question of the one who gave up got as far as the issuer is chance.
    let asked = issuer.introspected();
    assert!(asked.iter().skip(1).all(|said| said.contains("token=another&")), "{asked:?}");
    assert!((2..=3).contains(&asked.len()), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn rfc7662_without_the_issuer_the_answer_is_503() {
    let time = Time::hold();
    let issuer = Issuer::stopped(Published::of(&[]));
    let opaque = opaque(&issuer);
    assert!(!format!("{opaque:?}").contains("secret"));
    let auth = Authenticator::new("api").scheme(opaque).clock(time.clock.clone());
    assert_eq!(status(&auth, "opaque").await, UNAVAILABLE);
    let grpc = bearer("opaque").header("content-type", "application/grpc");
    let response = ask(&auth, grpc).await;
    assert_eq!(
        (response.status(), &response.headers()["grpc-status"]),
        (OK, &HeaderValue::from_static("14"))
    );
    let plain = "http://id.test/introspect";
    assert!(Introspection::new(client(), plain, ("id", "secret"), "a", "b").is_err());
}

#[tokio::test]
async fn api2_an_unknown_key_and_a_wrong_secret_get_the_same_answer() {
    let (table, key) = (KeyTable::new(), IssuedKey::generate("bz", "live").unwrap());
    table.put(key.id(), KeyRecord::new(&key, &Peppers::none(), Principal::new("billing")));
    let auth = Authenticator::new("api").scheme(IssuedKeys::new(table, "bz", "live"));
    let answer = async |key: &str| {
        let request = Request::get("/").header("x-api-key", key).body(Body::empty()).unwrap();
        let service = AuthLayer::new(auth.clone()).layer(tower::service_fn(common::whoami));
        let response = service.oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        (head.status, format!("{:?}", head.headers), body)
    };
    assert_eq!(answer(key.reveal()).await.0, OK);
    let wrong = answer(key.again().unwrap().reveal()).await;
    let unknown = answer(IssuedKey::generate("bz", "live").unwrap().reveal()).await;
    assert_eq!(wrong.0, UNAUTHORIZED);
    assert_eq!(wrong, unknown);
    let text = String::from_utf8(wrong.2.to_vec()).unwrap();
    assert!(!text.contains(key.id()));
}

#[cfg(feature = "basic")]
#[tokio::test]
async fn rfc7617_users_beside_tokens_in_the_same_field() {
    use argon2::password_hash::PasswordHasher;
    use bartizan_auth::Basic;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let (clock, signer) = (bartizan_auth::Clock::manual(), Signer::ed());
    let params = argon2::Params::new(8, 1, 1, None).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let hash = argon2.hash_password("p\u{e4}ss:word".as_bytes()).unwrap().to_string();
    let basic = Basic::new().unwrap().user("bob", &hash, Principal::new("bob")).unwrap();
    let keys = KeySet::from_jwks(&jwks(&[signer.jwk("k")])).unwrap();
    let auth = common::with_keys(keys, &clock).scheme(basic);
    let pair = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let by = |value: String| Request::get("/").header("authorization", value);
    let response = ask(&auth, by(pair("bob:p\u{e4}ss:word"))).await;
    assert_eq!(response.headers()["who"], "bob");
    assert_eq!(ask(&auth, by(pair("bob:pass"))).await.status(), UNAUTHORIZED);
    let token = signer.token("k", &clock, &json!({}));
    let response = ask(&auth, bearer(&token)).await;
    assert_eq!(response.headers()["who"], "alice");
    let response = ask(&auth, Request::get("/")).await;
    let all: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
    assert_eq!(all, [r#"Bearer realm="api""#, r#"Basic realm="api""#]);
}

#[tokio::test]
async fn verified_tokens_are_remembered_until_they_end_or_keys_change() {
    use bartizan_auth::{Denylist, Jwt, Keys, Revocation};

    let (clock, signer) = (bartizan_auth::Clock::manual(), Signer::ed());
    let document = jwks(&[signer.jwk("k")]);
    for digests in [false, true] {
        let keys = Keys::new(KeySet::from_jwks(&document).unwrap());
        let jwt = Jwt::new(keys.clone(), common::ISSUER, "api").leeway(Duration::ZERO);
        let jwt = if digests { jwt.cache_by_digest() } else { jwt };
        let denied = Denylist::new().clock(clock.clone());
        let auth =
            Authenticator::new("api").scheme(jwt).clock(clock.clone()).denylist(denied.clone());
        let known = || {
            let snapshot = auth.snapshot();
            let count = |outcome| snapshot.value("bartizan_auth_verifications_total", outcome);
            (count("first").unwrap(), count("known").unwrap())
        };
        let token = signer.token("k", &clock, &json!({"jti": "1"}));
        let other = signer.token("k", &clock, &json!({"jti": "2"}));
        assert_eq!(status(&auth, &token).await, OK);
        assert_eq!(status(&auth, &token).await, OK);
        assert_eq!(known(), (1.0, 1.0));
        assert_eq!(status(&auth, &other).await, OK);
        assert_eq!(known(), (2.0, 1.0));
        // A change of keys, even to the same, has everything verified anew.
        keys.replace_jwks(&document).unwrap();
        assert_eq!(status(&auth, &token).await, OK);
        assert_eq!(known(), (3.0, 1.0));
        keys.replace(KeySet::from_jwks(&jwks(&[Signer::ed().jwk("k")])).unwrap());
        assert_eq!(status(&auth, &token).await, UNAUTHORIZED);
        keys.replace_jwks(&document).unwrap();
        assert_eq!(status(&auth, &token).await, OK);
        // What is denied is denied, remembered or not.
        let until = clock.unix() + Duration::from_secs(60);
        denied.deny(&Revocation::token(common::ISSUER, "1", until)).unwrap();
        assert_eq!(status(&auth, &token).await, UNAUTHORIZED);
        assert_eq!(status(&auth, &other).await, OK);
        clock.advance(Duration::from_secs(60));
        assert_eq!(status(&auth, &other).await, UNAUTHORIZED, "its time is over");
    }
}
