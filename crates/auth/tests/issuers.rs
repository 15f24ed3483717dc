//! Several issuers side by side, and keys that change place: real issuers on loopback, in virtual
//! time.

#![cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bartizan_auth::{Authenticator, Engine, HttpClient, Jwks, Jwt};
use bytes::Bytes;
use common::issuer::{Issuer, Keys as Published, Time, client, until};
use common::{ISSUER, Signer, at_once, status};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

const OK: StatusCode = StatusCode::OK;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
const OTHER: &str = "https://b.test";

/// A token that is valid for a year.
fn token(signer: &Signer, header: &Value, time: &Time, issuer: &str) -> String {
    let expires = (time.clock.unix() + Duration::from_secs(365 * 24 * 3600)).as_secs();
    let claims = common::claims(&time.clock, &json!({"iss": issuer, "exp": expires}));
    signer.sign(header, &claims)
}

fn named(signer: &Signer, kid: &str, time: &Time, issuer: &str) -> String {
    token(signer, &json!({"alg": signer.alg(), "kid": kid}), time, issuer)
}

/// The issuer that is asked second, with keys of the first at `path`.
fn beside(first: &Issuer, path: &str, second: &Issuer, time: &Time) -> Authenticator {
    let jwks = |issuer: &Issuer, path| Jwks::new(client(), &issuer.url(path)).unwrap();
    Authenticator::new("api")
        .scheme(Jwt::new(jwks(first, path), OTHER, "api"))
        .scheme(Jwt::new(jwks(second, "/keys"), ISSUER, "api"))
        .clock(time.clock.clone())
}

#[tokio::test(start_paused = true)]
async fn rfc8725_3_8_tokens_of_one_issuer_do_not_wait_for_keys_of_another() {
    let (time, a, b) = (Time::hold(), Signer::ed(), Signer::ed());
    let hanging = Issuer::start(Published::of(&[]));
    let issuer = Issuer::start(Published::of(&[a.jwk("a")]));
    let auth = beside(&hanging, "/hang", &issuer, &time);
    let good = named(&a, "a", &time, ISSUER);
    assert_eq!(status(&auth, &good).await, OK);
    until(|| hanging.others() == 1).await;
    for _ in 0..3 {
        assert_eq!(at_once(&auth, &good), Some(OK));
        assert_eq!(at_once(&auth, &named(&a, "a", &time, ISSUER)), Some(OK));
        time.pass(Duration::from_millis(500)).await;
    }
    // Nor does that outage change what is said of others' tokens.
    let expired = a.token("a", &time.clock, &json!({"exp": 1}));
    assert_eq!(at_once(&auth, &expired), Some(UNAUTHORIZED));
    let forged = named(&b, "a", &time, ISSUER);
    assert_eq!(at_once(&auth, &forged), Some(UNAUTHORIZED));
    let strange = named(&a, "a", &time, "https://c.test");
    assert_eq!(at_once(&auth, &strange), Some(UNAUTHORIZED));
    let denied = |why| auth.snapshot().value("bartizan_auth_denials_total", why).unwrap();
    for (why, count) in
        [("expired", 1.0), ("signature", 1.0), ("issuer", 1.0), ("unavailable", 0.0)]
    {
        assert_eq!(denied(why), count, "{why}");
    }
    // Its own tokens do wait.
    let waiting = {
        let (auth, own) = (auth.clone(), named(&b, "b", &time, OTHER));
        tokio::spawn(async move { status(&auth, &own).await })
    };
    time.pass(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    time.pass_slowly(6).await;
    assert_eq!(waiting.await.unwrap(), UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn rfc8725_3_8_tokens_of_one_issuer_do_not_have_another_asked() {
    let (time, a, b) = (Time::hold(), Signer::ed(), Signer::ed());
    let other = Issuer::start(Published::of(&[b.jwk("b")]));
    let issuer = Issuer::start(Published::of(&[a.jwk("a")]));
    let auth = beside(&other, "/keys", &issuer, &time);
    assert_eq!(status(&auth, &named(&b, "b", &time, OTHER)).await, OK);
    assert_eq!(status(&auth, &named(&a, "a", &time, ISSUER)).await, OK);
    for _ in 0..10 {
        time.pass(Duration::from_secs(40)).await;
        assert_eq!(at_once(&auth, &named(&a, "a", &time, ISSUER)), Some(OK));
        assert_eq!(at_once(&auth, &named(&a, "a", &time, OTHER)), None, "it may be one of its");
        time.pass(Duration::from_secs(10)).await;
    }
    until(|| other.fetches().0 > 5).await;
    assert_eq!(issuer.fetches().0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_asked_for_too_early_is_accepted_after_one_cooldown() {
    let (time, old, new) = (Time::hold(), Signer::ed(), Signer::ed());
    let issuer = Issuer::start(Published::of(&[old.jwk("old")]));
    let cooldown = Duration::from_secs(2);
    let jwks = Jwks::new(client(), &issuer.url("/keys")).unwrap().cooldown(cooldown);
    let auth = common::with_keys(jwks, &time.clock);
    assert_eq!(status(&auth, &named(&old, "old", &time, ISSUER)).await, OK);
    time.pass(cooldown).await;
    let early = named(&new, "new", &time, ISSUER);
    assert_eq!(status(&auth, &early).await, UNAUTHORIZED);
    assert_eq!(issuer.fetches().0, 2);
    issuer.publish(Published::of(&[old.jwk("old"), new.jwk("new")]));
    assert_eq!(status(&auth, &early).await, UNAUTHORIZED);
    time.pass(cooldown).await;
    assert_eq!(status(&auth, &early).await, OK);
    assert_eq!(issuer.fetches().0, 3);
}

#[tokio::test(start_paused = true)]
async fn rfc7515_4_1_4_keys_without_identifiers_are_rotated_too() {
    let (time, a, b) = (Time::hold(), Signer::es(), Signer::es());
    let unnamed = |signer: &Signer| {
        let mut jwk = signer.jwk("");
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    };
    let issuer = Issuer::start(Published::of(&[unnamed(&a)]));
    let auth = common::with_keys(Jwks::new(client(), &issuer.url("/keys")).unwrap(), &time.clock);
    let by = |signer: &Signer| token(signer, &json!({"alg": "ES256"}), &time, ISSUER);
    assert_eq!(status(&auth, &by(&a)).await, OK);
    time.pass(Duration::from_secs(31)).await;
    // The new one beside the old one, and then alone.
    issuer.publish(Published::of(&[unnamed(&a), unnamed(&b)]));
    assert_eq!(status(&auth, &by(&b)).await, OK);
    assert_eq!(at_once(&auth, &by(&a)), Some(OK));
    assert_eq!(issuer.fetches().0, 2);
    let forger = Signer::es();
    for _ in 0..10 {
        assert_eq!(at_once(&auth, &by(&forger)), Some(UNAUTHORIZED));
    }
    time.pass(Duration::from_secs(31)).await;
    let c = Signer::es();
    issuer.publish(Published::of(&[unnamed(&c)]));
    assert_eq!(status(&auth, &by(&c)).await, OK);
    assert_eq!(status(&auth, &by(&b)).await, UNAUTHORIZED);
    assert_eq!(issuer.fetches().0, 3);
}

#[tokio::test(start_paused = true)]
async fn a_signature_by_a_key_that_is_named_has_nobody_asked() {
    let (time, signer) = (Time::hold(), Signer::ed());
    let issuer = Issuer::start(Published::of(&[signer.jwk("k")]));
    let auth = common::with_keys(Jwks::new(client(), &issuer.url("/keys")).unwrap(), &time.clock);
    assert_eq!(status(&auth, &named(&signer, "k", &time, ISSUER)).await, OK);
    time.pass(Duration::from_secs(31)).await;
    let forged = named(&Signer::ed(), "k", &time, ISSUER);
    assert_eq!(at_once(&auth, &forged), Some(UNAUTHORIZED));
    assert_eq!(issuer.fetches().0, 1);
}

#[tokio::test(start_paused = true)]
async fn keys_that_have_moved_are_found_though_the_old_address_still_answers() {
    let (time, old, new) = (Time::hold(), Signer::ed(), Signer::ed());
    let issuer = Issuer::start(Published::of(&[old.jwk("old")]).field("etag", "\"1\""));
    let moved =
        Issuer::start(Published::of(&[old.jwk("old"), new.jwk("new")]).field("etag", "\"1\""));
    let base = issuer.url("");
    let jwks = Jwks::of_issuer(client(), &base).unwrap();
    let auth =
        Authenticator::new("api").scheme(Jwt::new(jwks, &*base, "api")).clock(time.clock.clone());
    assert_eq!(status(&auth, &named(&old, "old", &time, &base)).await, OK);
    // What is not to be believed changes nothing.
    for hostile in [
        json!({"issuer": "https://evil.test", "jwks_uri": moved.url("/keys")}),
        json!({"jwks_uri": "http://keys.test/keys"}),
        json!({"jwks_uri": 1}),
    ] {
        issuer.configure(hostile);
        time.pass(Duration::from_secs(31)).await;
        let token = named(&new, "new", &time, &base);
        assert_eq!(status(&auth, &token).await, UNAUTHORIZED);
        assert_eq!(status(&auth, &named(&old, "old", &time, &base)).await, OK);
    }
    assert_eq!(moved.fetches().0, 0);
    issuer.configure(json!({"jwks_uri": moved.url("/keys")}));
    time.pass(Duration::from_secs(31)).await;
    assert_eq!(status(&auth, &named(&new, "new", &time, &base)).await, OK);
    // From now on it is asked there.
    let before = issuer.fetches().0;
    time.pass(Duration::from_secs(700)).await;
    until(|| moved.fetches() == (2, 1)).await;
    assert_eq!(issuer.fetches().0, before);
}

#[tokio::test(start_paused = true)]
async fn rfc9110_8_8_3_the_newest_tag_is_the_one_that_is_shown() {
    let (time, a) = (Time::hold(), Signer::ed());
    let tagged = |tag| Published::of(&[a.jwk("a")]).field("etag", tag);
    let issuer = Issuer::start(tagged("\"1\""));
    let auth = common::with_keys(Jwks::new(client(), &issuer.url("/keys")).unwrap(), &time.clock);
    assert_eq!(status(&auth, &named(&a, "a", &time, ISSUER)).await, OK);
    issuer.publish(tagged("\"2\""));
    time.pass(Duration::from_secs(700)).await;
    until(|| issuer.fetches() == (2, 0)).await;
    time.pass(Duration::from_secs(700)).await;
    until(|| issuer.fetches().0 == 3).await;
    assert_eq!(issuer.fetches().1, 1, "the second time it has not changed");
}

#[tokio::test(start_paused = true)]
async fn keys_may_be_refreshed_as_good_as_never() {
    let (time, signer) = (Time::hold(), Signer::ed());
    let issuer = Issuer::start(Published::of(&[signer.jwk("k")]));
    let jwks = Jwks::new(client(), &issuer.url("/keys")).unwrap();
    let jwks = jwks.refresh_every(Duration::MAX).max_age(Duration::MAX).cooldown(Duration::MAX);
    let auth = common::with_keys(jwks, &time.clock);
    let good = named(&signer, "k", &time, ISSUER);
    assert_eq!(status(&auth, &good).await, OK);
    for kid in 0..10 {
        let unknown = named(&signer, &kid.to_string(), &time, ISSUER);
        assert_eq!(status(&auth, &unknown).await, UNAUTHORIZED);
    }
    time.pass(Duration::from_secs(24 * 3600)).await;
    assert_eq!(status(&auth, &good).await, OK);
    assert_eq!(issuer.fetches().0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_panics_is_one_that_fails_and_nobody_hangs() {
    let (time, signer, calls) = (Time::hold(), Signer::ed(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&calls);
    let service = tower::service_fn(move |_: Request<Full<Bytes>>| {
        let counted = Arc::clone(&counted);
        async move {
            counted.fetch_add(1, SeqCst);
            tokio::task::yield_now().await;
            assert_eq!(counted.load(SeqCst), 0, "a bug of the client's");
            Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
        }
    });
    let jwks = Jwks::new(HttpClient::new(service), "https://id.test/keys").unwrap();
    let auth = common::with_keys(jwks, &time.clock);
    let good = named(&signer, "k", &time, ISSUER);
    for _ in 0..10 {
        assert_eq!(status(&auth, &good).await, UNAVAILABLE);
    }
    assert_eq!(calls.load(SeqCst), 1);
    time.pass(Duration::from_secs(31)).await;
    assert_eq!(status(&auth, &good).await, UNAVAILABLE);
    assert_eq!(calls.load(SeqCst), 2);
}

/// A client whose `number`th answer, from 1, is `answer(number)`, and how often it was asked.
fn scripted(
    answer: impl Fn(u64) -> Response<Full<Bytes>> + Clone + Send + Sync + 'static,
) -> (HttpClient, Arc<AtomicU64>) {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let service = tower::service_fn(move |_: Request<Full<Bytes>>| {
        let (answer, number) = (answer.clone(), counted.fetch_add(1, SeqCst) + 1);
        async move {
            tokio::task::yield_now().await;
            Ok::<_, std::convert::Infallible>(answer(number))
        }
    });
    (HttpClient::new(service), calls)
}

fn document(signer: &Signer) -> Response<Full<Bytes>> {
    Response::new(Full::from(common::jwks(&[signer.jwk("k")])))
}

#[tokio::test(start_paused = true)]
async fn keys_of_an_issuer_that_is_there_never_grow_too_old() {
    let (time, signer) = (Time::hold(), Arc::new(Signer::ed()));
    let by = Arc::clone(&signer);
    let (client, calls) = scripted(move |number| match number {
        ..=3 => document(&by),
        _ => Response::builder().status(500).body(Full::default()).unwrap(),
    });
    let hour = Duration::from_secs(3600);
    let jwks = Jwks::new(client, "https://id.test/keys").unwrap();
    let auth = common::with_keys(jwks.refresh_every(2 * hour).max_age(hour), &time.clock);
    let good = named(&signer, "k", &time, ISSUER);
    assert_eq!(status(&auth, &good).await, OK);
    let mut seconds = 0;
    while calls.load(SeqCst) <= 3 {
        assert_eq!(at_once(&auth, &good), Some(OK), "after {seconds} seconds");
        // In small steps: they are asked for less than a minute before they are too old.
        time.pass(Duration::from_secs(1)).await;
        seconds += 1;
    }
    // Each time a little sooner than they would be too old.
    assert!((160 * 60..=180 * 60).contains(&seconds), "{seconds}");
    assert_eq!(
        at_once(&auth, &good),
        Some(OK),
        "the issuer is away, but was there within the hour"
    );
    time.pass_slowly(900).await;
    assert_eq!(status(&auth, &good).await, UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_panics_once_is_asked_again_whoever_comes() {
    let (time, signer) = (Time::hold(), Arc::new(Signer::ed()));
    let by = Arc::clone(&signer);
    let (client, calls) = scripted(move |number| {
        assert!(!matches!(number, 1 | 3), "a bug of the client's");
        document(&by)
    });
    let keys = Jwks::new(client, "https://id.test/keys").unwrap().start();
    let ready = {
        let keys = keys.clone();
        tokio::spawn(async move { keys.ready().await })
    };
    let auth = common::with_keys(keys, &time.clock);
    let good = named(&signer, "k", &time, ISSUER);
    time.pass_until(|| calls.load(SeqCst) == 2).await;
    time.pass_until(|| ready.is_finished()).await;
    time.pass_until(|| calls.load(SeqCst) == 3).await;
    assert_eq!(at_once(&auth, &good), Some(OK), "the last good keys are there");
    time.pass_until(|| calls.load(SeqCst) == 4).await;
    assert_eq!(at_once(&auth, &good), Some(OK));
}

#[tokio::test(start_paused = true)]
async fn keys_outlive_the_runtime_that_they_were_fetched_on_but_not_their_age() {
    let (time, signer) = (Time::hold(), Arc::new(Signer::ed()));
    let by = Arc::clone(&signer);
    let (client, calls) = scripted(move |number| match number {
        1 => document(&by),
        _ => Response::builder().status(500).body(Full::default()).unwrap(),
    });
    let jwks = Jwks::new(client, "https://id.test/keys").unwrap();
    let jwks = jwks.max_age(Duration::from_secs(1000)).refresh_every(Duration::from_secs(3600));
    let elsewhere = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let keys = jwks.start();
            keys.ready().await;
            keys
        })
    });
    let auth = common::with_keys(elsewhere.join().unwrap(), &time.clock);
    let good = named(&signer, "k", &time, ISSUER);
    // Nothing but good tokens: they are asked for again all the same.
    assert_eq!(at_once(&auth, &good), Some(OK));
    common::issuer::settle().await;
    assert_eq!(calls.load(SeqCst), 2);
    time.pass_slowly(990).await;
    assert_eq!(at_once(&auth, &good), Some(OK));
    time.pass_slowly(20).await;
    assert_eq!(status(&auth, &good).await, UNAVAILABLE);
    assert!(calls.load(SeqCst) > 5);
}

#[tokio::test(start_paused = true)]
async fn keys_on_a_runtime_that_stands_still_are_not_waited_for_for_ever() {
    let (time, signer) = (Time::hold(), Signer::ed());
    let (client, calls) = scripted(|_| Response::new(Full::default()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let keys = {
        let _on = runtime.enter();
        Jwks::new(client, "https://id.test/keys").unwrap().start()
    };
    let auth = common::with_keys(keys, &time.clock);
    let good = named(&signer, "k", &time, ISSUER);
    let waiting = tokio::spawn(async move { status(&auth, &good).await });
    time.pass_until(|| waiting.is_finished()).await;
    assert_eq!((waiting.await.unwrap(), calls.load(SeqCst)), (UNAVAILABLE, 0));
    runtime.shutdown_background();
}
