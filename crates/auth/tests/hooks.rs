//! What an authenticator tells and asks beside its schemes: a trail, a denylist, a count of guesses.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]
#![allow(clippy::disallowed_types, reason = "no test is on the pass path")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bartizan_auth::{
    ApiKeys, Attempts, Audit, AuditDecision, AuditEvent, AuditStage, AuthLayer, Authenticator,
    Clock, Denylist, Engine, Fault, Mode, Principal, RequireLayer, Revocation, Scheme, Settings,
    TracingSink, Verdict, WhenStale,
};
use bartizan_core::{Key, PeerAddr};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{ServiceBuilder, ServiceExt};

const KEY: &str = "bz_0123456789abcdefghijklmn";

fn keys() -> ApiKeys {
    let keys = ApiKeys::new();
    let alice = Principal::new("alice").with_tenant("acme").with_scopes(["read"]);
    keys.insert(KEY, alice).unwrap();
    keys
}

async fn ok(_: Request<Body>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(String::new()))
}

async fn ask(auth: &Authenticator, request: http::request::Builder) -> (StatusCode, String) {
    let guard = RequireLayer::new(auth.clone()).scopes(["read"]);
    let service =
        ServiceBuilder::new().layer(AuthLayer::new(auth.clone())).layer(guard).service_fn(ok);
    let response = service.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let fields = format!("{:?}", head.headers);
    (head.status, fields + &String::from_utf8_lossy(&body))
}

fn with_key(key: &str) -> http::request::Builder {
    Request::get("/orders?token=secret").header("x-api-key", key).header("x-request-id", "r-1")
}

#[tokio::test]
async fn the_trail_says_who_what_and_why_and_no_secrets() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let seen = Arc::clone(&seen);
        move |event: &AuditEvent| seen.lock().unwrap().push(event.clone())
    };
    let audit = Audit::new(sink);
    let auth = Authenticator::new("api").scheme(keys()).audit(audit.clone());
    assert_eq!(ask(&auth, with_key(KEY)).await.0, StatusCode::OK);
    assert_eq!(
        ask(&auth, with_key("bz_9876543210abcdefghijklmn")).await.0,
        StatusCode::UNAUTHORIZED
    );
    auth.switch().set(Mode::Shadow);
    assert_eq!(ask(&auth, Request::post("/orders")).await.0, StatusCode::OK);
    audit.flush();

    let events = seen.lock().unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let method = event.method.as_str();
            (event.stage, event.decision, event.reason, event.scheme, method)
        })
        .collect();
    use {AuditDecision as Did, AuditStage as At};
    let by_key = Some("ApiKey");
    assert_eq!(
        told,
        [
            (At::Authenticate, Did::Allowed, "authenticated", by_key, "GET"),
            (At::Authorize, Did::Allowed, "met", None, "GET"),
            (At::Authenticate, Did::Refused, "unknown_key", by_key, "GET"),
            (At::Authenticate, Did::ShadowRefused, "missing", None, "POST"),
            (At::Authorize, Did::ShadowRefused, "missing", None, "POST"),
        ]
    );
    let allowed = &events[1];
    assert_eq!(allowed.principal.as_ref().map(Principal::subject), Some("alice"));
    assert_eq!((&*allowed.engine, &*allowed.path), ("api", "/orders"));
    assert_eq!(allowed.request_id.as_deref(), Some("r-1"));
    assert_eq!(allowed.requirement.as_deref(), Some("scope:read"));
    let shown = format!("{events:?}");
    for secret in [KEY, "bz_9876", "secret", "alice", "acme"] {
        assert!(!shown.contains(secret), "{secret}");
    }
    let count = |outcome| auth.snapshot().value("bartizan_auth_audit_total", outcome);
    assert_eq!((count("recorded"), count("dropped")), (Some(5.0), Some(0.0)));
}

#[tokio::test]
async fn refusals_alone_are_told_where_that_is_enough() {
    let audit = Audit::new(TracingSink::new()).refusals_only();
    let auth = Authenticator::new("api").scheme(keys()).audit(audit.clone());
    assert_eq!(ask(&auth, with_key(KEY)).await.0, StatusCode::OK);
    assert_eq!(ask(&auth, with_key("x")).await.0, StatusCode::UNAUTHORIZED);
    audit.flush();
    assert_eq!(audit.counts(), (1, 0));
}

/// `id.secret`: a scheme with a part that is no secret.
#[derive(Debug)]
struct Pairs;

impl Scheme for Pairs {
    fn field(&self) -> &HeaderName {
        static FIELD: HeaderName = HeaderName::from_static("x-pair");
        &FIELD
    }

    fn credential<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]> {
        Some(value.as_bytes())
    }

    fn id(&self, credential: &[u8]) -> Option<Key> {
        credential.split(|byte| *byte == b'.').next().map(Key::of)
    }

    fn verify(&self, credential: &[u8], _: Duration) -> Verdict {
        Verdict::Now(match credential {
            b"alice.right" => Ok(Principal::new("alice").with_scopes(["read"])),
            b"alice.expired" => Err(Fault::Expired),
            _ => Err(Fault::UnknownKey),
        })
    }

    fn name(&self) -> &'static str {
        "Pair"
    }
}

/// Three failures in a row are too many for twenty seconds.
fn throttled(clock: &Clock) -> Authenticator {
    let failures: Arc<Mutex<HashMap<Key, (u32, Duration)>>> = Arc::default();
    let (asked, now, then) = (Arc::clone(&failures), clock.clone(), clock.clone());
    let attempts = Attempts::new(
        move |key| {
            let failures = asked.lock().unwrap();
            let (count, last) = failures.get(&key)?;
            let over = *last + Duration::from_secs(20);
            (*count >= 3)
                .then(|| over.checked_sub(now.unix()))
                .flatten()
                .filter(|wait| !wait.is_zero())
        },
        move |key| {
            let mut failures = failures.lock().unwrap();
            let (count, last) = failures.entry(key).or_default();
            (*count, *last) = (*count + 1, then.unix());
        },
    );
    Authenticator::new("api").scheme(Pairs).clock(clock.clone()).attempts(attempts)
}

fn pair(pair: &str, host: u8) -> http::request::Builder {
    let peer = SocketAddr::from((Ipv4Addr::new(192, 0, 2, host), 1234));
    Request::get("/").header("x-pair", pair).extension(PeerAddr::new(peer))
}

#[tokio::test]
async fn api2_guesses_at_one_id_are_stopped_from_wherever_they_come() {
    let clock = Clock::manual();
    let auth = throttled(&clock);
    for host in 0..3 {
        assert_eq!(ask(&auth, pair("alice.wrong", host)).await.0, StatusCode::UNAUTHORIZED);
    }
    let (status, answer) = ask(&auth, pair("alice.right", 9)).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.contains("\"retry-after\": \"20\""), "{answer}");
    assert!(answer.contains("too_many_attempts"), "{answer}");
    // Nobody else is.
    assert_eq!(ask(&auth, pair("bob.wrong", 9)).await.0, StatusCode::UNAUTHORIZED);
    clock.advance(Duration::from_secs(20));
    assert_eq!(ask(&auth, pair("alice.right", 9)).await.0, StatusCode::OK);
    let count = auth.snapshot().value("bartizan_auth_denials_total", "throttled");
    assert_eq!(count, Some(1.0));
}

#[tokio::test]
async fn api2_guesses_from_one_address_are_stopped_whatever_they_are_at() {
    let auth = throttled(&Clock::manual());
    for id in ["a.x", "b.x", "c.x"] {
        assert_eq!(ask(&auth, pair(id, 1)).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(ask(&auth, pair("alice.right", 1)).await.0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(&auth, pair("alice.right", 2)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_guess_is_not_counted() {
    let auth = throttled(&Clock::manual());
    for _ in 0..10 {
        assert_eq!(ask(&auth, pair("alice.expired", 1)).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(ask(&auth, Request::get("/")).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(ask(&auth, pair("alice.right", 1)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_is_revoked_is_turned_away_at_once_and_comes_back_when_pardoned() {
    let clock = Clock::manual();
    let denylist = Denylist::new().clock(clock.clone());
    let auth =
        Authenticator::new("api").scheme(keys()).clock(clock.clone()).denylist(denylist.clone());
    assert_eq!(ask(&auth, with_key(KEY)).await.0, StatusCode::OK);
    let now = clock.unix();
    let revocation = Revocation::subject("", "alice", now, now + Duration::from_secs(60));
    denylist.deny(&revocation).unwrap();
    let (status, answer) = ask(&auth, with_key(KEY)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(answer.contains("invalid_token") && !answer.contains("revoked"), "{answer}");
    let value = |metric, outcome| auth.snapshot().value(metric, outcome);
    assert_eq!(value("bartizan_auth_denials_total", "revoked"), Some(1.0));
    assert_eq!(value("bartizan_auth_denylist", "revoked"), Some(1.0));
    denylist.pardon(&revocation);
    assert_eq!(ask(&auth, with_key(KEY)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_denylist_that_fell_silent_is_open_or_closed_by_choice() {
    let clock = Clock::manual();
    for (rule, expected) in
        [(WhenStale::Pass, StatusCode::OK), (WhenStale::Refuse, StatusCode::SERVICE_UNAVAILABLE)]
    {
        let denylist = Denylist::new().stale_after(Duration::from_secs(30), rule);
        let auth = Authenticator::new("api")
            .scheme(keys())
            .clock(clock.clone())
            .settings(Settings::default())
            .denylist(denylist.clone());
        denylist.heard(clock.unix());
        assert_eq!(ask(&auth, with_key(KEY)).await.0, StatusCode::OK);
        clock.advance(Duration::from_secs(31));
        assert_eq!(ask(&auth, with_key(KEY)).await.0, expected);
        let stale = auth.snapshot().value("bartizan_auth_denylist", "stale");
        assert_eq!(stale, Some(1.0));
    }
}
