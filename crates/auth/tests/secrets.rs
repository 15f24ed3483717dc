//! Nothing that is secret is in events, answers, figures or `Debug`: all of them, through everything
//! that can happen to a credential, searched for it.

#![cfg(all(any(feature = "aws-lc", feature = "rust-crypto"), feature = "basic"))]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::io;
use std::sync::{Arc, Mutex};

use argon2::password_hash::PasswordHasher;
use axum::body::Body;
use bartizan_auth::{
    ApiKeys, Audit, AuthLayer, Authenticator, Basic, Clock, Engine, Introspection, IssuedKey,
    IssuedKeys, Jwks, Jwt, KeyRecord, KeySet, KeyTable, Peppers, Principal, RequireLayer,
    TracingSink,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::issuer::{Issuer, Keys as Published, client};
use common::{ISSUER, KEY, Signer, whoami};
use http::Request;
use http_body_util::BodyExt;
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt};
use tracing_subscriber::fmt::MakeWriter;

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn api8_no_credential_is_in_logs_debug_figures_or_bodies() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_max_level(tracing::Level::TRACE)
        .finish();
    // For all threads: the audit trail has one of its own.
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let (clock, signer) =
        (Clock::manual(), Signer::Hs(b"the-shared-secret-of-32-bytes-ok".to_vec()));
    let (remote, stranger) = (Signer::ed(), Signer::ed());
    let issuer = Issuer::start(Published::of(&[remote.jwk("remote")]));
    let keys = Jwks::new(client(), &issuer.url("/keys")).unwrap().start();
    keys.ready().await;
    let table = KeyTable::new();
    let issued = IssuedKey::generate("bz", "live").unwrap();
    let peppers = Peppers::none().with("p1", b"the-pepper-that-nobody-shall-see").unwrap();
    table.put(issued.id(), KeyRecord::new(&issued, &peppers, Principal::new("billing")));
    let plain = ApiKeys::new().header(http::HeaderName::from_static("x-plain-key"));
    plain.insert(KEY, Principal::new("plain")).unwrap();
    let params = argon2::Params::new(8, 1, 1, None).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let hash = argon2.hash_password(b"open-sesame").unwrap().to_string();
    let secret = b"the-shared-secret-of-32-bytes-ok";
    let set = KeySet::secret(bartizan_auth::Algorithm::Hs256, secret).unwrap();
    let (uri, client_id) = (issuer.url("/introspect"), ("api", "client-secret"));
    let opaque = Introspection::new(client(), &uri, client_id, ISSUER, "api").unwrap();
    let audit = Audit::new(TracingSink::new());
    let auth = Authenticator::new("api")
        .scheme(Jwt::new(set, ISSUER, "api"))
        .scheme(Jwt::new(keys, "https://remote.test", "api"))
        .scheme(opaque.opaque_only())
        .scheme(IssuedKeys::new(table.clone(), "bz", "live").peppers(peppers.clone()))
        .scheme(plain)
        .scheme(Basic::new().unwrap().user("bob", &hash, Principal::new("bob")).unwrap())
        .audit(audit.clone())
        .clock(clock.clone());
    let layer = AuthLayer::new(auth.clone());
    let guard = RequireLayer::new(auth.clone()).scopes(["never"]);

    let good = signer.token("kid-of-token", &clock, &json!({"email": "alice@example.test"}));
    let expired = signer.token("kid-of-token", &clock, &json!({"exp": 1}));
    let spoilt = format!("{}AAAA", &good[..good.len() - 4]);
    let of_remote = json!({"iss": "https://remote.test", "email": "alice@example.test"});
    let fetched = remote.token("remote", &clock, &of_remote);
    let unknown = stranger.token("kid-of-stranger", &clock, &of_remote);
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let again = issued.again().unwrap();
    let credentials = [
        ("authorization", format!("Bearer {good}")),
        ("authorization", format!("Bearer {expired}")),
        ("authorization", format!("Bearer {spoilt}")),
        ("authorization", format!("Bearer {fetched}")),
        ("authorization", format!("Bearer {unknown}")),
        ("authorization", "Bearer opaque-token-0123456789".to_owned()),
        ("authorization", basic("bob:open-sesame")),
        ("authorization", basic("bob:close-sesame")),
        ("x-api-key", issued.reveal().to_owned()),
        ("x-api-key", again.reveal().to_owned()),
        ("x-plain-key", KEY.to_owned()),
        ("x-plain-key", "another-key-that-is-wrong".to_owned()),
    ];
    let mut seen = format!("{layer:?} {guard:?} {auth:?} {:#?}", auth.snapshot());
    seen += &format!("{table:?} {issued:?} {peppers:?} {clock:?}");
    let mut grpc = 0;
    for (guarded, kind) in [
        (false, "application/json"),
        (true, "application/json"),
        (false, "application/grpc"),
        (true, "application/grpc"),
    ] {
        for (name, value) in &credentials {
            let request = Request::get("/").header(*name, value).header("content-type", kind);
            let request = request.body(Body::empty()).unwrap();
            let response = if guarded {
                let stack = ServiceBuilder::new().layer(layer.clone()).layer(guard.clone());
                stack.service_fn(whoami).oneshot(request).await.unwrap().map(Body::new)
            } else {
                let stack = ServiceBuilder::new().layer(layer.clone());
                stack.service_fn(whoami).oneshot(request).await.unwrap().map(Body::new)
            };
            let (mut head, body) = response.into_parts();
            head.headers.remove("who");
            grpc += u32::from(head.headers.contains_key("grpc-status"));
            let body = body.collect().await.unwrap().to_bytes();
            seen += &format!("{head:?} {}\n", String::from_utf8_lossy(&body));
        }
    }
    audit.flush();
    assert!(grpc > 10, "{grpc}");
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for told in ["bartizan::auth:", "bartizan::audit:", "keys changed", "unknown_key", "stage="] {
        assert!(logged.contains(told), "{told} in {logged}");
    }
    seen += &logged;

    let mut secrets = vec![
        "the-shared-secret".to_owned(),
        "the-pepper".to_owned(),
        "client-secret".to_owned(),
        "opaque-token".to_owned(),
        "sesame".to_owned(),
        "another-key".to_owned(),
        "argon2id".to_owned(),
        "alice@example.test".to_owned(),
        KEY.to_owned(),
        issued.reveal()[22..].to_owned(),
        again.reveal()[22..].to_owned(),
        STANDARD.encode("bob:open-sesame"),
        STANDARD.encode("api:client-secret"),
    ];
    for token in [&good, &expired, &spoilt, &fetched, &unknown] {
        secrets.extend(token.split('.').map(str::to_owned));
    }
    for secret in secrets {
        assert!(!seen.contains(&secret), "{secret} in {seen}");
    }
}
