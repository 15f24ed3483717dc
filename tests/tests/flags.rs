//! Flags that turn a limiter: for everyone, and for one tenant.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;

use bartizan::core::{Clock, Engine, Mode, Principal, key};
use bartizan::flags::{Flag, Flags, SplitLayer};
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt, service_fn};

fn limiter(name: &str) -> RateLimiter {
    RateLimiter::new(Quota::per_hour(1).unwrap()).named(name).clock(Clock::manual())
}

async fn handle(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hello")))
}

fn request(tenant: &str) -> Request<()> {
    let principal = Principal::new(format!("a caller of {tenant}")).with_tenant(tenant);
    Request::builder().extension(principal).body(()).unwrap()
}

fn mode(mode: &str) -> String {
    format!(
        r#"{{"flags": {{"limiter": {{"state": "ENABLED", "variants": {{"m": "{mode}"}},
        "defaultVariant": "m"}}}}}}"#
    )
}

async fn status<S, B>(service: &S, tenant: &str) -> StatusCode
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
{
    service.clone().oneshot(request(tenant)).await.unwrap().status()
}

#[tokio::test]
async fn u30_a_limiter_that_is_switched_off_and_on_counts_on_where_it_was() {
    const OK: StatusCode = StatusCode::OK;
    const REFUSED: StatusCode = StatusCode::TOO_MANY_REQUESTS;
    let flags = Flags::from_json(&mode("enforce")).unwrap();
    let limiter = limiter("all");
    flags.control("limiter", limiter.switch().clone());
    let layer = RateLimitLayer::new(limiter.clone()).key(key::principal());
    let service = layer.layer(service_fn(handle));
    assert_eq!(status(&service, "acme").await, OK);
    assert_eq!(status(&service, "acme").await, REFUSED);

    let decisions =
        |outcome| limiter.snapshot().value("bartizan_rate_limit_decisions_total", outcome).unwrap();
    let before = (decisions("admitted"), decisions("refused"));
    flags.replace(&mode("off")).unwrap();
    for _ in 0..10 {
        assert_eq!(status(&service, "acme").await, OK);
    }
    assert_eq!((decisions("admitted"), decisions("refused")), before, "off is off");

    flags.replace(&mode("enforce")).unwrap();
    assert_eq!(status(&service, "acme").await, REFUSED, "there is no free burst");
}

#[tokio::test]
async fn a_limiter_in_shadow_for_one_tenant_reports_and_refuses_nobody_there() {
    static LIMITER: Flag<&str> = Flag::new("limiter", "enforce");
    let flags = Flags::from_json(
        r#"{"flags": {"limiter": {
            "state": "ENABLED", "variants": {"enforce": "enforce", "shadow": "shadow"},
            "defaultVariant": "enforce",
            "targeting": {"if": [{"==": [{"var": "tenant"}, "acme"]}, "shadow"]}
        }}}"#,
    )
    .unwrap();
    let (enforcing, watching) = (limiter("enforcing"), limiter("watching").mode(Mode::Shadow));
    let limited = |limiter: &RateLimiter| {
        RateLimitLayer::new(limiter.clone()).key(key::principal()).layer(service_fn(handle))
    };
    let split = SplitLayer::new(flags, LIMITER, [("shadow", limited(&watching))]);
    let service = split.layer(limited(&enforcing));
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push((status(&service, "acme").await, status(&service, "other").await));
    }
    assert!(seen.iter().all(|(acme, _)| *acme == StatusCode::OK), "{seen:?}");
    let refused = seen.iter().filter(|(_, other)| *other == StatusCode::TOO_MANY_REQUESTS).count();
    assert_eq!(refused, 4);
    let would_be = watching.snapshot();
    let would_be = would_be.value("bartizan_rate_limit_decisions_total", "shadow_refused");
    assert_eq!(would_be, Some(4.0));
}
