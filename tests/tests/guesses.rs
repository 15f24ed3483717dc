//! A rate limiter stops who guesses at credentials, before they are looked at, and who is known but
//! asks for too much.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use bartizan::auth::{ApiKeys, Attempts, AuthLayer, Authenticator, Principal};
use bartizan::core::{Clock, PeerAddr, key};
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

#[tokio::test]
async fn api2_who_guesses_waits_and_nobody_else() {
    const KEY: &str = "bz_live_0123456789abcdefghijkl";
    let clock = Clock::manual();
    let keys = ApiKeys::new();
    keys.insert(KEY, Principal::new("alice")).unwrap();
    let failures = RateLimiter::new(Quota::per_minute(3).unwrap()).clock(clock.clone());
    let asked = failures.clone();
    let attempts =
        Attempts::new(move |key| asked.peek(key).retry_after, move |key| failures.charge(key));
    let auth = Authenticator::new("api").scheme(keys).clock(clock.clone()).attempts(attempts);
    let layer = AuthLayer::new(auth);
    let ask = async |key: &str, host: u8| {
        let peer = SocketAddr::from((Ipv4Addr::new(192, 0, 2, host), 1234));
        let request = Request::get("/").header("x-api-key", key).extension(PeerAddr::new(peer));
        let inner = service_fn(|_: Request<Body>| {
            std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
        });
        layer.layer(inner).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    for guess in 0..3 {
        let response = ask(&format!("bz_live_{guess:022}"), 1).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
    let response = ask(KEY, 1).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "20");
    assert_eq!(ask(KEY, 2).await.status(), StatusCode::OK);
    clock.advance(Duration::from_secs(20));
    assert_eq!(ask(KEY, 1).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn api6_a_caller_is_limited_wherever_it_comes_from_and_with_whatever_key() {
    let keys = ApiKeys::new();
    let (first, second) = ("bz_live_first_0123456789abcdef", "bz_live_second_0123456789abcde");
    let other = "bz_live_other_0123456789abcdef";
    keys.insert(first, Principal::new("alice")).unwrap();
    keys.insert(second, Principal::new("alice")).unwrap();
    keys.insert(other, Principal::new("bob")).unwrap();
    let limiter = RateLimiter::new(Quota::per_day(1).unwrap().burst(2).unwrap());
    let service = ServiceBuilder::new()
        .layer(AuthLayer::new(Authenticator::new("api").scheme(keys)))
        .layer(RateLimitLayer::new(limiter).key(key::principal()))
        .service(service_fn(|_: Request<Body>| {
            std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
        }));
    let ask = async |key: &str, host: u8| {
        let peer = SocketAddr::from((Ipv4Addr::new(192, 0, 2, host), 1234));
        let request = Request::get("/").header("x-api-key", key).extension(PeerAddr::new(peer));
        service.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    };
    assert_eq!(ask(first, 1).await, StatusCode::OK);
    assert_eq!(ask(second, 2).await, StatusCode::OK);
    assert_eq!(ask(first, 3).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(other, 1).await, StatusCode::OK);
}
