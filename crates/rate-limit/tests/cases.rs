//! What people met in public, by the ids of the collection of cases.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bartizan_core::{ClientIp, ClientIpLayer, PeerAddr, Switch};
use bartizan_rate_limit::{Clock, Engine, Key, Mode, Quota, RateLimitLayer, RateLimiter, key};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_http::cors::{Any, CorsLayer};

async fn hello(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hello")))
}

fn limiter(quota: &str) -> (RateLimiter, Clock) {
    let clock = Clock::manual();
    (RateLimiter::new(quota.parse::<Quota>().unwrap()).clock(clock.clone()), clock)
}

/// A request from `peer`, with a field if one is named.
fn from(peer: &str, field: Option<(&str, &str)>) -> Request<()> {
    let mut request = Request::builder();
    if let Some((name, value)) = field {
        request = request.header(name, value);
    }
    let mut request = request.body(()).unwrap();
    let peer: SocketAddr = peer.parse().unwrap();
    request.extensions_mut().insert(PeerAddr::new(peer));
    request
}

async fn statuses(
    client_ip: ClientIp,
    limit: &str,
    requests: impl IntoIterator<Item = Request<()>>,
) -> Vec<u16> {
    let layer = RateLimitLayer::new(limiter(limit).0);
    let service = ServiceBuilder::new().layer(ClientIpLayer::new(client_ip)).layer(layer);
    let service = service.service_fn(hello);
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(service.clone().oneshot(request).await.unwrap().status().as_u16());
    }
    statuses
}

#[tokio::test]
async fn u01_spoofed_first_elements_buy_no_new_bucket() {
    let forwarded = |n: u8| format!("203.0.113.{n}, 198.51.100.7");
    let spoofed = |name: &'static str, value: fn(String) -> String| {
        (0..5).map(move |n| from("10.0.0.9:443", Some((name, &value(forwarded(n))))))
    };
    let five = [200, 200, 429, 429, 429];
    let xff = || spoofed("x-forwarded-for", |list| list);
    assert_eq!(statuses(ClientIp::trust_hops(1), "2/min", xff()).await, five);
    // Nobody is trusted: all come from the proxy, whatever they say.
    assert_eq!(statuses(ClientIp::peer(), "2/min", xff()).await, five);
    let rfc7239 = spoofed("forwarded", |list| {
        list.split(", ").map(|addr| format!("for={addr}")).collect::<Vec<_>>().join(", ")
    });
    assert_eq!(statuses(ClientIp::trust_hops(1).forwarded(), "2/min", rfc7239).await, five);
    // The proxy appends to one field, and passes on the other as it came.
    let other = (0..5).map(|n| {
        let mut request = from("10.0.0.9:443", Some(("x-forwarded-for", "198.51.100.7")));
        let claim = format!("for=203.0.113.{n}").parse().unwrap();
        request.headers_mut().insert("forwarded", claim);
        request
    });
    assert_eq!(statuses(ClientIp::trust_hops(1), "2/min", other).await, five);
    let real_ip =
        (0..5).map(|n| from("10.0.0.9:443", Some(("x-real-ip", &format!("192.0.2.{n}")))));
    assert_eq!(statuses(ClientIp::trust_hops(1), "2/min", real_ip).await, five);
}

#[tokio::test]
async fn u02_a_client_that_rotates_inside_its_prefix_is_one() {
    let send = async |peers: &[&str]| {
        let peers = peers.iter().map(|peer| from(peer, None));
        statuses(ClientIp::peer(), "2/min", peers.collect::<Vec<_>>()).await
    };
    let prefix = ["[2001:db8:1:1::1]:9", "[2001:db8:1:1::2]:9", "[2001:db8:1:1::3]:9"];
    assert_eq!(send(&prefix).await, [200, 200, 429]);
    // An IPv4-mapped address is its IPv4 address.
    let mapped = ["[::ffff:192.0.2.1]:9", "192.0.2.1:9", "[::ffff:192.0.2.1]:9"];
    assert_eq!(send(&mapped).await, [200, 200, 429]);
    // Fifty IPv4 clients on a dual-stack listener are fifty.
    let many: Vec<_> = (0..50).map(|n| format!("[::ffff:192.0.2.{n}]:9")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(send(&many).await, [200; 50]);
    // So are those behind NAT64.
    let nat64 = ["[64:ff9b::c000:201]:9", "[64:ff9b::c000:202]:9", "[64:ff9b::c000:203]:9"];
    assert_eq!(send(&nat64).await, [200; 3]);
}

#[tokio::test]
async fn u03_a_wait_below_a_second_is_never_zero() {
    let (limiter, clock) = limiter("5/s;burst=1");
    let layer = RateLimitLayer::new(limiter).key(key::global());
    let send = || layer.layer(service_fn(hello)).oneshot(Request::new(()));
    assert_eq!(send().await.unwrap().status(), 200);
    clock.advance(Duration::from_millis(10));
    let refused = send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["ratelimit"], r#""default";r=0;t=1"#);
}

/// What a browser sends before and for a call from another origin.
fn browser(method: Method) -> Request<()> {
    let preflight = method == Method::OPTIONS;
    let request = Request::builder().method(method).header("origin", "https://app.example");
    let request = match preflight {
        true => request.header("access-control-request-method", "GET"),
        false => request,
    };
    request.body(()).unwrap()
}

#[tokio::test]
async fn u04_preflights_cost_nothing_and_refusals_can_be_read() {
    let cors = CorsLayer::new().allow_origin(Any).expose_headers([http::header::RETRY_AFTER]);
    let calls = [Method::OPTIONS, Method::GET].into_iter().cycle().take(6);

    // CORS outside: preflights never get here, and the refusal has the fields that let it be read.
    let layer = RateLimitLayer::new(limiter("2/min").0).key(key::global());
    let service = ServiceBuilder::new().layer(cors).layer(layer).service_fn(hello);
    let mut answers = Vec::new();
    for method in calls.clone() {
        answers.push(service.clone().oneshot(browser(method)).await.unwrap());
    }
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
    assert_eq!(answers[5].headers()["access-control-allow-origin"], "*");
    assert_eq!(answers[5].headers()["access-control-expose-headers"], "retry-after");

    // CORS inside, or none: only true preflights are let off.
    let layer = RateLimitLayer::new(limiter("2/min").0).key(key::global()).skip_preflights();
    let mut statuses = Vec::new();
    for method in calls {
        let answer = layer.layer(service_fn(hello)).oneshot(browser(method)).await.unwrap();
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
    let plain = Request::builder().method("OPTIONS").body(()).unwrap();
    assert_eq!(layer.layer(service_fn(hello)).oneshot(plain).await.unwrap().status(), 429);
}

#[tokio::test]
async fn u05_a_grpc_call_beyond_the_limit_is_resource_exhausted() {
    let (limiter, clock) = limiter("1/min");
    let layer = RateLimitLayer::new(limiter).key(key::global());
    let send = || {
        let request = Request::builder().header("content-type", "application/grpc").body(());
        layer.layer(service_fn(hello)).oneshot(request.unwrap())
    };
    send().await.unwrap();
    clock.advance(Duration::from_millis(58_999));
    let refused = send().await.unwrap();
    assert_eq!(refused.status(), 200);
    let headers = refused.headers();
    assert_eq!(headers["content-type"], "application/grpc");
    assert_eq!(headers["grpc-status"], "8");
    assert_eq!(headers["grpc-retry-pushback-ms"], "1001");
    assert!(headers.contains_key("grpc-status-details-bin"));
}

#[tokio::test]
async fn u08_a_flood_of_keys_neither_grows_memory_nor_buys_a_fresh_burst() {
    let (limiter, clock) = limiter("5/min");
    // Room for 4096 keys.
    let limiter = limiter.memory(64 * 1024);
    let flooded = Key::of("flooded");
    for _ in 0..5 {
        assert!(limiter.check(flooded).allowed);
    }
    for n in 0..1_000_000_u32 {
        let _ = limiter.check(Key::of(&n));
    }
    assert!(!limiter.check(flooded).allowed);
    let keys = || limiter.snapshot().value("bartizan_rate_limit_keys", "").unwrap();
    assert!(keys() <= 4096.0);
    clock.advance(Duration::from_secs(120));
    assert_eq!(keys(), 0.0);
    assert!(limiter.check(flooded).allowed);
}

#[tokio::test]
async fn u30_switched_off_and_on_the_limiter_goes_on_where_it_was() {
    let (limiter, _) = limiter("1/min");
    let switch: Switch = limiter.switch().clone();
    let layer = RateLimitLayer::new(limiter.clone()).key(key::global());
    let send = async || {
        let answer = layer.layer(service_fn(hello)).oneshot(Request::new(())).await;
        answer.unwrap().status().as_u16()
    };
    assert_eq!([send().await, send().await], [200, 429]);
    switch.set(Mode::Off);
    for _ in 0..10 {
        assert_eq!(send().await, 200);
    }
    switch.set(Mode::Enforce);
    assert_eq!(send().await, 429);
    let admitted = limiter.snapshot().value("bartizan_rate_limit_decisions_total", "admitted");
    assert_eq!(admitted, Some(1.0));
}
