//! Requests that name the variants they want.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::time::Duration;

use bartizan_core::{Clock, Principal};
use bartizan_flags::{Flag, Flags, FlagsLayer, Overrides, Reason, RequestFlags};
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};

static SEARCH: Flag<&str> = Flag::new("search", "default");
static OFF: Flag<bool> = Flag::new("off", false);

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const HOUR: Duration = Duration::from_secs(3600);

fn flags() -> Flags {
    Flags::from_json(
        r#"{"flags": {
            "search": {"state": "ENABLED", "variants": {"stable": "stable", "canary": "canary"},
                       "defaultVariant": "stable"},
            "off": {"state": "DISABLED", "variants": {"on": true, "off": false},
                    "defaultVariant": "off"}
        }}"#,
    )
    .unwrap()
}

/// What a handler sees, and the response's `Cache-Control`.
async fn ask(layer: &FlagsLayer, field: &str, role: Option<&str>) -> (String, String) {
    let handle = service_fn(|request: Request<()>| async move {
        let flags = RequestFlags::current().unwrap();
        let details = flags.details(&SEARCH);
        assert!(!flags.get(&OFF), "what is disabled stays so");
        let inwards = request.headers().contains_key("cache-control");
        assert_eq!(details.reason == Reason::Override, inwards, "caches further in are told");
        let response = Response::builder().header("cache-control", "max-age=60");
        Ok::<_, Infallible>(
            response.body(format!("{} {}", details.value, details.reason.as_str())).unwrap(),
        )
    });
    let mut request = Request::builder().header("x-flag-overrides", field).body(()).unwrap();
    if let Some(role) = role {
        request.extensions_mut().insert(Principal::new("ann").with_roles([role]));
    }
    let response = layer.layer(handle).oneshot(request).await.unwrap();
    let cache_control = response.headers()["cache-control"].to_str().unwrap().to_owned();
    (response.into_body(), cache_control)
}

fn usual() -> (String, String) {
    ("stable static".to_owned(), "max-age=60".to_owned())
}

fn overridden() -> (String, String) {
    ("canary override".to_owned(), "no-store".to_owned())
}

#[tokio::test]
async fn nobody_overrides_by_default() {
    let layer = FlagsLayer::new(flags());
    assert_eq!(ask(&layer, "search=canary", Some("tester")).await, usual());
}

#[tokio::test]
async fn a_role_overrides() {
    let layer = FlagsLayer::new(flags()).overrides(Overrides::for_role("tester"));
    assert_eq!(ask(&layer, "search=canary", Some("tester")).await, overridden());
    assert_eq!(ask(&layer, " off=on , search=canary,", Some("tester")).await, overridden());
    assert_eq!(ask(&layer, "search=canary", Some("reader")).await, usual());
    assert_eq!(ask(&layer, "search=canary", None).await, usual());
    for nonsense in ["", "search", "search=gone", "gone=canary", "=,=", "off=on"] {
        assert_eq!(ask(&layer, nonsense, Some("tester")).await, usual(), "{nonsense}");
    }
    let long = format!("search=canary,{}", "x".repeat(5000));
    assert_eq!(ask(&layer, &long, Some("tester")).await, usual());
}

#[tokio::test]
async fn a_signature_overrides_until_it_expires() {
    let clock = Clock::manual();
    let overrides = Overrides::signed(SECRET).unwrap().clock(clock.clone());
    let field = overrides.sign("search=canary", HOUR).unwrap();
    let layer = FlagsLayer::new(flags()).overrides(overrides.clone());
    assert_eq!(ask(&layer, &field, None).await, overridden());

    let tampered = field.replace("canary", "stable");
    let later = field.replace(";expires=1", ";expires=2");
    let unsigned = "search=canary;expires=99999999999".to_owned();
    let foreign = Overrides::signed(&[7; 32]).unwrap().clock(clock.clone());
    let foreign = foreign.sign("search=canary", HOUR).unwrap();
    let short = field[..field.len() - 2].to_owned();
    let odd = format!("{}+f", short);
    for wrong in [tampered, later, unsigned, foreign, short, odd, "search=canary".to_owned()] {
        assert_eq!(ask(&layer, &wrong, Some("tester")).await, usual(), "{wrong}");
    }
    clock.advance(HOUR);
    assert_eq!(ask(&layer, &field, None).await, usual());

    assert!(Overrides::signed(&SECRET[1..]).is_err());
    assert_eq!(overrides.sign("a=b;c", HOUR), None);
    assert_eq!(Overrides::for_role("tester").sign("a=b", HOUR), None);
    assert!(!format!("{overrides:?}").contains("0123"));
}

#[tokio::test]
async fn overrides_of_one_request_are_not_those_of_the_next() {
    let layer = FlagsLayer::new(flags()).overrides(Overrides::for_role("tester"));
    for _ in 0..3 {
        assert_eq!(ask(&layer, "search=canary", Some("tester")).await, overridden());
        assert_eq!(ask(&layer, "", Some("tester")).await, usual());
    }
}
