//! Schemes beside each other: what counts as a guess at which, and what is revoked.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]
#![allow(clippy::disallowed_types, reason = "no test is on the pass path")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bartizan_auth::{
    AllOf, Attempts, AuthLayer, Authenticator, Clock, Denylist, Fault, Key, Principal, Revocation,
    Scheme, Verdict,
};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use tower::{Layer, ServiceExt};

const OK: StatusCode = StatusCode::OK;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
const THROTTLED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// `<id>.right` in a field, known at once or after a while, and counted by id or not.
#[derive(Debug)]
struct Pairs {
    field: HeaderName,
    waits: bool,
    counted: bool,
}

const fn pairs(field: &'static str) -> Pairs {
    Pairs { field: HeaderName::from_static(field), waits: false, counted: true }
}

impl Pairs {
    const fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    const fn nameless(mut self) -> Self {
        self.counted = false;
        self
    }
}

impl Scheme for Pairs {
    fn field(&self) -> &HeaderName {
        &self.field
    }

    fn credential<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]> {
        Some(value.as_bytes())
    }

    fn id(&self, credential: &[u8]) -> Option<Key> {
        self.counted.then(|| Key::of(credential.split(|byte| *byte == b'.').next().unwrap()))
    }

    fn verify(&self, credential: &[u8], _: Duration) -> Verdict {
        let (id, secret) = str::from_utf8(credential).unwrap().split_once('.').unwrap();
        let answer = match secret {
            "right" => Ok(Principal::new(id)),
            "away" => Err(Fault::Unavailable),
            _ => Err(Fault::UnknownKey),
        };
        if self.waits {
            return Verdict::later(async { answer });
        }
        answer.into()
    }

    fn name(&self) -> &'static str {
        "Pair"
    }
}

async fn ask(auth: &Authenticator, fields: &[(&str, &str)]) -> StatusCode {
    let request = fields
        .iter()
        .fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
    let service =
        AuthLayer::new(auth.clone()).layer(tower::service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }));
    service.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
}

/// Three failures under a key are too many.
fn counting() -> (Attempts, Arc<Mutex<HashMap<Key, u32>>>) {
    let failures: Arc<Mutex<HashMap<Key, u32>>> = Arc::default();
    let (asked, counted) = (Arc::clone(&failures), Arc::clone(&failures));
    let attempts = Attempts::new(
        move |key| {
            let count = asked.lock().unwrap().get(&key).copied();
            count.filter(|count| *count >= 3).map(|_| Duration::from_secs(20))
        },
        move |key| *counted.lock().unwrap().entry(key).or_default() += 1,
    );
    (attempts, failures)
}

#[tokio::test]
async fn api2_guesses_behind_a_scheme_that_waits_are_stopped_too() {
    // Both look into one field, as introspection and API keys in `Authorization: Bearer`.
    let auth = Authenticator::new("api")
        .scheme(pairs("x-first").waiting().nameless())
        .scheme(pairs("x-first"))
        .attempts(counting().0);
    for _ in 0..3 {
        assert_eq!(ask(&auth, &[("x-first", "alice.wrong")]).await, UNAUTHORIZED);
    }
    assert_eq!(ask(&auth, &[("x-first", "alice.wrong")]).await, THROTTLED);
    assert_eq!(ask(&auth, &[("x-first", "bob.wrong")]).await, UNAUTHORIZED);
}

#[tokio::test]
async fn api2_of_several_credentials_the_one_that_failed_is_counted() {
    for (first, second) in [
        (pairs("x-first"), pairs("x-second")),
        (pairs("x-first").waiting(), pairs("x-second")),
        (pairs("x-first"), pairs("x-second").waiting()),
    ] {
        let (attempts, failures) = counting();
        let both = AllOf::new(first).and(second);
        let auth = Authenticator::new("api").scheme(both).attempts(attempts);
        let by = |user: &'static str, app: &'static str| [("x-first", user), ("x-second", app)];
        for _ in 0..3 {
            assert_eq!(ask(&auth, &by("alice.wrong", "shop.right")).await, UNAUTHORIZED);
        }
        assert_eq!(failures.lock().unwrap().len(), 1);
        assert_eq!(ask(&auth, &by("alice.right", "shop.right")).await, THROTTLED);
        // Others who use the same application are not: nothing was wrong with its key.
        assert_eq!(ask(&auth, &by("bob.right", "shop.right")).await, OK);
        for _ in 0..3 {
            assert_eq!(ask(&auth, &by("bob.right", "shop.wrong")).await, UNAUTHORIZED);
        }
        assert_eq!(ask(&auth, &by("bob.right", "shop.right")).await, THROTTLED);
        assert_eq!(ask(&auth, &by("bob.right", "app.right")).await, OK);
    }
}

#[tokio::test]
async fn api2_guesses_at_a_key_are_counted_though_another_scheme_is_away() {
    let (attempts, failures) = counting();
    #[derive(Debug)]
    struct Away(Pairs);
    impl Scheme for Away {
        fn field(&self) -> &HeaderName {
            self.0.field()
        }

        fn credential<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]> {
            Some(value.as_bytes())
        }

        fn verify(&self, _: &[u8], _: Duration) -> Verdict {
            Verdict::Now(Err(Fault::Unavailable))
        }

        fn name(&self) -> &'static str {
            "Away"
        }
    }
    let auth = Authenticator::new("api")
        .scheme(Away(pairs("x-first")))
        .scheme(pairs("x-first"))
        .attempts(attempts);
    for _ in 0..3 {
        let status = ask(&auth, &[("x-first", "alice.wrong")]).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(failures.lock().unwrap().values().copied().collect::<Vec<_>>(), [3]);
    assert_eq!(ask(&auth, &[("x-first", "alice.right")]).await, THROTTLED);
}

#[tokio::test]
async fn what_is_revoked_is_so_wherever_it_stands_among_several_credentials() {
    let clock = Clock::manual();
    let until = clock.unix() + Duration::from_secs(60);
    for waits in [false, true] {
        let second = pairs("x-second");
        let second = if waits { second.waiting() } else { second };
        let denylist = Denylist::new().clock(clock.clone());
        let auth = Authenticator::new("api")
            .scheme(AllOf::new(pairs("x-first")).and(second))
            .clock(clock.clone())
            .denylist(denylist.clone());
        let both = [("x-first", "alice.right"), ("x-second", "shop.right")];
        assert_eq!(ask(&auth, &both).await, OK);
        for subject in ["alice", "shop"] {
            let revocation = Revocation::subject("", subject, clock.unix(), until);
            denylist.deny(&revocation).unwrap();
            assert_eq!(ask(&auth, &both).await, UNAUTHORIZED, "{subject}");
            denylist.pardon(&revocation);
        }
        assert_eq!(ask(&auth, &both).await, OK);
    }
}

#[cfg(feature = "basic")]
#[tokio::test]
async fn api2_guesses_at_one_users_password_are_stopped_from_wherever_they_come() {
    use argon2::password_hash::PasswordHasher;
    use bartizan_auth::Basic;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let params = argon2::Params::new(8, 1, 1, None).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let hash = argon2.hash_password(b"sesame").unwrap().to_string();
    let basic = ["alice", "bob"].iter().fold(Basic::new().unwrap(), |basic, name| {
        basic.user(name, &hash, Principal::new(*name)).unwrap()
    });
    let auth = Authenticator::new("api").scheme(basic).attempts(counting().0);
    let by = async |pair: &str| {
        let value = format!("Basic {}", STANDARD.encode(pair));
        ask(&auth, &[("authorization", &value)]).await
    };
    assert_eq!(by("alice:sesame").await, OK);
    for guess in 0..3 {
        assert_eq!(by(&format!("alice:guess-{guess}")).await, UNAUTHORIZED);
    }
    assert_eq!(by("alice:sesame").await, THROTTLED);
    assert_eq!(by("bob:sesame").await, OK);
}
