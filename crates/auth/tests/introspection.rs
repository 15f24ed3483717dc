//! Opaque tokens: what is asked, how often, and what is made of the answer.

#![cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bartizan_auth::{
    self as auth, Attempts, Audience, Authenticator, Engine, Introspection, IssuedKey, IssuedKeys,
    KeyRecord, KeyTable, Peppers, Principal,
};
use common::issuer::{Issuer, Keys as Published, Time, client, opaque};
use common::{ISSUER, at_once, status};
use http::StatusCode;
use serde_json::json;

const OK: StatusCode = StatusCode::OK;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

fn authenticator(scheme: Introspection, time: &Time) -> Authenticator {
    Authenticator::new("api").scheme(scheme).clock(time.clock.clone())
}

fn figure(auth: &Authenticator, outcome: &str) -> f64 {
    auth.snapshot().value("bartizan_auth_introspections_total", outcome).unwrap()
}

#[tokio::test(start_paused = true)]
async fn rfc7662_2_2_issuer_and_audience_are_required_unless_waived_by_name() {
    let time = Time::hold();
    let issuer = Issuer::start(Published::of(&[]));
    let uri = issuer.url("/introspect");
    let of = |whose: auth::Issuer, whom: Audience| {
        let scheme = Introspection::new(client(), &uri, ("id", "secret"), whose, whom).unwrap();
        authenticator(scheme, &time)
    };
    let (anyone, whoever) = (Audience::Unchecked, auth::Issuer::Unchecked);
    let answers = [
        (json!({"active": true, "sub": "a", "iss": ISSUER, "aud": "api"}), [OK, OK, OK]),
        (json!({"active": true, "sub": "a", "aud": "api"}), [UNAUTHORIZED, OK, UNAUTHORIZED]),
        (json!({"active": true, "sub": "a", "iss": ISSUER}), [UNAUTHORIZED, UNAUTHORIZED, OK]),
        (
            json!({"active": true, "sub": "a", "iss": "https://b.test", "aud": "other"}),
            [UNAUTHORIZED; 3],
        ),
    ];
    for (answer, expected) in answers {
        issuer.introspects(answer.clone());
        let all = [
            of(ISSUER.into(), "api".into()),
            of(whoever.clone(), "api".into()),
            of(ISSUER.into(), anyone.clone()),
        ];
        for (auth, expected) in all.iter().zip(expected) {
            assert_eq!(status(auth, "opaque").await, expected, "{answer}");
        }
    }
    let auth = of(whoever, anyone);
    assert_eq!(status(&auth, "opaque").await, OK);
}

#[tokio::test(start_paused = true)]
async fn rfc7662_4_what_is_active_but_no_access_token_is_refused() {
    let time = Time::hold();
    let issuer = Issuer::start(Published::of(&[]));
    let auth = authenticator(opaque(&issuer), &time);
    let answers = [
        (json!({"token_type": "Bearer"}), OK),
        (json!({"token_type": "bearer", "token_use": "access_token"}), OK),
        (json!({"token_type": "access_token"}), OK),
        (json!({"token_use": "access", "typ": "Bearer"}), OK),
        (json!({"typ": "at+jwt"}), OK),
        (json!({"token_use": "refresh_token", "token_type": "Bearer"}), UNAUTHORIZED),
        (json!({"token_use": "id"}), UNAUTHORIZED),
        (json!({"token_use": 1}), UNAUTHORIZED),
        (json!({"token_use": null, "token_type": null, "typ": null}), OK),
        (json!({"token_type": "refresh_token"}), UNAUTHORIZED),
        (json!({"token_type": "DPoP"}), UNAUTHORIZED),
        (json!({"typ": "Refresh"}), UNAUTHORIZED),
        (json!({"typ": "Offline"}), UNAUTHORIZED),
        (json!({"typ": "ID"}), UNAUTHORIZED),
    ];
    for (index, (mut answer, expected)) in answers.into_iter().enumerate() {
        answer["active"] = json!(true);
        answer["sub"] = json!("a");
        issuer.introspects(answer.clone());
        assert_eq!(status(&auth, &format!("token-{index}")).await, expected, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_must_say_can_be_told() {
    let time = Time::hold();
    let issuer = Issuer::start(Published::of(&[]));
    let scheme = opaque(&issuer).require_claim("kind", "access");
    let auth = authenticator(scheme, &time);
    for (token, kind, expected) in [
        ("a", json!("access"), OK),
        ("b", json!("refresh"), UNAUTHORIZED),
        ("c", json!(null), UNAUTHORIZED),
    ] {
        issuer.introspects(json!({"active": true, "sub": "a", "kind": kind}));
        assert_eq!(status(&auth, token).await, expected);
    }
    issuer.introspects(json!({"active": true, "sub": "a"}));
    assert_eq!(status(&auth, "d").await, UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn api4_a_token_that_is_not_for_this_service_is_asked_about_once() {
    let time = Time::hold();
    let issuer = Issuer::start(Published::of(&[]));
    let uri = issuer.url("/introspect");
    let scheme = Introspection::new(client(), &uri, ("id", "secret"), ISSUER, "api").unwrap();
    let auth = authenticator(scheme, &time);
    issuer.introspects(json!({"active": true, "sub": "a", "iss": ISSUER, "aud": "other"}));
    assert_eq!(status(&auth, "opaque").await, UNAUTHORIZED);
    for _ in 0..10 {
        assert_eq!(at_once(&auth, "opaque"), Some(UNAUTHORIZED));
    }
    assert_eq!(issuer.introspected().len(), 1);
    let denied = auth.snapshot().value("bartizan_auth_denials_total", "audience");
    assert_eq!((denied, figure(&auth, "refused")), (Some(11.0), 1.0));
    time.pass(Duration::from_secs(10)).await;
    issuer.introspects(json!({"active": true, "sub": "a", "iss": ISSUER, "aud": "api"}));
    assert_eq!(status(&auth, "opaque").await, OK);
    assert_eq!(figure(&auth, "good"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn api4_guesses_at_opaque_tokens_are_counted_and_stopped() {
    let time = Time::hold();
    let issuer = Issuer::start(Published::of(&[]));
    let failures = Arc::new(AtomicU64::new(0));
    let (asked, counted) = (Arc::clone(&failures), Arc::clone(&failures));
    let attempts = Attempts::new(
        move |_| (asked.load(SeqCst) >= 3).then_some(Duration::from_secs(20)),
        move |_| {
            counted.fetch_add(1, SeqCst);
        },
    );
    let auth = authenticator(opaque(&issuer), &time).attempts(attempts);
    let peer = || bartizan_core::PeerAddr::new(([192, 0, 2, 1], 1234).into());
    let show = |token: &str| common::bearer(token).extension(peer());
    for guess in 0..3 {
        let response = common::ask(&auth, show(&format!("guess-{guess}"))).await;
        assert_eq!(response.status(), UNAUTHORIZED);
    }
    let response = common::ask(&auth, show("guess-3")).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(issuer.introspected().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn api4_an_issuer_that_does_not_answer_is_left_alone_and_found_again() {
    let time = Time::hold();
    let mut issuer = Issuer::stopped(Published::of(&[]));
    let auth = authenticator(opaque(&issuer), &time);
    for token in 0..20 {
        assert_eq!(status(&auth, &format!("token-{token}")).await, UNAVAILABLE);
    }
    assert_eq!((figure(&auth, "failed"), figure(&auth, "unasked")), (5.0, 15.0));
    issuer.listen();
    issuer.introspects(json!({"active": true, "sub": "a"}));
    assert_eq!(status(&auth, "token").await, UNAVAILABLE);
    time.pass(Duration::from_secs(1)).await;
    assert_eq!(status(&auth, "token").await, OK);
    assert_eq!(status(&auth, "another").await, OK);
    assert_eq!(issuer.introspected().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn answers_may_be_remembered_as_good_as_for_ever() {
    let time = Time::hold();
    let issuer = Issuer::start(Published::of(&[]));
    let scheme = opaque(&issuer).active_for(Duration::MAX).inactive_for(Duration::MAX);
    let auth = authenticator(scheme, &time);
    assert_eq!(status(&auth, "inactive").await, UNAUTHORIZED);
    issuer.introspects(json!({"active": true, "sub": "a"}));
    assert_eq!(status(&auth, "active").await, OK);
    time.pass(Duration::from_secs(1000)).await;
    assert_eq!(at_once(&auth, "inactive"), Some(UNAUTHORIZED));
    assert_eq!(at_once(&auth, "active"), Some(OK));
}

#[tokio::test(start_paused = true)]
async fn api_keys_are_not_sent_to_the_issuer_of_tokens_whatever_is_wrong_with_them() {
    let time = Time::hold();
    let issuer = Issuer::start(Published::of(&[]));
    issuer.introspects(json!({"active": true, "sub": "whoever asks"}));
    let (table, key) = (KeyTable::new(), IssuedKey::generate("bz", "live").unwrap());
    table.put(key.id(), KeyRecord::new(&key, &Peppers::none(), Principal::new("billing")));
    let keys = IssuedKeys::new(table, "bz", "live").bearer();
    let rotated = key.again().unwrap();
    // Keys are drawn: one in 62 ends with whatever digit is put in the last one's place.
    let (most, last) = key.reveal().split_at(key.reveal().len() - 1);
    let typo = format!("{most}{}", if last == "x" { "y" } else { "x" });
    for auth in [
        authenticator(opaque(&issuer), &time).scheme(keys.clone()),
        Authenticator::new("api").scheme(keys).scheme(opaque(&issuer)).clock(time.clock.clone()),
    ] {
        assert_eq!(at_once(&auth, key.reveal()), Some(OK));
        for wrong in [rotated.reveal(), &typo, "bz_live_", "bz_live_x"] {
            assert_eq!(at_once(&auth, wrong), Some(UNAUTHORIZED), "{wrong}");
        }
        assert!(issuer.introspected().is_empty());
    }
    let auth = authenticator(opaque(&issuer), &time);
    assert_eq!(status(&auth, "bz_test_").await, OK, "what begins otherwise is asked about");
}
