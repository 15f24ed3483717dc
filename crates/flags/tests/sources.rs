//! Where documents come from, and what happens when they do not.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bartizan_core::{Clock, Engine, Mode, Switch};
use bartizan_flags::{
    Bucketing, ErrorCode, EvaluationContext, Exposures, Flag, Flags, HttpSource, Reason,
    RequestFlags,
};
use bytes::Bytes;
use http::header::{ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{Request, Response, StatusCode, Uri};
use http_body::{Body, Frame};
use http_body_util::{Empty, Full};
use serde_json::json;
use tokio::time::{Instant, advance};
use tower::service_fn;
use tower::util::BoxService;

static SEARCH: Flag<bool> = Flag::new("search", true);
static OTHER: Flag<bool> = Flag::new("other", false);

fn document(flag: &str, on: bool) -> String {
    json!({"flags": {flag: {
        "state": "ENABLED", "variants": {"on": true, "off": false},
        "defaultVariant": if on { "on" } else { "off" },
    }}})
    .to_string()
}

fn nobody() -> EvaluationContext {
    EvaluationContext::new()
}

#[test]
fn a_document_of_a_higher_rank_wins_flag_by_flag() {
    let flags = Flags::from_json(&document("search", true)).unwrap();
    let (server, emergency) = (flags.feed(1), flags.feed(9));
    server.replace(&document("other", true)).unwrap();
    emergency.replace(&document("search", false)).unwrap();
    assert!(!SEARCH.get(&flags, &nobody()) && OTHER.get(&flags, &nobody()));

    // A lower one that changes, and a higher one that is broken, change nothing of that.
    flags.replace(&document("search", true)).unwrap();
    assert!(emergency.replace("{").is_err());
    assert!(emergency.replace("{}").is_err());
    assert!(!SEARCH.get(&flags, &nobody()) && OTHER.get(&flags, &nobody()));

    emergency.replace(r#"{"flags": {}}"#).unwrap();
    assert!(SEARCH.get(&flags, &nobody()));
}

#[test]
fn documents_must_agree_on_the_bucketing_version() {
    let versioned = |version| json!({"flags": {}, "metadata": {"bucketing": version}}).to_string();
    let flags = Flags::from_json(&versioned("v2")).unwrap();
    assert!(flags.feed(1).replace(&versioned("v3")).is_err());
    flags.feed(1).replace(&versioned("v2")).unwrap();
}

/// Half of the callers, under a version of bucketing if one is named.
fn half(flag: &str, bucketing: Option<&str>) -> String {
    let metadata = bucketing.map_or(json!({}), |version| json!({"bucketing": version}));
    json!({"metadata": metadata, "flags": {flag: {
        "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
        "targeting": {"fractional": [["on", 50], ["off", 50]]},
    }}})
    .to_string()
}

#[test]
fn a_document_over_others_moves_nobody_whom_they_have_placed() {
    let flags = Flags::from_json(&half("search", None)).unwrap();
    let placed = |flags: &Flags| -> Vec<bool> {
        let user = |n: u32| EvaluationContext::new().targeting_key(n.to_string());
        (0..100).map(|n| SEARCH.get(flags, &user(n))).collect()
    };
    let before = placed(&flags);
    let emergency = flags.feed(9);
    assert!(emergency.replace(&half("other", Some("v2"))).is_err(), "what names none is v3");
    assert_eq!((flags.bucketing(), placed(&flags) == before), (Bucketing::V3, true));
    emergency.replace(&half("other", Some("v3"))).unwrap();
    assert!(placed(&flags) == before);

    // What names none takes over what is there, and what has no percentages names nothing.
    let flags = Flags::from_json(&half("search", Some("v2"))).unwrap();
    let before = placed(&flags);
    flags.feed(9).replace(&half("other", None)).unwrap();
    assert_eq!((flags.bucketing(), placed(&flags) == before), (Bucketing::V2, true));
    let flags = Flags::from_json(&document("search", true)).unwrap();
    flags.feed(9).replace(&half("other", Some("v2"))).unwrap();
    assert_eq!(flags.bucketing(), Bucketing::V2);
}

#[test]
fn a_document_over_others_labels_only_its_own_flags() {
    let labelled = |flag: &str, set: &str, version: &str| {
        let mut document: serde_json::Value = serde_json::from_str(&document(flag, true)).unwrap();
        document["metadata"] = json!({"flagSetId": set, "version": version, set: true});
        document.to_string()
    };
    let flags = Flags::from_json(&labelled("search", "shop", "7")).unwrap();
    flags.feed(9).replace(&labelled("other", "emergency", "1")).unwrap();
    let mut seen = flags.exposures(Exposures::new(2)).unwrap();
    let request = RequestFlags::new(&flags, &Request::new(()), &[]);
    assert!(request.get(&SEARCH) && request.get(&OTHER));
    let labels: Vec<_> = std::iter::from_fn(|| seen.try_recv().ok())
        .map(|seen| (seen.set.unwrap().to_string(), seen.version.unwrap().to_string()))
        .collect();
    let expected = [("shop", "7"), ("emergency", "1")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(labels, expected);
    assert_eq!((flags.version().as_deref(), request.version()), (Some("7"), Some("7")));
    let metadata = request.details(&SEARCH).metadata;
    assert!(metadata.contains_key("shop") && !metadata.contains_key("emergency"));
}

type Answer = (StatusCode, &'static str, String);
type Asked = Arc<Mutex<Vec<(Instant, Option<String>)>>>;

/// A server that gives its answers one by one, and its last one for ever. No answer is a server that
/// never answers.
fn server(
    answers: Vec<Answer>,
) -> (
    impl tower::Service<
        Request<Empty<Bytes>>,
        Response = Response<Full<Bytes>>,
        Error = Infallible,
        Future: Send,
    > + Send
    + 'static,
    Asked,
) {
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    let answers = Mutex::new(VecDeque::from(answers));
    let service = service_fn(move |request: Request<Empty<Bytes>>| {
        let etag = request.headers().get(IF_NONE_MATCH);
        let etag = etag.map(|etag| etag.to_str().unwrap().to_owned());
        log.lock().unwrap().push((Instant::now(), etag));
        let mut answers = answers.lock().unwrap();
        let answer = match answers.len() {
            0 => None,
            1 => answers.front().cloned(),
            _ => answers.pop_front(),
        };
        async move {
            let Some((status, field, body)) = answer else { return std::future::pending().await };
            let mut response = Response::builder().status(status);
            match status {
                StatusCode::OK if !field.is_empty() => response = response.header(ETAG, field),
                StatusCode::OK => {}
                _ if !field.is_empty() => response = response.header(RETRY_AFTER, field),
                _ => {}
            }
            Ok(response.body(Full::from(body)).unwrap())
        }
    });
    (service, asked)
}

fn uri() -> Uri {
    Uri::from_static("http://flags.test/flags.json")
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_document_is_not_sent_again() {
    let (client, asked) = server(vec![
        (StatusCode::OK, "\"1\"", document("search", false)),
        (StatusCode::NOT_MODIFIED, "", String::new()),
    ]);
    let mut source = HttpSource::new(client, uri(), Flags::empty());
    assert!(source.reload().await.unwrap());
    assert!(!source.reload().await.unwrap());
    assert!(!SEARCH.get(&source.flags(), &nobody()));
    assert!(source.flags().age().is_some());
    let asked: Vec<_> = asked.lock().unwrap().iter().map(|(_, etag)| etag.clone()).collect();
    assert_eq!(asked, [None, Some("\"1\"".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_and_failures_are_asked_ever_more_seldom() {
    let (client, asked) = server(vec![
        (StatusCode::SERVICE_UNAVAILABLE, "100", String::new()),
        (StatusCode::BAD_GATEWAY, "", String::new()),
    ]);
    let watch = HttpSource::new(client, uri(), Flags::empty()).watch(Duration::from_secs(30));
    assert!(tokio::time::timeout(Duration::from_secs(300), watch).await.is_err());
    let asked = asked.lock().unwrap();
    let waits: Vec<_> =
        asked.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64()).collect();
    for (wait, expected) in waits.iter().zip([100.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]) {
        assert!((expected..expected * 1.11 + 0.01).contains(wait), "{waits:?}");
    }
    assert!(waits.len() >= 7, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn u27_a_server_that_never_answers_holds_up_no_evaluation() {
    let (client, asked) = server(Vec::new());
    let flags = Flags::empty();
    let task = tokio::spawn(HttpSource::new(client, uri(), flags.clone()).watch(SECOND));
    advance(SECOND).await;
    tokio::task::yield_now().await;
    assert_eq!(asked.lock().unwrap().len(), 1);
    let before = Instant::now();
    let details = RequestFlags::new(&flags, &Request::new(()), &[]).details(&SEARCH);
    assert!(details.value, "the default holds");
    assert_eq!((details.reason, details.error), (Reason::Error, Some(ErrorCode::ProviderNotReady)));
    assert_eq!(Instant::now(), before);
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_to_be_left_alone_for_ever_is_for_an_hour() {
    let long = "99999999999999999999";
    let (client, asked) = server(vec![(StatusCode::SERVICE_UNAVAILABLE, long, String::new())]);
    let watch = HttpSource::new(client, uri(), Flags::empty()).watch(30 * SECOND);
    assert!(tokio::time::timeout(3599 * SECOND, watch).await.is_err());
    assert_eq!(asked.lock().unwrap().len(), 1);
}

/// An emergency document is no substitute for what has not come yet.
#[tokio::test(start_paused = true)]
async fn u27_a_source_that_never_answers_ages_from_its_start_and_nobody_is_ready() {
    let clock = Clock::manual();
    let flags = Flags::named("flags").clock(clock.clone());
    flags.stale_after(60 * SECOND);
    flags.feed(9).replace(&document("other", true)).unwrap();
    assert!(flags.ready_within(SECOND).await, "nothing else is to come");
    let (client, _) = server(vec![
        (StatusCode::BAD_GATEWAY, "", String::new()),
        (StatusCode::OK, "", document("search", false)),
    ]);
    let mut source = HttpSource::new(client, uri(), flags.clone());
    assert!(source.reload().await.is_err());
    clock.advance(61 * SECOND);
    assert!(!flags.ready_within(SECOND).await);
    assert_eq!((flags.age(), flags.is_stale()), (Some(61 * SECOND), true));
    let value = |metric| flags.snapshot().value(metric, "");
    assert_eq!(value("bartizan_flags_age_seconds"), Some(61.0));
    assert_eq!(value("bartizan_flags_stale"), Some(1.0));
    assert_eq!(OTHER.details(&flags, &nobody()).reason, Reason::Stale);

    let waiting = tokio::spawn({
        let flags = flags.clone();
        async move { flags.ready_within(SECOND).await }
    });
    tokio::task::yield_now().await;
    source.reload().await.unwrap();
    assert!(waiting.await.unwrap());
    assert_eq!((flags.age(), flags.is_stale()), (Some(Duration::ZERO), false));
}

const SECOND: Duration = Duration::from_secs(1);

/// A body of which nothing ever comes, as over a connection whose other end has gone.
struct Hangs;

impl Body for Hangs {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

type Hanging = HttpSource<BoxService<Request<Empty<Bytes>>, Response<Hangs>, Infallible>>;

/// How often a server is asked in a minute and a half of which nothing comes: of the first answers the
/// head, of the others not even that.
async fn asked_of_one_that_hangs(heads: usize, set: impl FnOnce(Hanging) -> Hanging) -> usize {
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let client = service_fn(move |_: Request<Empty<Bytes>>| {
        let mut count = count.lock().unwrap();
        *count += 1;
        let has_head = *count <= heads;
        async move { if has_head { Ok(Response::new(Hangs)) } else { std::future::pending().await } }
    });
    let source = HttpSource::new(BoxService::new(client), uri(), Flags::empty());
    let watch = set(source).watch(SECOND);
    assert!(tokio::time::timeout(90 * SECOND, watch).await.is_err());
    *asked.lock().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up_and_asked_again() {
    for heads in [0, 9] {
        // Each time it has 30 seconds, and is left alone for one.
        assert_eq!(asked_of_one_that_hangs(heads, |source| source).await, 3);
    }
    let count = asked_of_one_that_hangs(0, |source| source.deadline(8 * SECOND)).await;
    assert_eq!(count, 10);
}

#[tokio::test]
async fn u27_last_values_survive_a_restart_during_an_outage() {
    let file = kept("kept");
    let (client, _) = server(vec![(StatusCode::OK, "\"1\"", document("search", false))]);
    let mut source = HttpSource::new(client, uri(), Flags::empty()).keep_in(&file);
    source.reload().await.unwrap();

    let (client, _) = server(vec![(StatusCode::BAD_GATEWAY, "", String::new())]);
    let mut source = HttpSource::new(client, uri(), Flags::empty()).keep_in(&file);
    assert!(source.flags().age().is_some_and(|age| age < 60 * SECOND), "it was written just now");
    assert!(!SEARCH.get(&source.flags(), &nobody()), "what was in force before holds at once");
    assert!(source.flags().ready_within(Duration::ZERO).await);
    assert!(source.reload().await.unwrap_err().to_string().contains("502"));
    assert!(!SEARCH.get(&source.flags(), &nobody()));
    fs::remove_file(file).unwrap();
}

fn kept(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("bartizan-{name}-{}", std::process::id()))
}

/// A week-old copy is no fresher for a restart.
#[tokio::test]
async fn u27_a_kept_document_is_as_old_as_its_file_until_the_source_answers() {
    const WEEK: Duration = Duration::from_secs(7 * 86_400);
    let (file, clock) = (kept("old"), Clock::manual());
    fs::write(&file, document("search", false)).unwrap();
    let modified = SystemTime::UNIX_EPOCH + clock.unix() - WEEK;
    fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();

    let flags = Flags::named("flags").clock(clock.clone());
    flags.stale_after(3600 * SECOND);
    let (client, _) = server(vec![
        (StatusCode::BAD_GATEWAY, "", String::new()),
        (StatusCode::OK, "", document("search", false)),
    ]);
    let mut source = HttpSource::new(client, uri(), flags.clone()).keep_in(&file);
    clock.advance(SECOND);
    assert!(source.reload().await.is_err());
    let reason = |flags: &Flags| {
        let details = SEARCH.details(flags, &nobody());
        assert!(!details.value, "the last value holds");
        details.reason
    };
    assert_eq!((flags.age(), reason(&flags)), (Some(WEEK + SECOND), Reason::Stale));
    let snapshot = flags.snapshot();
    assert_eq!(snapshot.value("bartizan_flags_age_seconds", ""), Some(604_801.0));
    assert_eq!(snapshot.value("bartizan_flags_stale", ""), Some(1.0));

    source.reload().await.unwrap();
    assert_eq!((flags.age(), reason(&flags)), (Some(Duration::ZERO), Reason::Static));
    fs::remove_file(file).unwrap();
}

/// The source is there, but what it has cannot be used: as good as silent.
#[tokio::test]
async fn a_refused_document_leaves_the_last_one_to_age() {
    let clock = Clock::manual();
    let flags = Flags::named("flags").clock(clock.clone());
    let (client, _) = server(vec![
        (StatusCode::OK, "\"1\"", document("search", false)),
        (StatusCode::OK, "\"2\"", "{".to_owned()),
        (StatusCode::NOT_MODIFIED, "", String::new()),
        (StatusCode::OK, "", "{".to_owned()),
        (StatusCode::OK, "\"3\"", document("search", true)),
    ]);
    let mut source = HttpSource::new(client, uri(), flags.clone());
    source.reload().await.unwrap();
    for minutes in 1..4 {
        clock.advance(60 * SECOND);
        let _ = source.reload().await;
        assert_eq!(flags.age(), Some(60 * SECOND * minutes));
    }
    assert_eq!(flags.snapshot().value("bartizan_flags_reloads_total", "refused"), Some(1.0));
    source.reload().await.unwrap();
    assert_eq!(flags.age(), Some(Duration::ZERO));
}

/// The emergency document is of another version of bucketing, so that the server's does not go with it.
#[tokio::test]
async fn what_another_document_kept_out_comes_into_force_when_that_is_gone() {
    let answers = |field: &'static str| {
        let first = (StatusCode::OK, field, half("search", Some("v2")));
        let next = match field {
            "" => first.clone(),
            _ => (StatusCode::NOT_MODIFIED, "", String::new()),
        };
        vec![first, next]
    };
    for field in ["", "\"1\""] {
        let clock = Clock::manual();
        let flags = Flags::named("flags").clock(clock.clone());
        let refused = || flags.snapshot().value("bartizan_flags_reloads_total", "refused");
        let emergency = flags.feed(9);
        emergency.replace(&half("other", Some("v3"))).unwrap();
        let (client, _) = server(answers(field));
        let mut source = HttpSource::new(client, uri(), flags.clone());
        assert!(source.reload().await.is_err());
        for _ in 0..3 {
            clock.advance(60 * SECOND);
            assert!(!source.reload().await.unwrap());
        }
        assert_eq!(refused(), Some(1.0), "it is not tried again while nothing has changed");

        emergency.withdraw().unwrap();
        assert!(source.reload().await.unwrap());
        assert_eq!((flags.bucketing(), flags.age()), (Bucketing::V2, Some(Duration::ZERO)));
        assert!(!source.reload().await.unwrap());
    }
}

/// What was put over it by hand holds until the source is asked.
#[tokio::test]
async fn a_source_puts_its_own_document_back() {
    for field in ["", "\"1\""] {
        let own = (StatusCode::OK, field, document("search", false));
        let next = match field {
            "" => own.clone(),
            _ => (StatusCode::NOT_MODIFIED, "", String::new()),
        };
        let (client, _) = server(vec![own, next]);
        let mut source = HttpSource::new(client, uri(), Flags::empty());
        source.reload().await.unwrap();
        let flags = source.flags();
        flags.apply(serde_json::from_str(&document("search", true)).unwrap()).unwrap();
        assert!(SEARCH.get(&flags, &nobody()));
        assert!(source.reload().await.unwrap());
        assert!(!SEARCH.get(&flags, &nobody()));
        assert!(!source.reload().await.unwrap());
    }
}

/// A server without tags sends the same text again and again: that turns nothing back.
#[tokio::test]
async fn the_same_text_again_changes_nothing() {
    let mode = r#"{"flags": {"mode": {"state": "ENABLED", "variants": {"off": "off"},
        "defaultVariant": "off"}}}"#;
    let (client, _) = server(vec![(StatusCode::OK, "", mode.to_owned())]);
    let flags = Flags::empty();
    let switch = Switch::default();
    let mut source = HttpSource::new(client, uri(), flags.clone());
    assert!(source.reload().await.unwrap());
    flags.control("mode", switch.clone());
    assert_eq!(switch.setting().0, Mode::Off);
    switch.set(Mode::Shadow);
    assert!(!source.reload().await.unwrap());
    assert_eq!(switch.setting().0, Mode::Shadow, "what was set by hand stays");
    assert_eq!(flags.snapshot().value("bartizan_flags_reloads_total", "applied"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn u28_a_failed_start_is_not_remembered() {
    let start = Instant::now();
    let client = service_fn(move |_: Request<Empty<Bytes>>| async move {
        let healthy = start.elapsed() >= Duration::from_secs(10);
        let (status, body) = match healthy {
            true => (StatusCode::OK, document("search", false)),
            false => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        };
        Ok::<_, Infallible>(
            Response::builder().status(status).body(Full::<Bytes>::from(body)).unwrap(),
        )
    });
    let flags = Flags::empty();
    let task = tokio::spawn(HttpSource::new(client, uri(), flags.clone()).watch(30 * SECOND));
    tokio::time::sleep(SECOND).await;
    assert!(SEARCH.get(&flags, &nobody()), "the default, at once");
    assert!(!flags.ready_within(Duration::from_millis(1)).await);
    // It was asked at 0, 1, 3 and 7 seconds, and is at 15, each up to a tenth later.
    assert!(flags.ready_within(19 * SECOND).await, "it is there within 20 s");
    assert!(!SEARCH.get(&flags, &nobody()));
    task.abort();
}
