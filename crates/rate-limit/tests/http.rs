//! The layer as HTTP, gRPC and plain callers meet it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not marked as tests themselves")]

use std::convert::Infallible;
use std::time::Duration;

use bartizan_core::{Principal, Rejection};
use bartizan_rate_limit::{
    Clock, Dialect, Engine, Key, Mode, Policy, Quota, RateLimitLayer, RateLimiter, Reservation,
    Unkeyed, key,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};

const DECISIONS: &str = "bartizan_rate_limit_decisions_total";

async fn echo(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = if request.uri().path() == "/moved" { 308 } else { 200 };
    Ok(Response::builder().status(status).body(Full::from("hello")).unwrap())
}

fn limiter(quota: &str) -> (RateLimiter, Clock) {
    let clock = Clock::manual();
    (RateLimiter::new(quota.parse::<Quota>().unwrap()).clock(clock.clone()), clock)
}

/// Sends one request through a service of its own, as a server does per connection.
macro_rules! send {
    ($layer:expr, $request:expr) => {
        $layer.layer(service_fn(echo)).oneshot($request).await.unwrap()
    };
    ($layer:expr) => {
        send!($layer, Request::new(()))
    };
}

#[tokio::test]
async fn refusals_are_problem_details() {
    let (limiter, clock) = limiter("100/min;burst=2");
    let layer = RateLimitLayer::new(limiter.named("api")).key(key::global());

    let response = send!(layer);
    assert_eq!(response.headers()["ratelimit-policy"], r#""api";q=2;w=2"#);
    assert_eq!(response.headers()["ratelimit"], r#""api";r=1;t=1"#);
    assert_eq!(send!(layer).status(), StatusCode::OK);

    let response = send!(layer);
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["ratelimit"], r#""api";r=0;t=1"#);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let problem_type = "https://iana.org/assignments/http-problem-types#quota-exceeded";
    assert_eq!(problem["type"], problem_type);
    assert_eq!(problem["code"], "quota-exceeded");
    assert_eq!(problem["violated-policies"], serde_json::json!(["api"]));

    // One request comes back every 600 ms.
    clock.advance(Duration::from_millis(600));
    assert_eq!(send!(layer).status(), StatusCode::OK);
    assert_eq!(send!(layer).status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn grpc_callers_get_a_status() {
    let layer = RateLimitLayer::new(limiter("1/min").0).key(key::global());
    send!(layer);
    let request = Request::builder().header("content-type", "application/grpc").body(());
    let response = send!(layer, request.unwrap());
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "8");
}

#[tokio::test]
async fn fields_are_left_out_of_redirects_and_when_off() {
    let layer = RateLimitLayer::new(limiter("9/min").0).key(key::global());
    let moved = send!(layer, Request::builder().uri("/moved").body(()).unwrap());
    assert_eq!(moved.status(), StatusCode::PERMANENT_REDIRECT);
    assert!(!moved.headers().contains_key("ratelimit"));
    assert!(!moved.headers().contains_key("ratelimit-policy"));
    assert!(!send!(layer.clone().fields(false)).headers().contains_key("ratelimit"));
    assert!(send!(layer).headers().contains_key("ratelimit"));
}

#[tokio::test]
async fn nested_limits_each_have_their_entries() {
    let outer = RateLimitLayer::new(limiter("100/day").0.named("daily")).key(key::global());
    let inner = RateLimitLayer::new(limiter("5/s").0.named("burst")).key(key::global());
    let service = outer.layer(inner.layer(service_fn(echo)));
    let response = service.oneshot(Request::new(())).await.unwrap();
    let policies: Vec<_> = response.headers().get_all("ratelimit-policy").iter().collect();
    assert_eq!(policies, [r#""burst";q=5;w=1"#, r#""daily";q=100;w=86400"#]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_means_five_over_a_hundred_tasks() {
    let layer = RateLimitLayer::new(limiter("5/min").0).key(key::global());
    let tasks: Vec<_> = (0..100)
        .map(|_| layer.clone().layer(service_fn(echo)))
        .map(|service| tokio::spawn(service.oneshot(Request::new(()))))
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += usize::from(task.await.unwrap().unwrap().status() == StatusCode::OK);
    }
    assert_eq!(admitted, 5);
}

#[tokio::test]
async fn clones_share_counts_and_keys_do_not() {
    let layer = RateLimitLayer::new(limiter("2/min").0).key(key::header(http::header::HOST));
    let mut service = layer.clone().layer(service_fn(echo));
    let mut twin = service.clone();
    let from = |host: &str| Request::builder().header("host", host).body(()).unwrap();
    assert_eq!(service.ready().await.unwrap().call(from("a")).await.unwrap().status(), 200);
    assert_eq!(twin.ready().await.unwrap().call(from("a")).await.unwrap().status(), 200);
    assert_eq!(send!(layer, from("a")).status(), 429);
    assert_eq!(send!(layer, from("b")).status(), 200);
}

#[tokio::test]
async fn requests_without_a_key_pass_and_are_counted() {
    let (limiter, _) = limiter("1/min");
    // By address, and nothing says what the address is.
    let layer = RateLimitLayer::new(limiter.clone());
    for _ in 0..3 {
        assert_eq!(send!(layer).status(), StatusCode::OK);
    }
    assert_eq!(limiter.snapshot().value(DECISIONS, "no_key"), Some(3.0));
}

#[tokio::test]
async fn shadow_counts_and_off_does_not() {
    let (limiter, _) = limiter("1/min");
    let layer = RateLimitLayer::new(limiter.clone()).key(key::global());
    let figures = || {
        let snapshot = limiter.snapshot();
        ["admitted", "refused", "shadow_refused"].map(|o| snapshot.value(DECISIONS, o).unwrap())
    };

    limiter.switch().set(Mode::Off);
    assert!(!send!(layer).headers().contains_key("ratelimit"));
    assert_eq!(figures(), [0.0, 0.0, 0.0]);

    limiter.switch().set(Mode::Shadow);
    for _ in 0..3 {
        let response = send!(layer);
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.headers().contains_key("ratelimit"));
    }
    assert_eq!(figures(), [1.0, 0.0, 2.0]);

    limiter.switch().set(Mode::Enforce);
    assert_eq!(send!(layer).status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(figures(), [1.0, 1.0, 2.0]);
}

#[tokio::test]
async fn plain_services_get_an_error() {
    let layer = RateLimitLayer::new(limiter("1/min").0)
        .key(|name: &&'static str| Some(Key::of(name)))
        .plain();
    let ask = |name: &'static str| {
        layer
            .layer(service_fn(|name: &'static str| async move { Ok::<_, Rejection>(name) }))
            .oneshot(name)
    };
    assert_eq!(ask("a").await.unwrap(), "a");
    assert_eq!(ask("a").await.unwrap_err().code(), "quota-exceeded");
    assert_eq!(ask("b").await.unwrap(), "b");
}

#[tokio::test]
async fn several_policies_tell_of_themselves_and_of_who_refuses() {
    let policies = ["second 2/s", "day 1000/day", "week 9/min"].map(|policy| {
        let (name, quota) = policy.split_once(' ').unwrap();
        Policy::new(name, quota.parse().unwrap())
    });
    let limiter = RateLimiter::with_policies(policies).unwrap().clock(Clock::manual());
    let layer = RateLimitLayer::new(limiter).key(key::global());
    let told = |response: &Response<_>, name: &str| -> Vec<String> {
        let values = response.headers().get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    let response = send!(layer);
    let policies = [r#""second";q=2;w=1"#, r#""day";q=1000;w=86400"#, r#""week";q=9;w=60"#];
    assert_eq!(told(&response, "ratelimit-policy"), policies);
    // Each with its own figures: an obedient client does not wait a day for a second's sake.
    let left = [r#""second";r=1;t=1"#, r#""day";r=999;t=86314"#, r#""week";r=8;t=54"#];
    assert_eq!(told(&response, "ratelimit"), left);
    send!(layer);
    let refused = send!(layer);
    let left = [r#""second";r=0;t=1"#, r#""day";r=998;t=86228"#, r#""week";r=7;t=47"#];
    assert_eq!(told(&refused, "ratelimit"), left);
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["violated-policies"], serde_json::json!(["second"]));
}

#[tokio::test]
async fn every_dialect_says_the_same() {
    let ask = async |dialect| {
        let limiter = limiter("100/min;burst=10").0.named("api");
        let layer = RateLimitLayer::new(limiter).key(key::global()).dialect(dialect);
        let response = send!(layer);
        let mut fields: Vec<_> = response
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        fields.sort();
        fields.join("\n")
    };
    let expected = "ratelimit-policy: \"api\";q=10;w=6\nratelimit: \"api\";r=9;t=6";
    assert_eq!(ask(Dialect::Draft11).await, expected);
    let expected = "ratelimit-policy: \"api\";q=10;w=6\nratelimit: \"api\";a=9;w=6;c=1";
    assert_eq!(ask(Dialect::Draft12).await, expected);
    let expected = "ratelimit-policy: 10;w=6\nratelimit: limit=10, remaining=9, reset=1";
    assert_eq!(ask(Dialect::Draft7).await, expected);
    let expected = "ratelimit-limit: 10\nratelimit-remaining: 9\nratelimit-reset: 1";
    assert_eq!(ask(Dialect::Draft6).await, expected);
    let expected = "x-ratelimit-limit: 10\nx-ratelimit-remaining: 9\nx-ratelimit-reset: 1";
    assert_eq!(ask(Dialect::XRateLimit).await, expected);
}

#[tokio::test]
async fn of_several_limiters_the_one_nearest_to_its_limit_is_told() {
    let dialects = [
        (Dialect::Draft6, "ratelimit-remaining", "0"),
        (Dialect::Draft7, "ratelimit", "limit=2, remaining=0, reset=30"),
        (Dialect::XRateLimit, "x-ratelimit-remaining", "0"),
    ];
    for (dialect, name, none_left) in dialects {
        for reversed in [false, true] {
            let layer =
                |quota| RateLimitLayer::new(limiter(quota).0).key(key::global()).dialect(dialect);
            let (mut outer, mut inner) = (layer("100/min"), layer("2/min"));
            if reversed {
                std::mem::swap(&mut outer, &mut inner);
            }
            let mut answers = Vec::new();
            for _ in 0..3 {
                let service = outer.layer(inner.layer(service_fn(echo)));
                answers.push(service.oneshot(Request::new(())).await.unwrap());
            }
            assert_eq!(answers[2].status(), StatusCode::TOO_MANY_REQUESTS);
            let told = |answer: &Response<_>| {
                let lines: Vec<_> = answer.headers().get_all(name).iter().cloned().collect();
                assert_eq!(lines.len(), 1);
                lines[0].to_str().unwrap().to_owned()
            };
            assert_eq!(told(&answers[2]), none_left, "{dialect:?} {reversed}");
            assert!(told(&answers[0]).contains('1') && !told(&answers[0]).contains("99"));
        }
    }
}

#[tokio::test]
async fn requests_without_a_key_are_skipped_shared_or_refused() {
    let layer = |unkeyed| RateLimitLayer::new(limiter("1/min").0).unkeyed(unkeyed);
    let share = layer(Unkeyed::Share);
    assert_eq!([send!(share).status(), send!(share).status()], [200, 429]);
    let refuse = layer(Unkeyed::Refuse);
    let refused = send!(refuse);
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(!refused.headers().contains_key("retry-after"));
    let skip = layer(Unkeyed::Skip);
    assert_eq!([send!(skip).status(), send!(skip).status()], [200, 200]);
}

#[tokio::test]
async fn a_cost_beyond_the_burst_is_refused_for_good() {
    let weight = |request: &Request<()>| request.uri().path().len() as u32;
    let layer = RateLimitLayer::new(limiter("10/min").0).key(key::global()).cost_with(weight);
    let get = |path: &str| Request::builder().uri(path).body(()).unwrap();
    assert_eq!(send!(layer, get("/eight67")).headers()["ratelimit"], r#""default";r=2;t=48"#);
    let later = send!(layer, get("/four"));
    assert_eq!(
        (later.status(), &later.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"18".parse().unwrap())
    );
    let never = send!(layer, get("/longer-than-ten"));
    assert_eq!(never.status(), StatusCode::FORBIDDEN);
    assert!(!never.headers().contains_key("retry-after"));
    // It cost nothing.
    assert_eq!(send!(layer, get("/a")).headers()["ratelimit"], r#""default";r=0;t=6"#);
}

#[tokio::test]
async fn tiers_come_from_the_principal_or_a_closure() {
    let policy = || Policy::new("calls", "1/min".parse().unwrap());
    let limiter = || {
        let policy = policy().tier("gold", "5/min".parse().unwrap());
        RateLimiter::with_policies([policy]).unwrap().clock(Clock::manual())
    };
    let gold = || {
        let mut request = Request::new(());
        request.extensions_mut().insert(Principal::new("ann").with_tier("gold"));
        request
    };
    let layer = RateLimitLayer::new(limiter()).key(key::global()).principal_tier();
    assert_eq!(send!(layer, gold()).headers()["ratelimit-policy"], r#""calls";q=5;w=60"#);
    assert_eq!(send!(layer).headers()["ratelimit-policy"], r#""calls";q=1;w=60"#);

    let layer = RateLimitLayer::new(limiter())
        .key(key::global())
        .tier_with(|request: &Request<()>| request.headers().get("x-plan")?.to_str().ok());
    let planned = Request::builder().header("x-plan", "gold").body(()).unwrap();
    assert_eq!(send!(layer, planned).headers()["ratelimit-policy"], r#""calls";q=5;w=60"#);
}

#[tokio::test]
async fn probes_and_whatever_a_closure_says_are_let_off() {
    let layer = RateLimitLayer::new(limiter("1/day").0)
        .key(key::global())
        .skip_paths(&["/livez", "/readyz"])
        .skip_with(|request: &Request<()>| request.headers().contains_key("x-internal"));
    let get = |path: &str| Request::builder().uri(path).body(()).unwrap();
    for _ in 0..3 {
        let response = send!(layer, get("/livez"));
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.headers().contains_key("ratelimit"));
        let internal = Request::builder().header("x-internal", "1").body(()).unwrap();
        assert_eq!(send!(layer, internal).status(), StatusCode::OK);
    }
    assert_eq!(send!(layer, get("/livez/x")).status(), StatusCode::OK);
    assert_eq!(send!(layer, get("/livez/x")).status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn policies_have_keys_of_their_own() {
    let policies = ["host 2/min", "agent 3/min"].map(|policy| {
        let (name, quota) = policy.split_once(' ').unwrap();
        Policy::new(name, quota.parse().unwrap())
    });
    let limiter = RateLimiter::with_policies(policies).unwrap().clock(Clock::manual());
    let keys = (key::header(http::header::HOST), key::header(http::header::USER_AGENT));
    let layer = RateLimitLayer::new(limiter).keys(keys);
    let get = |host: &str, agent: &str| {
        let request = Request::builder().header("host", host).header("user-agent", agent);
        request.body(()).unwrap()
    };
    assert_eq!(send!(layer, get("a", "x")).status(), 200);
    assert_eq!(send!(layer, get("a", "x")).status(), 200);
    assert_eq!(send!(layer, get("a", "x")).status(), 429);
    assert_eq!(send!(layer, get("b", "x")).status(), 200);
    assert_eq!(send!(layer, get("b", "x")).status(), 429);
    assert_eq!(send!(layer, get("b", "y")).status(), 200);
}

#[tokio::test]
async fn the_service_settles_what_the_layer_reserved() {
    let (limiter, _) = limiter("100/min");
    let layer =
        RateLimitLayer::new(limiter.clone()).key(key::global()).reserve_with(|_: &Request<()>| 50);
    let handler = service_fn(|request: Request<()>| async move {
        request.extensions().get::<Reservation>().unwrap().settle(5);
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    for left in [95, 90, 85] {
        layer.layer(handler).oneshot(Request::new(())).await.unwrap();
        assert_eq!(limiter.peek(Key::GLOBAL).remaining, left);
    }
}
