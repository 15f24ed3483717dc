//! What a user of the engine, the file source and the layers relies on.

use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bartizan_core::{Clock, Engine, Mode, Principal, Switch};
use bartizan_flags::{
    ErrorCode, EvaluationContext, FileSource, Flag, Flags, FlagsLayer, GateLayer, Reason,
    RequestFlags,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt};

fn document(mode: &str) -> String {
    json!({"flags": {"mode": {
        "state": "ENABLED",
        "variants": {"enforce": "enforce", "shadow": "shadow", "off": "off", "odd": "sometimes"},
        "defaultVariant": mode,
    }}})
    .to_string()
}

/// A file of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(text: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bartizan-flags-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("the folder can be written to");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn reading_a_controlled_switch_allocates_nothing() {
    let flags = Flags::from_json(
        r#"{"flags": {"mode": {"state": "ENABLED", "variants": {"shadow": "shadow"},
        "defaultVariant": "shadow"}}}"#,
    )
    .unwrap();
    let switch = Switch::default();
    flags.control("mode", switch.clone());
    let count = bartizan_testing::allocations(|| {
        assert_eq!(switch.mode(|| None), Mode::Shadow);
    });
    assert_eq!(count, 0);
}

#[test]
fn reasons_and_errors_are_told() {
    let flags = Flags::from_json(
        &json!({"flags": {
            "static": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"},
            "disabled": {"state": "DISABLED", "variants": {"on": true}, "defaultVariant": "on"},
            "bare": {"state": "ENABLED", "variants": {"on": true}},
            "rule": {"state": "ENABLED", "variants": {"true": true}, "targeting": {"!": [false]}},
            "null": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on",
                     "targeting": {"if": [false, "on"]}},
            "astray": {"state": "ENABLED", "variants": {"on": true}, "targeting": {"cat": "gone"}},
            "broken": {"state": "ON"},
            "text": {"state": "ENABLED", "variants": {"on": "yes"}, "defaultVariant": "on"},
        }})
        .to_string(),
    )
    .unwrap();
    for (flag, value, reason, error) in [
        ("static", true, Reason::Static, None),
        ("disabled", false, Reason::Disabled, None),
        ("bare", false, Reason::Default, None),
        ("rule", true, Reason::TargetingMatch, None),
        ("null", true, Reason::Default, None),
        ("astray", false, Reason::Error, Some(ErrorCode::General)),
        ("broken", false, Reason::Error, Some(ErrorCode::ParseError)),
        ("absent", false, Reason::Error, Some(ErrorCode::FlagNotFound)),
        ("text", false, Reason::Error, Some(ErrorCode::TypeMismatch)),
    ] {
        let details = flags.bool_details(flag, &EvaluationContext::new(), false);
        assert_eq!(
            (details.value, details.reason, details.error),
            (value, reason, error),
            "{flag}"
        );
        assert_eq!(details.variant.is_some(), value, "{flag}");
    }
    let snapshot = flags.snapshot();
    assert_eq!(snapshot.value("bartizan_flags_evaluations_total", "error"), Some(4.0));
    assert_eq!(snapshot.value("bartizan_flags_broken", ""), Some(1.0));

    flags.switch().set(Mode::Off);
    let details = flags.bool_details("static", &EvaluationContext::new(), false);
    assert_eq!((details.value, details.reason), (false, Reason::Disabled));
}

/// The steps that one evaluation may take are for all of its conditions together.
#[test]
fn the_conditions_of_a_flag_share_its_steps() {
    let found = json!({"some": [{"var": "list"}, {"==": [{"var": ""}, -1]}]});
    let flag = |conditions: usize| {
        let mut cases = vec![];
        for _ in 0..conditions {
            cases.extend([found.clone(), json!("on")]);
        }
        cases.push(json!("off"));
        json!({"state": "ENABLED", "variants": {"on": true, "off": false}, "targeting": {"if": cases}})
    };
    let flags = json!({"flags": {"one": flag(1), "three": flag(3)}});
    let flags = Flags::from_json(&flags.to_string()).unwrap();
    let list: Vec<_> = (0..10_000).collect();
    let context = EvaluationContext::new().attribute("list", list);
    assert_eq!(flags.bool_details("one", &context, true).reason, Reason::TargetingMatch);
    assert_eq!(flags.bool_details("three", &context, true).error, Some(ErrorCode::General));
}

/// A short document may refer to a long rule again and again.
#[test]
fn what_references_amount_to_is_bounded_for_the_whole_document() {
    let rule: Vec<_> = (0..4000).map(|n| json!({"var": n.to_string()})).collect();
    let flag = json!({"state": "ENABLED", "variants": {"on": true, "off": false},
                      "defaultVariant": "off", "targeting": {"if": [{"$ref": "long"}, "on"]}});
    let flags: serde_json::Map<_, _> =
        (0..700).map(|n| (format!("{n:04}"), flag.clone())).collect();
    let document = json!({"flags": flags, "$evaluators": {"long": {"or": rule}}});
    let flags = Flags::from_json(&document.to_string()).unwrap();
    let problems = flags.problems();
    assert!((150..200).contains(&problems.len()), "{}", problems.len());
    assert!(problems[0].to_string().contains("references"), "{}", problems[0]);
    let nobody = EvaluationContext::new();
    assert_eq!(flags.bool_details("0000", &nobody, true).error, None);
    assert_eq!(flags.bool_details("0699", &nobody, true).error, Some(ErrorCode::ParseError));
}

#[test]
fn numbers_are_not_cut_off() {
    let flags = Flags::from_json(
        &json!({"flags": {
            "whole": {"state": "ENABLED", "variants": {"a": 2.0}, "defaultVariant": "a"},
            "part": {"state": "ENABLED", "variants": {"a": 1.99}, "defaultVariant": "a"},
        }})
        .to_string(),
    )
    .unwrap();
    let context = EvaluationContext::new();
    assert_eq!(flags.integer("whole", &context, 7), 2);
    assert_eq!(flags.integer("part", &context, 7), 7);
    assert_eq!(flags.float("part", &context, 7.0), 1.99);
}

#[test]
fn the_last_good_document_stays() {
    let flags = Flags::from_json(&document("shadow")).unwrap();
    assert!(flags.replace("{").is_err());
    assert!(flags.apply(json!({"flags": []})).is_err());
    assert_eq!(flags.string("mode", &EvaluationContext::new(), "none"), "shadow");
    assert_eq!(flags.snapshot().value("bartizan_flags_reloads_total", "refused"), Some(2.0));
    flags.apply(serde_json::from_str(&document("off")).unwrap()).unwrap();
    assert_eq!(flags.string("mode", &EvaluationContext::new(), "none"), "off");
}

#[test]
fn an_edited_file_turns_a_switch() {
    let file = Scratch::new(&document("enforce"));
    let source = FileSource::load(&file.0).unwrap();
    let switch = Switch::new(Mode::Off);
    source.flags().control("mode", switch.clone());
    assert_eq!(switch.setting().0, Mode::Enforce);
    assert!(!source.reload().unwrap());

    fs::write(&file.0, document("shadow")).unwrap();
    assert!(source.reload().unwrap());
    assert_eq!(switch.setting().0, Mode::Shadow);

    // A broken file is reported once; an odd mode or a file that is gone changes nothing.
    fs::write(&file.0, "{").unwrap();
    assert!(source.reload().is_err());
    assert!(!source.reload().unwrap());
    fs::write(&file.0, document("odd")).unwrap();
    assert!(source.reload().unwrap());
    fs::remove_file(&file.0).unwrap();
    assert!(source.reload().is_err());
    assert_eq!(switch.setting().0, Mode::Shadow);

    fs::write(&file.0, document("off")).unwrap();
    assert!(source.reload().unwrap());
    assert_eq!(switch.setting().0, Mode::Off);
}

#[test]
fn a_refused_file_leaves_the_last_document_to_age() {
    let (file, clock) = (Scratch::new(&document("enforce")), Clock::manual());
    let flags = Flags::named("flags").clock(clock.clone());
    let source = FileSource::load_into(&file.0, flags.clone()).unwrap();
    let minute = Duration::from_secs(60);
    fs::write(&file.0, "{").unwrap();
    for minutes in 1..3 {
        clock.advance(minute);
        let _ = source.reload();
        assert_eq!(flags.age(), Some(minute * minutes));
    }
    fs::write(&file.0, document("enforce")).unwrap();
    assert!(source.reload().unwrap());
    assert_eq!(flags.age(), Some(Duration::ZERO));
}

/// A local file that overrules a server while it is there, whenever it comes.
#[test]
fn an_optional_file_holds_while_it_is_there() {
    let (file, clock) = (Scratch::new("gone at once"), Clock::manual());
    fs::remove_file(&file.0).unwrap();
    let flags = Flags::named("flags").clock(clock.clone());
    let switch = Switch::default();
    flags.control("mode", switch.clone());
    let source = FileSource::optional(&file.0, flags.feed(9)).unwrap();
    assert!(!source.reload().unwrap());
    assert_eq!(flags.age(), None, "nothing is followed yet");
    let mode = |mode: &str| {
        let string = flags.string("mode", &EvaluationContext::new(), "none");
        assert_eq!((string.as_str(), switch.setting().0), (mode, mode.parse().unwrap()));
    };
    flags.replace(&document("enforce")).unwrap();
    mode("enforce");
    fs::write(&file.0, document("off")).unwrap();
    assert!(source.reload().unwrap());
    mode("off");
    // One that is broken keeps what it said before.
    fs::write(&file.0, "{").unwrap();
    assert!(source.reload().is_err());
    mode("off");
    clock.advance(Duration::from_secs(60));
    fs::remove_file(&file.0).unwrap();
    assert!(source.reload().unwrap());
    mode("enforce");
    assert_eq!(flags.age(), None, "what is not there does not age");
    assert!(!source.reload().unwrap());
    // The same text is in force anew.
    fs::write(&file.0, document("off")).unwrap();
    assert!(source.reload().unwrap());
    mode("off");
}

#[test]
fn a_document_that_is_withdrawn_was_the_only_one() {
    let kept = Scratch::new(&document("off"));
    let flags = Flags::empty();
    let feed = flags.feed(3).keep_in(&kept.0);
    assert_eq!(flags.string("mode", &EvaluationContext::new(), "none"), "off");
    assert!(feed.withdraw().unwrap());
    let details = flags.string_details("mode", &EvaluationContext::new(), "none");
    assert_eq!(details.error, Some(ErrorCode::ProviderNotReady));
    assert!(!feed.withdraw().unwrap());
    assert!(!kept.0.exists(), "it does not come back with the next start");
}

#[tokio::test(start_paused = true)]
async fn a_place_that_nobody_feeds_any_more_is_not_waited_for() {
    let flags = Flags::from_json(&document("off")).unwrap();
    let feed = flags.feed(3);
    feed.expect();
    let waits = flags.ready_within(Duration::from_secs(60));
    let gives_up = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!feed.withdraw().unwrap(), "there never was one");
    };
    assert!(tokio::join!(waits, gives_up).0);
    assert_eq!(flags.age(), None);
}

#[tokio::test(start_paused = true)]
async fn a_watched_file_turns_a_switch() {
    let file = Scratch::new(&document("enforce"));
    let source = FileSource::load(&file.0).unwrap();
    let switch = Switch::default();
    source.flags().control("mode", switch.clone());
    fs::write(&file.0, document("off")).unwrap();
    let watch = source.watch(Duration::from_secs(1));
    assert!(tokio::time::timeout(Duration::from_millis(2500), watch).await.is_err());
    assert_eq!(switch.setting().0, Mode::Off);
}

#[test]
fn a_file_that_is_not_there_is_an_error_that_names_it() {
    let error = FileSource::load("/nowhere/flags.json").unwrap_err();
    assert!(error.to_string().contains("/nowhere/flags.json"), "{error}");
}

static BETA: Flag<bool> = Flag::new("beta", false);

#[tokio::test]
async fn a_gate_opens_by_request_and_the_layer_hands_the_flags_on() {
    let flags = Flags::from_json(
        &json!({"flags": {"beta": {
            "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
            "targeting": {"if": [{"==": [{"var": "tenant"}, "acme"]}, "on"]},
        }}})
        .to_string(),
    )
    .unwrap();
    let service = ServiceBuilder::new()
        .layer(FlagsLayer::new(flags.clone()).in_extensions())
        .layer(GateLayer::new(flags, BETA))
        .service_fn(|request: Request<()>| async move {
            let flags = request.extensions().get::<RequestFlags>().expect("the layer put it there");
            assert!(flags.get(&BETA));
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("beta"))))
        });
    let ask = |tenant: &str| {
        let mut request = Request::new(());
        request.extensions_mut().insert(Principal::new("ann").with_tenant(tenant));
        service.clone().oneshot(request)
    };
    assert_eq!(ask("acme").await.unwrap().status(), StatusCode::OK);
    assert_eq!(ask("other").await.unwrap().status(), StatusCode::NOT_FOUND);
}
