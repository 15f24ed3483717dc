//! Keys that an issuer publishes: a real one on loopback, in virtual time.

#![cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::time::Duration;

use bartizan_auth::{Authenticator, Clock, Engine, Jwks, Jwt, Keys};
use common::issuer::{Issuer, Keys as Published, Time, client, until};
use common::{ISSUER, Signer, at_once, status};
use http::StatusCode;
use serde_json::json;

const OK: StatusCode = StatusCode::OK;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

fn authenticator(keys: impl Into<Keys>, clock: &Clock) -> Authenticator {
    Authenticator::new("api").scheme(Jwt::new(keys, ISSUER, "api")).clock(clock.clone())
}

/// A token that is valid for a year.
fn token(signer: &Signer, kid: &str, time: &Time) -> String {
    let expires = (time.clock.unix() + Duration::from_secs(365 * 24 * 3600)).as_secs();
    signer.token(kid, &time.clock, &json!({"exp": expires}))
}

fn figure(auth: &Authenticator, metric: &str, outcome: &str) -> f64 {
    auth.snapshot().value(metric, outcome).unwrap()
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_refreshed_and_not_transferred_twice() {
    let (time, a, b) = (Time::hold(), Signer::ed(), Signer::ed());
    let issuer = Issuer::start(Published::of(&[a.jwk("a")]).field("etag", "\"1\""));
    let keys = Jwks::new(client(), &issuer.url("/keys")).unwrap().start();
    let auth = authenticator(keys.clone(), &time.clock);
    // The first requests wait for the first keys.
    assert_eq!(status(&auth, &token(&a, "a", &time)).await, OK);
    keys.ready().await;
    assert_eq!(issuer.fetches(), (1, 0));

    time.pass(Duration::from_secs(700)).await;
    until(|| issuer.fetches() == (2, 1)).await;
    issuer.publish(
        Published::of(&[a.jwk("a"), b.jwk("b")])
            .field("etag", "\"2\"")
            .field("cache-control", "max-age=100"),
    );
    time.pass(Duration::from_secs(700)).await;
    until(|| figure(&auth, "bartizan_auth_key_fetches_total", "changed") == 2.0).await;
    assert_eq!(status(&auth, &token(&b, "b", &time)).await, OK);
    assert_eq!(figure(&auth, "bartizan_auth_keys", "used"), 2.0);
    // It is no longer fresh after 100 seconds, though ten minutes are the default.
    let before = issuer.fetches().0;
    time.pass(Duration::from_secs(115)).await;
    until(|| issuer.fetches().0 == before + 1).await;
}

#[tokio::test(start_paused = true)]
async fn au_issuer_floods_of_unknown_keys_cause_a_fetch_per_window_at_most() {
    let (time, old, new) = (Time::hold(), Signer::ed(), Signer::ed());
    let issuer = Issuer::start(Published::of(&[old.jwk("old")]));
    let cooldown = Duration::from_secs(2);
    let jwks = Jwks::new(client(), &issuer.url("/keys")).unwrap().cooldown(cooldown);
    let auth = authenticator(jwks.start(), &time.clock);
    let good = token(&old, "old", &time);
    assert_eq!(status(&auth, &good).await, OK);

    let forger = Signer::ed();
    let (mut rotated_at, mut waited) = (None, 0);
    for index in 0..1000_u32 {
        let forged = ["a", "b", "c"].map(|kid| {
            let (auth, token) = (auth.clone(), token(&forger, &format!("{kid}-{index}"), &time));
            tokio::spawn(async move { status(&auth, &token).await })
        });
        tokio::task::yield_now().await;
        waited += u32::from(forged.iter().any(|request| !request.is_finished()));
        // A known key never waits, nor sees an error, while they do: not for a new token either.
        let fresh = old.token("old", &time.clock, &json!({"jti": index}));
        assert_eq!((at_once(&auth, &good), at_once(&auth, &fresh)), (Some(OK), Some(OK)));
        for request in forged {
            assert_eq!(request.await.unwrap(), UNAUTHORIZED);
        }
        if index == 500 {
            issuer.publish(Published::of(&[old.jwk("old"), new.jwk("new")]));
        }
        if index >= 500 && rotated_at.is_none() {
            let accepted = status(&auth, &token(&new, "new", &time)).await == OK;
            rotated_at = accepted.then_some(index);
        }
        time.pass(Duration::from_millis(10)).await;
    }
    assert!((2..20).contains(&waited), "a few wait for a fetch: {waited}");
    // Ten seconds are five windows, and the first keys are a fetch too.
    let (fetches, _) = issuer.fetches();
    assert!((2..=6).contains(&fetches), "{fetches}");
    let rotated_at = rotated_at.unwrap();
    assert!(rotated_at <= 500 + 201, "accepted within one cooldown: {rotated_at}");
    println!("bar: fetches-for-3000-unknown-keys-in-five-windows {fetches} 6 ok");
    println!("bar: known-keys-that-waited-meanwhile 0 0 ok");
    println!("bar: rotated-key-accepted-after-milliseconds {} 2010 ok", (rotated_at - 500) * 10);
    assert_eq!(issuer.others(), 0, "no key identifier is in an address");
}

#[tokio::test(start_paused = true)]
async fn requests_for_the_same_fetch_share_it() {
    let (time, a, b) = (Time::hold(), Signer::ed(), Signer::ed());
    let issuer = Issuer::start(Published::of(&[a.jwk("a")]));
    let auth = authenticator(Jwks::new(client(), &issuer.url("/keys")).unwrap(), &time.clock);
    assert_eq!(status(&auth, &token(&a, "a", &time)).await, OK);
    issuer.publish(Published::of(&[b.jwk("b")]));
    time.pass(Duration::from_secs(31)).await;
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let (auth, token) = (auth.clone(), token(&b, "b", &time));
            tokio::spawn(async move { status(&auth, &token).await })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), OK);
    }
    assert_eq!(issuer.fetches().0, 2);
    // What the issuer does not have is asked for once a cooldown.
    assert_eq!(status(&auth, &token(&a, "gone", &time)).await, UNAUTHORIZED);
    time.pass(Duration::from_secs(31)).await;
    assert_eq!(status(&auth, &token(&a, "gone", &time)).await, UNAUTHORIZED);
    let asked = issuer.fetches().0;
    time.pass(Duration::from_secs(15)).await;
    assert_eq!(status(&auth, &token(&a, "gone", &time)).await, UNAUTHORIZED);
    assert_eq!(issuer.fetches().0, asked);
}

/// A minute between attempts, as much as a tenth more, and some seconds for sockets.
const LONGEST_RECOVERY: u64 = 70;

/// In how many seconds the keys are there, once the issuer is.
async fn recovery(issuer: &mut Issuer, time: &Time, auth: &Authenticator, changed: f64) -> u64 {
    issuer.listen();
    let begun = time.clock.unix();
    let is_there = || figure(auth, "bartizan_auth_key_fetches_total", "changed") == changed;
    time.pass_until(is_there).await;
    let seconds = (time.clock.unix() - begun).as_secs();
    assert!(seconds <= LONGEST_RECOVERY, "{seconds}");
    seconds
}

#[tokio::test(start_paused = true)]
async fn u23_an_issuer_may_be_down_for_an_hour() {
    let (time, signer) = (Time::hold(), Signer::ed());
    let mut issuer = Issuer::start(Published::of(&[signer.jwk("k")]));
    let jwks = Jwks::new(client(), &issuer.url("/keys")).unwrap();
    let auth = authenticator(jwks.max_age(Duration::from_secs(2 * 3600)).start(), &time.clock);
    let good = token(&signer, "k", &time);
    assert_eq!(status(&auth, &good).await, OK);
    issuer.stop();
    for _ in 0..60 {
        time.pass_slowly(60).await;
        assert_eq!(status(&auth, &good).await, OK);
    }
    until(|| figure(&auth, "bartizan_auth_key_fetches_total", "failed") > 5.0).await;
    println!("bar: valid-tokens-refused-in-an-hour-without-the-issuer 0 0 ok");
    // Another hour, and the last good keys are too old to be believed.
    for _ in 0..61 {
        time.pass_slowly(60).await;
    }
    assert_eq!(status(&auth, &good).await, UNAVAILABLE);
    let recovered = recovery(&mut issuer, &time, &auth, 2.0).await;
    assert_eq!(status(&auth, &good).await, OK, "without a restart");
    println!("bar: seconds-to-recover-after-two-hours {recovered} {LONGEST_RECOVERY} ok");
}

#[tokio::test(start_paused = true)]
async fn rfc9110_10_2_3_an_issuer_that_wants_to_be_left_alone_is() {
    let (time, a, b) = (Time::hold(), Signer::ed(), Signer::ed());
    let mut busy = Published::of(&[]).field("retry-after", "300");
    busy.status = StatusCode::TOO_MANY_REQUESTS;
    let issuer = Issuer::start(Published::of(&[a.jwk("a")]));
    let auth = authenticator(Jwks::new(client(), &issuer.url("/keys")).unwrap(), &time.clock);
    assert_eq!(status(&auth, &token(&a, "a", &time)).await, OK);
    issuer.publish(busy);
    time.pass(Duration::from_secs(31)).await;
    assert_eq!(status(&auth, &token(&b, "b", &time)).await, UNAUTHORIZED);
    assert_eq!(issuer.fetches().0, 2);

    issuer.publish(Published::of(&[a.jwk("a"), b.jwk("b")]));
    for _ in 0..9 {
        time.pass_slowly(31).await;
        assert_eq!(status(&auth, &token(&b, "b", &time)).await, UNAUTHORIZED);
        assert_eq!(status(&auth, &token(&a, "a", &time)).await, OK);
    }
    assert_eq!(issuer.fetches().0, 2, "neither of its own nor for a key");
    time.pass_until(|| figure(&auth, "bartizan_auth_key_fetches_total", "changed") == 2.0).await;
    assert_eq!(status(&auth, &token(&b, "b", &time)).await, OK);
}

#[tokio::test]
async fn keys_are_ready_once_they_are_put_in() {
    let keys = Keys::pending();
    let waiting = {
        let keys = keys.clone();
        tokio::spawn(async move { keys.ready().await })
    };
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    keys.replace_jwks(&common::jwks(&[Signer::ed().jwk("k")])).unwrap();
    waiting.await.unwrap();
    keys.ready().await;
}

/// The same by reqwest, which would follow redirects if it were let.
#[cfg(feature = "reqwest")]
#[tokio::test(start_paused = true)]
async fn api7_reqwest_fetches_keys_and_follows_nothing() {
    let (time, signer) = (Time::hold(), Signer::ed());
    let issuer = Issuer::start(Published::of(&[signer.jwk("k")]).field("etag", "\"1\""));
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::limited(3));
    let client = bartizan_auth::HttpClient::reqwest(builder).unwrap().allow_loopback_http();
    let auth = authenticator(Jwks::new(client, &issuer.url("/keys")).unwrap(), &time.clock);
    assert_eq!(status(&auth, &token(&signer, "k", &time)).await, OK);
    time.pass(Duration::from_secs(700)).await;
    until(|| issuer.fetches() == (2, 1)).await;

    let mut redirect = Published::of(&[]).field("location", issuer.url("/other"));
    redirect.status = StatusCode::FOUND;
    issuer.publish(redirect);
    time.pass(Duration::from_secs(700)).await;
    until(|| figure(&auth, "bartizan_auth_key_fetches_total", "failed") == 1.0).await;
    let mut endless = Published::of(&[signer.jwk("k")]);
    endless.body.push_str(&" ".repeat(257 * 1024));
    issuer.publish(endless);
    time.pass(Duration::from_secs(700)).await;
    until(|| figure(&auth, "bartizan_auth_key_fetches_total", "failed") == 2.0).await;
    assert_eq!(issuer.others(), 0);
    assert_eq!(status(&auth, &token(&signer, "k", &time)).await, OK);
}

#[tokio::test(start_paused = true)]
async fn u23_a_cold_start_without_the_issuer_is_503_until_it_is_there() {
    let (time, signer) = (Time::hold(), Signer::ed());
    let mut issuer = Issuer::stopped(Published::of(&[signer.jwk("k")]));
    let auth = authenticator(Jwks::new(client(), &issuer.url("/keys")).unwrap(), &time.clock);
    let good = token(&signer, "k", &time);
    for _ in 0..10 {
        let response = common::ask(&auth, common::bearer(&good)).await;
        assert_eq!(response.status(), UNAVAILABLE);
        assert!(response.headers().contains_key("retry-after"));
        time.pass_slowly(5).await;
    }
    println!("bar: cold-start-answers-other-than-503 0 0 ok");
    let recovered = recovery(&mut issuer, &time, &auth, 1.0).await;
    assert_eq!(status(&auth, &good).await, OK);
    println!("bar: seconds-to-recover-after-a-cold-start {recovered} {LONGEST_RECOVERY} ok");
}

#[tokio::test(start_paused = true)]
async fn api10_hostile_answers_change_nothing() {
    let (time, signer, other) = (Time::hold(), Signer::ed(), Signer::ed());
    let issuer = Issuer::start(Published::of(&[signer.jwk("k")]));
    let auth = authenticator(Jwks::new(client(), &issuer.url("/keys")).unwrap(), &time.clock);
    let good = token(&signer, "k", &time);
    assert_eq!(status(&auth, &good).await, OK);
    let text = |body: &str| Published { body: body.to_owned(), ..Published::of(&[]) };
    let mut redirect = Published::of(&[other.jwk("k")]).field("location", issuer.url("/other"));
    redirect.status = StatusCode::TEMPORARY_REDIRECT;
    let mut failing = Published::of(&[other.jwk("k")]);
    failing.status = StatusCode::INTERNAL_SERVER_ERROR;
    let mut unchanged = Published::of(&[]);
    unchanged.status = StatusCode::NOT_MODIFIED;
    let huge = format!("{}{}", " ".repeat(257 * 1024), common::jwks(&[other.jwk("k")]));
    let many: Vec<_> = (0..129).map(|index| other.jwk(&index.to_string())).collect();
    let answers = [
        redirect,
        failing,
        unchanged,
        text(&huge),
        text(""),
        text("<html>"),
        text("{}"),
        text(r#"{"keys":[]}"#),
        text(r#"{"keys":{"k":1}}"#),
        text(r#"{"keys":[{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}]}"#),
        Published::of(&[other.jwk("k"), signer.jwk("k")]),
        Published::of(&[other.jwk("k"), Signer::Hs(vec![1; 32]).jwk("s")]),
        Published::of(&[Signer::Hs(vec![1; 32]).jwk("k")]),
        Published::of(&many),
    ];
    let count = answers.len();
    for (index, answer) in answers.into_iter().enumerate() {
        issuer.publish(answer);
        time.pass(Duration::from_secs(900)).await;
        let failed = || figure(&auth, "bartizan_auth_key_fetches_total", "failed");
        until(|| failed() >= (index + 1) as f64).await;
        assert_eq!(status(&auth, &good).await, OK, "{index}");
    }
    assert!(figure(&auth, "bartizan_auth_key_fetches_total", "failed") >= count as f64);
    assert_eq!(issuer.others(), 0, "nobody follows a redirect");
    // One key of no use takes none of the others down, and is counted.
    let strange = json!({"kty": "AKP", "alg": "ML-DSA-44", "kid": "pq", "pub": "AA"});
    issuer.publish(Published::of(&[strange, signer.jwk("k")]));
    time.pass(Duration::from_secs(900)).await;
    until(|| figure(&auth, "bartizan_auth_keys", "left_out") == 1.0).await;
    assert_eq!(status(&auth, &good).await, OK);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_given_up() {
    let (time, signer) = (Time::hold(), Signer::ed());
    let issuer = Issuer::start(Published::of(&[]));
    let auth = authenticator(Jwks::new(client(), &issuer.url("/hang")).unwrap(), &time.clock);
    let request = {
        let (auth, token) = (auth.clone(), token(&signer, "k", &time));
        tokio::spawn(async move { status(&auth, &token).await })
    };
    until(|| issuer.others() == 1).await;
    assert!(!request.is_finished());
    time.pass_slowly(6).await;
    assert_eq!(request.await.unwrap(), UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn discovery_compares_the_issuer_and_pins_hosts() {
    let (time, signer) = (Time::hold(), Signer::ed());
    let issuer = Issuer::start(Published::of(&[signer.jwk("k")]));
    let base = issuer.url("");
    let ask = async |jwks: Jwks| {
        let expires = (time.clock.unix() + Duration::from_secs(60)).as_secs();
        let good = signer.token("k", &time.clock, &json!({"iss": base, "exp": expires}));
        let jwt = Jwt::new(jwks, &*base, "api");
        let auth = Authenticator::new("api").scheme(jwt).clock(time.clock.clone());
        status(&auth, &good).await
    };
    let discovered = || Jwks::of_issuer(client(), &base).unwrap();
    assert_eq!(ask(discovered()).await, OK);
    assert_eq!(ask(discovered().on_host("127.0.0.1")).await, OK);
    assert_eq!(ask(discovered().on_host("keys.test")).await, UNAVAILABLE);
    assert_eq!(ask(Jwks::of_issuer(client(), &format!("{base}/")).unwrap()).await, UNAVAILABLE);
    let wrong = [
        json!({"issuer": "https://evil.test"}),
        json!({"issuer": format!("{base}/")}),
        json!({"issuer": [base]}),
        json!({"jwks_uri": "http://169.254.169.254/latest"}),
        json!({"jwks_uri": "http://keys.test/keys"}),
        json!({"jwks_uri": "file:///etc/passwd"}),
        json!({"jwks_uri": 1}),
    ];
    for configuration in wrong {
        issuer.configure(configuration.clone());
        assert_eq!(ask(discovered()).await, UNAVAILABLE, "{configuration}");
    }
    assert_eq!(issuer.fetches().0, 2);
    assert!(Jwks::of_issuer(client(), "http://id.test").is_err());
}
