//! What a request sees of the flags.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::sync::Arc;

use bartizan_core::{Engine, Principal};
use bartizan_flags::{EvaluationContext, Exposures, Flag, Flags, FlagsLayer, Reason, RequestFlags};
use http::{HeaderName, Request, Response};
use serde::Deserialize;
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt};

static PLAN: Flag<bool> = Flag::new("plan", false);
static A: Flag<i64> = Flag::new("a", -1);
static B: Flag<i64> = Flag::new("b", -1);

fn plan() -> Flags {
    let flags = json!({"flags": {"plan": {
        "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
        "targeting": {"if": [{"or": [
            {"==": [{"var": "tier"}, "premium"]}, {"==": [{"var": "headers.x-beta"}, "1"]},
        ]}, "on"]},
    }}});
    Flags::from_json(&flags.to_string()).unwrap()
}

fn pair(value: i64) -> String {
    let flag = json!({
        "state": "ENABLED", "variants": {"x": value}, "defaultVariant": "x",
        "metadata": {"owner": "search"},
    });
    json!({"flags": {"a": flag, "b": flag}, "metadata": {"version": value.to_string()}}).to_string()
}

fn evaluations(flags: &Flags) -> f64 {
    let snapshot = flags.snapshot();
    let reasons = ["default", "disabled", "error", "override", "static", "targeting_match"];
    let count = |reason| snapshot.value("bartizan_flags_evaluations_total", reason).unwrap();
    reasons.into_iter().map(count).sum()
}

#[test]
fn a_flag_is_evaluated_once_and_anew_for_another_caller() {
    let flags = plan();
    let request = RequestFlags::new(&flags, &Request::new(()), &[]);
    assert!(!request.get(&PLAN));
    assert!(!request.get(&PLAN));
    assert_eq!(evaluations(&flags), 1.0);

    request.identify(&Principal::new("ann").with_tier("premium"));
    assert!(request.get(&PLAN));
    assert_eq!(request.details(&PLAN).reason, Reason::TargetingMatch);
    assert_eq!(evaluations(&flags), 2.0);

    request.attribute("tier", "free");
    assert!(!request.get(&PLAN));
}

#[test]
fn only_named_headers_are_read() {
    let flags = plan();
    let name = HeaderName::from_static("x-beta");
    let request = Request::builder().header(&name, "1").body(()).unwrap();
    assert!(RequestFlags::new(&flags, &request, &[name]).get(&PLAN));
    assert!(!RequestFlags::new(&flags, &request, &[]).get(&PLAN));
}

#[test]
fn metadata_and_version_come_along() {
    let flags = Flags::from_json(&pair(3)).unwrap();
    let request = RequestFlags::new(&flags, &Request::new(()), &[]);
    let details = request.details(&A);
    assert_eq!((details.value, details.variant.as_deref()), (3, Some("x")));
    assert_eq!(details.metadata["owner"], "search");
    assert_eq!(details.metadata["version"], "3");
    assert_eq!(request.version(), Some("3"));
}

#[tokio::test]
async fn the_layer_hands_the_flags_on_by_extension_and_by_task() {
    let service = ServiceBuilder::new().layer(FlagsLayer::new(plan()).in_extensions()).service_fn(
        |request: Request<()>| {
            assert!(RequestFlags::current().is_some(), "it is there while the service is called");
            async move {
                let by_task = RequestFlags::current().expect("it is there while it is polled");
                let by_extension = request.extensions().get::<RequestFlags>().unwrap();
                Ok::<_, Infallible>(Response::new(by_task.get(&PLAN) && by_extension.get(&PLAN)))
            }
        },
    );
    let principal = Principal::new("ann").with_tier("premium");
    let request = Request::builder().extension(principal).body(()).unwrap();
    assert!(service.oneshot(request).await.unwrap().into_body());
    assert!(RequestFlags::current().is_none());
}

/// 200 tasks evaluate while documents change: each sees old or new, but never a mix.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_never_sees_two_documents() {
    let flags = Flags::from_json(&pair(0)).unwrap();
    let start = Arc::new(tokio::sync::Barrier::new(201));
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let (flags, start) = (flags.clone(), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                for _ in 0..50 {
                    let request = RequestFlags::new(&flags, &Request::new(()), &[]);
                    let first = request.get(&A);
                    tokio::task::yield_now().await;
                    assert_eq!(request.get(&B), first);
                    assert_eq!(request.version(), Some(first.to_string().as_str()));
                }
            })
        })
        .collect();
    start.wait().await;
    for value in 1..200 {
        flags.replace(&pair(value)).unwrap();
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn evaluating_allocates_nothing() {
    let flags = json!({"metadata": {"bucketing": "v3"}, "flags": {"plan": {
        "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
        "targeting": {"if": [
            {"==": [{"var": "plan"}, "premium"]}, "on",
            {"fractional": [["on", 50], ["off", 50]]},
        ]},
    }}});
    let flags = Flags::from_json(&flags.to_string()).unwrap();
    let context = EvaluationContext::new().targeting_key("ann").attribute("plan", "free");
    // A thread's first look at an engine makes a place for what it sees.
    let _ = PLAN.get(&flags, &context);
    let count = bartizan_testing::allocations(|| {
        std::hint::black_box(PLAN.get(&flags, &context));
    });
    assert_eq!(count, 0);
}

/// All that a request has: attributes are read where they lie, and what one request needed, the next
/// one finds.
#[test]
fn the_layer_and_an_evaluation_allocate_nothing() {
    use std::future::ready;

    use tower::{Layer, Service, service_fn};

    let is = |name: &str, value: &str| json!({"==": [{"var": name}, value]});
    let flags = json!({"metadata": {"bucketing": "v3"}, "flags": {"plan": {
        "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
        "targeting": {"if": [
            {"and": [
                is("tenant", "acme"), is("tier", "paid"), is("method", "GET"), is("path", "/cart"),
                is("headers.x-beta", "1"),
                {"in": ["staff", {"var": "roles"}]}, {"starts_with": [{"var": "targetingKey"}, "a"]},
            ]}, "on",
            {"fractional": [["off", 1]]},
        ]},
    }}});
    let flags = Flags::from_json(&flags.to_string()).unwrap();
    let layer = FlagsLayer::new(flags).headers([HeaderName::from_static("x-beta")]);
    let mut service = layer.layer(service_fn(|request: Request<()>| {
        let flags = RequestFlags::current().unwrap();
        assert!(flags.get(&PLAN) && flags.get(&PLAN));
        drop(request);
        ready(Ok::<_, Infallible>(Response::new(())))
    }));
    let principal =
        Principal::new("ann").with_tenant("acme").with_tier("paid").with_roles(["staff"]);
    let request = || {
        Request::get("/cart").header("x-beta", "1").extension(principal.clone()).body(()).unwrap()
    };
    let mut exchange = |request| {
        let mut future = std::pin::pin!(service.call(request));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(future.as_mut().poll(&mut cx).is_ready());
    };
    exchange(request());
    exchange(request());
    let second = request();
    // As a server has them: parts of a buffer that is shared, which the first clone else makes it.
    let _shared = (second.uri().clone(), second.headers()["x-beta"].clone());
    assert_eq!(bartizan_testing::allocations(|| exchange(second)), 0);
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Limits {
    items: u32,
}

fn limits() -> Limits {
    Limits { items: 10 }
}

#[test]
fn objects_are_read_by_serde() {
    static LIMITS: Flag<fn() -> Limits> = Flag::new("limits", limits);
    let flag = |variant| {
        let flag = json!({"state": "ENABLED", "variants": {"x": variant}, "defaultVariant": "x"});
        Flags::from_json(&json!({"flags": {"limits": flag}}).to_string()).unwrap()
    };
    let nobody = EvaluationContext::new();
    assert_eq!(LIMITS.get(&flag(json!({"items": 3})), &nobody), Limits { items: 3 });
    assert_eq!(LIMITS.get(&flag(json!({"items": "many"})), &nobody), limits());
}

#[test]
fn the_lint_names_unknown_unused_and_mistyped_flags() {
    static TEXT: Flag<&str> = Flag::new("b", "");
    static GONE: Flag<bool> = Flag::new("gone", true);
    let flags = Flags::from_json(&pair(1)).unwrap();
    let findings = flags.declare([TEXT.declaration(), GONE.declaration()]);
    let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings.len(), 3, "{findings:#?}");
    assert!(findings[0].starts_with("`flags.b`: holds number variants"), "{findings:#?}");
    assert!(findings[1].contains("`flags.gone`: is read by the program"), "{findings:#?}");
    assert!(findings[2].starts_with("`flags.a`: is read by nobody"), "{findings:#?}");
    assert_eq!(Flags::empty().declare([TEXT.declaration()]).len(), 0);
}

/// Not only the type counts: what the program cannot read, it would answer with its default.
#[test]
fn the_lint_names_variants_that_the_program_cannot_read() {
    static WHOLE: Flag<i64> = Flag::new("whole", 0);
    static PART: Flag<i64> = Flag::new("part", 0);
    static LIMITS: Flag<fn() -> Limits> = Flag::new("limits", limits);
    let flag = |good: serde_json::Value, other: serde_json::Value| {
        json!({"state": "ENABLED", "variants": {"good": good, "other": other},
               "defaultVariant": "good"})
    };
    let flags = Flags::from_json(
        &json!({"flags": {
            "whole": flag(json!(1), json!(2.0)),
            "part": flag(json!(1), json!(1.99)),
            "limits": flag(json!({"items": 1}), json!({"items": "many"})),
        }})
        .to_string(),
    )
    .unwrap();
    let findings = flags.declare([WHOLE.declaration(), PART.declaration(), LIMITS.declaration()]);
    let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings.len(), 2, "{findings:#?}");
    for (finding, flag) in findings.iter().zip(["part", "limits"]) {
        let expected = format!("`flags.{flag}.variants.other`: cannot be read");
        assert!(finding.starts_with(&expected), "{finding}");
    }
}

#[test]
fn a_setting_follows_a_number() {
    let flags = Flags::from_json(&pair(5)).unwrap();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    flags.bind(&A, move |value| {
        sink.lock().unwrap().push(*value);
        Ok(())
    });
    flags.replace(&pair(5)).unwrap();
    flags.replace(&pair(8)).unwrap();
    flags.replace(r#"{"flags": {}}"#).unwrap();
    assert!(flags.replace("{").is_err());
    assert_eq!(*seen.lock().unwrap(), [5, 8]);
}

#[test]
fn the_first_evaluation_of_a_request_is_an_exposure() {
    let flags = Flags::from_json(&pair(3)).unwrap();
    let mut seen = flags.exposures(Exposures::new(2).hashed_keys()).unwrap();
    assert!(flags.exposures(Exposures::new(2)).is_none(), "one receives them");
    for _ in 0..3 {
        let request = RequestFlags::new(&flags, &Request::new(()), &[]);
        request.attribute("targetingKey", "ann");
        let _ = (request.get(&A), request.get(&A));
    }
    let first = seen.try_recv().unwrap();
    assert_eq!((&*first.flag, &*first.variant, first.reason), ("a", "x", Reason::Static));
    assert_eq!(first.version.as_deref(), Some("3"));
    let caller = format!("{:032x}", first.caller.expect("it is asked for"));
    let attributes: Vec<_> = first.attributes().collect();
    let told = [
        ("feature_flag.key", "a"),
        ("feature_flag.provider.name", "bartizan"),
        ("feature_flag.result.variant", "x"),
        ("feature_flag.result.reason", "static"),
        ("feature_flag.version", "3"),
        ("feature_flag.context.id", &caller),
    ];
    assert_eq!(attributes, told.map(|(name, value)| (name, value.to_owned())));
    assert_eq!(seen.try_recv().unwrap(), first);
    // There was room for two.
    assert!(seen.try_recv().is_err());
    let snapshot = flags.snapshot();
    assert_eq!(snapshot.value("bartizan_flags_exposures_total", "dropped"), Some(1.0));
    assert_eq!(snapshot.value("bartizan_flags_exposures_total", "reported"), Some(2.0));
}

#[test]
fn exposures_are_sampled_and_tell_no_names() {
    let flags = Flags::from_json(&pair(3)).unwrap();
    fastrand::seed(7);
    let mut seen = flags.exposures(Exposures::new(10_000).one_in(10)).unwrap();
    for _ in 0..10_000 {
        let request = RequestFlags::new(&flags, &Request::new(()), &[]);
        request.attribute("targetingKey", "ann");
        let _ = request.get(&A);
    }
    let all: Vec<_> = std::iter::from_fn(|| seen.try_recv().ok()).collect();
    assert!((900..1100).contains(&all.len()), "{}", all.len());
    assert!(all.iter().all(|exposure| exposure.caller.is_none()));
}

/// By chance, so that no flag is left out for the place it has in each request.
#[test]
fn sampled_exposures_leave_out_no_flag() {
    fastrand::seed(7);
    let flags = Flags::from_json(&pair(3)).unwrap();
    let mut seen = flags.exposures(Exposures::new(10_000).one_in(2)).unwrap();
    for _ in 0..1000 {
        let request = RequestFlags::new(&flags, &Request::new(()), &[]);
        let _ = (request.get(&A), request.get(&B));
    }
    let all: Vec<_> = std::iter::from_fn(|| seen.try_recv().ok()).collect();
    let of = |flag: &str| all.iter().filter(|exposure| &*exposure.flag == flag).count();
    assert!((400..600).contains(&of("a")) && (400..600).contains(&of("b")), "{}", of("b"));
}

#[test]
fn each_flag_is_exposed_once_a_request_whatever_is_forgotten_meanwhile() {
    let names: Vec<String> = (0..40).map(|n| format!("flag-{n}")).collect();
    let handles: Vec<Flag<i64>> =
        names.iter().map(|name| Flag::new(Box::leak(name.clone().into_boxed_str()), 0)).collect();
    let flag = json!({"state": "ENABLED", "variants": {"x": 1}, "defaultVariant": "x"});
    let all: serde_json::Map<_, _> =
        names.iter().map(|name| (name.clone(), flag.clone())).collect();
    let flags = Flags::from_json(&json!({"flags": all}).to_string()).unwrap();
    let mut seen = flags.exposures(Exposures::new(1000)).unwrap();
    let request = RequestFlags::new(&flags, &Request::new(()), &[]);
    for round in 0..3 {
        for flag in &handles {
            assert_eq!(request.get(flag), 1);
        }
        match round {
            0 => request.identify(&Principal::new("ann")),
            _ => request.attribute("seen", true),
        }
    }
    assert_eq!(std::iter::from_fn(|| seen.try_recv().ok()).count(), 40);
}

#[test]
fn hashed_exposures_tell_callers_apart_though_no_rule_mentions_them() {
    let flags = Flags::from_json(&pair(3)).unwrap();
    let mut seen = flags.exposures(Exposures::new(9).hashed_keys()).unwrap();
    for caller in ["ann", "bob", "ann"] {
        let request = Request::builder().extension(Principal::new(caller)).body(()).unwrap();
        let _ = RequestFlags::new(&flags, &request, &[]).get(&A);
    }
    let callers: Vec<_> = std::iter::from_fn(|| seen.try_recv().ok()?.caller).collect();
    assert_eq!((callers.len(), callers[0]), (3, callers[2]));
    assert_ne!(callers[0], callers[1]);
}

/// What a request cannot be given is no exposure, and is counted like what it can.
#[test]
fn evaluations_of_a_request_that_come_to_nothing_are_counted() {
    static GONE: Flag<bool> = Flag::new("gone", true);
    static TEXT: Flag<&str> = Flag::new("a", "none");
    let count = |flags: &Flags, reason| {
        flags.snapshot().value("bartizan_flags_evaluations_total", reason).unwrap()
    };
    let request = |flags| RequestFlags::new(flags, &Request::new(()), &[]);
    let empty = Flags::empty();
    assert!(request(&empty).get(&GONE));
    assert_eq!(count(&empty, "error"), 1.0, "no document");

    let flags = Flags::from_json(&pair(3)).unwrap();
    let mut exposures = flags.exposures(Exposures::new(9)).unwrap();
    assert!(request(&flags).get(&GONE));
    assert_eq!(count(&flags, "error"), 1.0, "no such flag");
    assert_eq!(request(&flags).get(&TEXT), "none");
    assert_eq!((count(&flags, "error"), count(&flags, "static")), (2.0, 0.0), "another type");
    assert!(exposures.try_recv().is_err());
    flags.switch().set(bartizan_core::Mode::Off);
    assert_eq!(request(&flags).get(&A), -1);
    assert_eq!(count(&flags, "disabled"), 1.0, "the engine is off");
}

#[test]
fn a_source_that_is_silent_for_too_long_makes_values_stale() {
    let clock = bartizan_core::Clock::manual();
    let flags = Flags::named("flags").clock(clock.clone());
    let feed = flags.feed(0);
    feed.replace(&pair(3)).unwrap();
    let nobody = EvaluationContext::new();
    let reason = |flags: &Flags| {
        let request = RequestFlags::new(flags, &Request::new(()), &[]);
        let (own, of_request) = (A.details(flags, &nobody), request.details(&A));
        assert_eq!((own.value, of_request.value), (3, 3), "the last value holds");
        assert_eq!(own.reason, of_request.reason);
        own.reason
    };
    let minute = std::time::Duration::from_secs(60);
    flags.stale_after(minute);
    clock.advance(minute * 9);
    assert_eq!(reason(&flags), Reason::Static, "what no source feeds does not age");
    feed.confirm();
    assert_eq!((reason(&flags), flags.age()), (Reason::Static, Some(std::time::Duration::ZERO)));
    clock.advance(minute);
    assert_eq!(reason(&flags), Reason::Static);
    clock.advance(minute);
    assert_eq!((reason(&flags), flags.age()), (Reason::Stale, Some(minute * 2)));
    let snapshot = flags.snapshot();
    assert_eq!(snapshot.value("bartizan_flags_age_seconds", ""), Some(120.0));
    assert_eq!(snapshot.value("bartizan_flags_stale", ""), Some(1.0));
    // A flag that has no value is not a stale one.
    static GONE: Flag<bool> = Flag::new("gone", true);
    assert_eq!(GONE.details(&flags, &nobody).reason, Reason::Error);
    feed.confirm();
    assert_eq!(reason(&flags), Reason::Static);
}

#[test]
fn requests_of_two_engines_and_evaluations_within_evaluations_keep_apart() {
    let engines: Vec<_> = (0..9).map(|n| Flags::from_json(&pair(n)).unwrap()).collect();
    let nobody = EvaluationContext::new();
    for round in 0..3 {
        for (n, flags) in (0..).zip(&engines) {
            assert_eq!(A.get(flags, &nobody), n + round);
            flags.replace(&pair(n + round + 1)).unwrap();
        }
    }
    // What is bound may evaluate, on the same thread, while it is told.
    let (flags, other) = (Flags::from_json(&pair(1)).unwrap(), engines[0].clone());
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (sink, own) = (Arc::clone(&seen), flags.clone());
    flags.bind(&A, move |value| {
        let nobody = EvaluationContext::new();
        sink.lock().unwrap().push((*value, B.get(&own, &nobody), B.get(&other, &nobody)));
        Ok(())
    });
    flags.replace(&pair(2)).unwrap();
    assert_eq!(*seen.lock().unwrap(), [(1, 1, 3), (2, 2, 3)]);
}
