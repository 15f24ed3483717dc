//! What the RFCs say of credentials in requests and challenges in answers, each test named by its
//! section.

#![cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use axum::body::Body;
use bartizan_auth::{
    ApiKeys, AuthLayer, Authenticator, Clock, KeySet, Principal, RequireLayer, Settings,
};
use common::{KEY, Signer, ask, bearer, jwks, whoami, with_keys};
use http::{HeaderName, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt};

const OK: StatusCode = StatusCode::OK;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;

/// An authenticator of tokens, a good one, and one that has expired.
struct Bench {
    auth: Authenticator,
    good: String,
    expired: String,
}

impl Bench {
    fn new() -> Self {
        let (signer, clock) = (Signer::ed(), Clock::manual());
        let keys = KeySet::from_jwks(&jwks(&[signer.jwk("k")])).unwrap();
        let ended = clock.unix().as_secs() - 3600;
        let token = |change| signer.token("k", &clock, &change);
        let (good, expired) = (token(json!({})), token(json!({"exp": ended})));
        Self { auth: with_keys(keys, &clock), good, expired }
    }
}

#[tokio::test]
async fn rfc6750_2_credentials_come_once() {
    let (bench, keys) = (Bench::new(), ApiKeys::new());
    keys.insert(KEY, Principal::new("key")).unwrap();
    let auth = bench.auth.clone().scheme(keys);
    let good = &bench.good;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let request = Request::get("/").header("authorization", format!("{scheme} {good}"));
        assert_eq!(ask(&auth, request).await.status(), OK);
    }
    let twice = [
        bearer(good).header("authorization", format!("Bearer {good}")),
        bearer(good).header("authorization", "Basic YTpi"),
        bearer(good).header("x-api-key", KEY),
        Request::get("/").header("x-api-key", KEY).header("x-api-key", KEY),
    ];
    for request in twice {
        let response = ask(&auth, request).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let challenge = response.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains(r#"error="invalid_request""#), "{challenge}");
    }
    // Not in a query, nor in a form.
    let query = Request::get(format!("/?access_token={good}"));
    assert_eq!(ask(&auth, query).await.status(), UNAUTHORIZED);
}

#[tokio::test]
async fn rfc6750_3_and_3_1_challenges_say_what_is_wrong() {
    let bench = Bench::new();
    let auth = bench.auth.clone().scheme(ApiKeys::new());
    let challenges = async |request| {
        let response = ask(&auth, request).await;
        let all = response.headers().get_all("www-authenticate").iter();
        let all: Vec<_> = all.map(|value| value.to_str().unwrap().to_owned()).collect();
        (response.status(), all)
    };
    // Who sent none is told no error.
    let (status, all) = challenges(Request::get("/")).await;
    assert_eq!(status, UNAUTHORIZED);
    assert_eq!(all, [r#"Bearer realm="api""#, r#"ApiKey realm="api""#]);
    let (status, all) = challenges(bearer(&bench.expired)).await;
    assert_eq!(status, UNAUTHORIZED);
    assert!(all[0].starts_with(r#"Bearer realm="api", error="invalid_token""#), "{all:?}");
    assert_eq!(all[1], r#"ApiKey realm="api""#);

    let guard = RequireLayer::new(auth).scopes(["orders:write"]);
    let service = ServiceBuilder::new().layer(guard).service_fn(whoami);
    let request = Request::get("/").extension(Principal::new("a")).body(Body::empty()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains(r#"error="insufficient_scope""#), "{challenge}");
    assert!(challenge.contains(r#"scope="orders:write""#), "{challenge}");
}

#[tokio::test]
async fn rfc9728_5_1_challenges_say_where_metadata_is() {
    let url = "https://api.test/.well-known/oauth-protected-resource";
    let bench = Bench::new();
    let auth = bench.auth.clone().scheme(ApiKeys::new()).resource_metadata(url);
    for request in [Request::get("/"), bearer("bad")] {
        let response = ask(&auth, request).await;
        let all: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
        let expected = format!(r#"resource_metadata="{url}""#);
        assert!(all[0].to_str().unwrap().contains(&expected), "{all:?}");
        assert!(!all[1].to_str().unwrap().contains("resource_metadata"));
    }
}

#[tokio::test]
async fn rfc9110_11_6_2_identity_from_outside_is_removed() {
    let bench = Bench::new();
    let name = HeaderName::from_static;
    let layer = AuthLayer::new(bench.auth.clone().settings(Settings::default().optional(true)))
        .forward("sub", name("who-is-it"))
        .remove(name("x-internal-role"))
        .strip_credentials();
    let seen = async |request: http::request::Builder| {
        let service = ServiceBuilder::new()
            .layer(layer.clone())
            .service(tower::util::service_fn(seen_fields));
        let request = request.header("x-internal-role", "admin").header("who-is-it", "root");
        let response = service.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    };
    let good = &bench.good;
    assert_eq!(seen(Request::get("/")).await, "");
    assert_eq!(seen(bearer(good)).await, "who-is-it=alice");
}

#[allow(clippy::needless_pass_by_value, reason = "a service takes its requests")]
fn seen_fields(
    request: Request<Body>,
) -> std::future::Ready<Result<http::Response<String>, std::convert::Infallible>> {
    let fields = request.headers().iter();
    let fields: Vec<_> =
        fields.map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
    std::future::ready(Ok(http::Response::new(fields.join(" "))))
}
