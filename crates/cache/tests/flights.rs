//! One fetch for many waiters, whatever happens to those who wait.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bartizan_cache::{CacheLayer, Clock, Purge, ResponseCache, Settings};
use bartizan_core::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use tokio::task::{JoinHandle, yield_now};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

/// A body in parts of 100 bytes, each after others had a turn.
struct Drip {
    left: usize,
    turn: bool,
    broken: bool,
    /// Counts the bodies that are there.
    _there: Arc<()>,
}

impl Body for Drip {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.turn = !self.turn;
        if self.turn {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left == 0 {
            let error = || Err(io::Error::other("broken"));
            return Poll::Ready(std::mem::take(&mut self.broken).then(error));
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 100])))))
    }
}

/// What the service answers with.
#[derive(Clone, Copy)]
struct Script {
    said: &'static str,
    parts: usize,
    broken: bool,
    status: u16,
    fails: bool,
    /// Whether there is an `ETag` of `"1"`, and conditional requests for it are answered by 304.
    etag: bool,
}

const FRESH: Script =
    Script { said: "max-age=60", parts: 20, broken: false, status: 200, fails: false, etag: false };

type Service = BoxCloneSyncService<Request<Empty<Bytes>>, Response<Whole>, io::Error>;
type Whole = http_body_util::combinators::UnsyncBoxBody<Bytes, bartizan_cache::BoxError>;

struct Setup {
    cache: ResponseCache,
    calls: Arc<AtomicUsize>,
    /// How many calls were not dropped before their end.
    answered: Arc<AtomicUsize>,
    /// How many were conditional.
    conditional: Arc<AtomicUsize>,
    service: Service,
    /// Held once here, once by the service, and by each body that is there.
    bodies: Arc<()>,
}

fn setup(settings: Settings, script: impl Fn(usize) -> Script + Send + Sync + 'static) -> Setup {
    setup_by(&Clock::system(), settings, script)
}

fn setup_by(
    clock: &Clock,
    settings: Settings,
    script: impl Fn(usize) -> Script + Send + Sync + 'static,
) -> Setup {
    let cache = ResponseCache::new("test").settings(settings).unwrap().clock(clock.clone());
    let conditional = Arc::new(AtomicUsize::new(0));
    let conditions = Arc::clone(&conditional);
    let (calls, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, done) = (Arc::clone(&calls), Arc::clone(&answered));
    let script = Arc::new(script);
    let bodies = Arc::new(());
    let there = Arc::clone(&bodies);
    let inner = service_fn(move |request: Request<Empty<Bytes>>| {
        let call = counted.fetch_add(1, Relaxed);
        let script = script(call);
        let (done, conditions) = (Arc::clone(&done), Arc::clone(&conditions));
        let there = Arc::clone(&there);
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            done.fetch_add(1, Relaxed);
            if script.fails {
                return Err(io::Error::other("gone"));
            }
            let vary = request.headers().get("x-vary").is_some();
            let condition = request.headers().get("if-none-match").is_some();
            conditions.fetch_add(usize::from(condition), Relaxed);
            let unchanged = script.etag && condition;
            let mut response = Response::builder()
                .status(if unchanged { 304 } else { script.status })
                .header("surrogate-key", "tag")
                .header("cache-control", script.said)
                .header("x-call", call);
            if vary {
                response = response.header("vary", "x-vary");
            }
            if script.etag {
                response = response.header("etag", "\"1\"");
            }
            let left = if unchanged { 0 } else { script.parts };
            let drip = Drip { left, turn: false, broken: script.broken, _there: there };
            Ok(response.body(drip).unwrap())
        }
    });
    let layer = CacheLayer::new(cache.clone());
    let service = layer.layer(inner).map_response(|response| response.map(BodyExt::boxed_unsync));
    let service = BoxCloneSyncService::new(service);
    Setup { cache, calls, answered, conditional, service, bodies }
}

impl Setup {
    fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }

    fn bodies(&self) -> usize {
        Arc::strong_count(&self.bodies) - 2
    }

    fn value(&self, metric: &str, outcome: &str) -> u64 {
        self.cache.snapshot().value(metric, outcome).unwrap() as u64
    }

    fn ask(&self, request: http::request::Builder) -> JoinHandle<io::Result<Answer>> {
        let service = self.service.clone();
        let request = request.header("host", "a.test").body(Empty::new()).unwrap();
        tokio::spawn(async move {
            let (parts, body) = service.oneshot(request).await?.into_parts();
            let call = parts.headers.get("x-call").map(|call| call.to_str().unwrap().to_owned());
            let body = body.collect().await;
            Ok(Answer {
                status: parts.status.as_u16(),
                cache: parts.headers["cache-status"].to_str().unwrap().to_owned(),
                call: call.unwrap_or_default().parse().unwrap_or_default(),
                len: body.ok().map(|body| body.to_bytes().len()),
            })
        })
    }

    fn get(&self) -> JoinHandle<io::Result<Answer>> {
        self.ask(Request::get("/"))
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    cache: String,
    call: usize,
    /// `None` if the body broke off.
    len: Option<usize>,
}

async fn all(handles: Vec<JoinHandle<io::Result<Answer>>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for handle in handles {
        answers.push(handle.await.unwrap().unwrap());
    }
    answers
}

#[tokio::test(start_paused = true)]
async fn u14_a_thousand_misses_are_one_fetch() {
    let setup = setup(Settings::default(), |_| FRESH);
    let answers = all((0..1000).map(|_| setup.get()).collect()).await;
    assert_eq!(setup.calls(), 1);
    assert!(answers.iter().all(|answer| answer.len == Some(2000)));
    let collapsed = answers.iter().filter(|answer| answer.cache.ends_with("; collapsed")).count();
    assert_eq!(collapsed, 999);
    assert_eq!(setup.value("bartizan_cache_requests_total", "collapsed"), 999);
    assert_eq!(setup.value("bartizan_cache_requests_total", "uri_miss"), 1);
    assert_eq!(setup.value("bartizan_cache_filling_bytes", ""), 0);
    assert!(setup.get().await.unwrap().unwrap().cache.starts_with("test; hit"));
    println!("bar: cache-fetches-for-1000-misses {} 1 ok", setup.calls());
}

#[tokio::test(start_paused = true)]
async fn u14_a_thousand_requests_at_expiry_are_one_fetch() {
    for etag in [false, true] {
        let clock = Clock::manual();
        let setup = setup_by(&clock, Settings::default(), move |_| Script { etag, ..FRESH });
        setup.get().await.unwrap().unwrap();
        clock.advance(Duration::from_secs(60));
        let answers = all((0..1000).map(|_| setup.get()).collect()).await;
        assert_eq!(setup.calls(), 2, "etag: {etag}");
        assert_eq!(setup.conditional.load(Relaxed), usize::from(etag));
        assert!(answers.iter().all(|answer| answer.len == Some(2000)));
        println!("bar: cache-fetches-for-1000-requests-at-expiry {} 1 ok", setup.calls() - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn u14_a_leader_cancelled_at_any_moment_takes_nobody_along() {
    let mut held = 0;
    for round in 0..1000 {
        let setup = setup(Settings::default(), |_| FRESH);
        let leader = setup.get();
        yield_now().await;
        let followers: Vec<_> = (0..5).map(|_| setup.get()).collect();
        yield_now().await;
        // From before the head to after the end.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..12))).await;
        for _ in 0..fastrand::usize(0..60) {
            yield_now().await;
        }
        leader.abort();
        let answers = all(followers).await;
        assert_eq!(setup.calls(), 1, "round {round}");
        assert_eq!(setup.answered.load(Relaxed), 1, "round {round}: it was not asked again");
        assert!(answers.iter().all(|answer| answer.len == Some(2000)), "round {round}");
        assert_eq!(setup.value("bartizan_cache_fills_total", "stored"), 1, "round {round}");
        assert_eq!(setup.value("bartizan_cache_filling_bytes", ""), 0, "round {round}");
        held += 1;
    }
    println!("bar: cache-leaders-cancelled {held} 1000 ok");
}

#[test]
fn u14_the_same_over_threads() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build();
    runtime.unwrap().block_on(async {
        for round in 0..300 {
            let setup = setup(Settings::default(), |_| FRESH);
            let mut waiting: Vec<_> = (0..16).map(|_| setup.get()).collect();
            for _ in 0..fastrand::usize(0..4) {
                let gone = waiting.swap_remove(fastrand::usize(..waiting.len()));
                gone.abort();
                gone.await.ok();
            }
            let answers = all(waiting).await;
            assert!(answers.iter().all(|answer| answer.len == Some(2000)), "round {round}");
            // A leader that was aborted before anybody followed was asked for in vain.
            assert!(setup.calls() <= 4, "round {round}: {} calls", setup.calls());
            assert_eq!(setup.value("bartizan_cache_filling_bytes", ""), 0, "round {round}");
        }
    });
}

#[tokio::test(start_paused = true)]
async fn u14_when_all_go_away_the_request_is_cancelled() {
    let setup = setup(Settings::default(), |_| FRESH);
    let waiting: Vec<_> = (0..3).map(|_| setup.get()).collect();
    yield_now().await;
    waiting.iter().for_each(JoinHandle::abort);
    for _ in 0..50 {
        yield_now().await;
    }
    assert_eq!((setup.calls(), setup.answered.load(Relaxed)), (1, 0));
    assert_eq!(setup.get().await.unwrap().unwrap().len, Some(2000));
    assert_eq!(setup.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_reads_nothing_stalls_nobody() {
    let setup = setup(Settings::default(), |_| FRESH);
    let request = Request::get("/").header("host", "a.test").body(Empty::new()).unwrap();
    let stuck = setup.service.clone().oneshot(request).await.unwrap();
    let answers = all((0..3).map(|_| setup.get()).collect()).await;
    assert!(answers.iter().all(|answer| answer.len == Some(2000)));
    assert_eq!(setup.calls(), 1);
    assert_eq!(stuck.into_body().collect().await.unwrap().to_bytes().len(), 2000);
}

#[tokio::test(start_paused = true)]
async fn u14_what_cannot_be_shared_is_not_and_the_next_do_not_wait() {
    for said in ["private", "no-store", "max-age=60, private"] {
        let setup = setup(Settings::default(), move |_| Script { said, ..FRESH });
        let answers = all((0..10).map(|_| setup.get()).collect()).await;
        assert_eq!(setup.calls(), 10, "{said}");
        let mut calls: Vec<_> = answers.iter().map(|answer| answer.call).collect();
        calls.sort_unstable();
        assert_eq!(calls, (0..10).collect::<Vec<_>>(), "{said}: each has an answer of its own");
        // Hit for miss: now all go at once.
        let waiting: Vec<_> = (0..10).map(|_| setup.get()).collect();
        yield_now().await;
        assert_eq!(setup.calls(), 20, "{said}");
        all(waiting).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_must_be_validated_each_time_is_not_shared_rfc_9111_5_2_2_4() {
    for said in ["no-cache", "max-age=60, no-cache", "max-age=0, must-revalidate", "max-age=0"] {
        let setup = setup(Settings::default(), move |_| Script { said, etag: true, ..FRESH });
        for round in 1..=2 {
            let waiting: Vec<_> = (0..10).map(|_| setup.get()).collect();
            // The others wait for the first one's head, if nobody knows yet.
            tokio::time::sleep(Duration::from_millis(11)).await;
            assert_eq!(setup.calls(), 10 * round, "{said}: at once, by now");
            let answers = all(waiting).await;
            assert!(answers.iter().all(|answer| answer.len == Some(2000)), "{said}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_when_a_response_is_stale_does_not_join_it_rfc_9111_4() {
    let clock = Clock::manual();
    let setup = setup_by(&clock, Settings::default(), |_| Script {
        said: "max-age=1",
        parts: 500,
        ..FRESH
    });
    let first = setup.get();
    tokio::time::sleep(Duration::from_millis(10)).await;
    yield_now().await;
    clock.advance(Duration::from_millis(500));
    let second = setup.get();
    yield_now().await;
    clock.advance(Duration::from_millis(500));
    let third = setup.get();
    let answers = all(vec![first, second, third]).await;
    let calls: Vec<_> = answers.iter().map(|answer| answer.call).collect();
    assert_eq!(calls, [0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn u14_an_error_is_not_shared_and_one_follower_takes_over() {
    for first in [
        Script { fails: true, ..FRESH },
        Script { status: 503, said: "no-store", ..FRESH },
        Script { status: 500, said: "", ..FRESH },
    ] {
        let setup = setup(Settings::default(), move |call| if call == 0 { first } else { FRESH });
        let waiting: Vec<_> = (0..10).map(|_| setup.get()).collect();
        let mut results = Vec::new();
        for handle in waiting {
            results.push(handle.await.unwrap());
        }
        let failed = results.iter().filter(|result| result.is_err()).count();
        assert_eq!(failed, usize::from(first.fails));
        assert!(results.iter().flatten().all(|answer| answer.len == Some(2000)));
        assert_eq!(setup.calls(), 2, "one for all that are left");
    }
}

#[tokio::test(start_paused = true)]
async fn conditional_misses_are_one_fetch_and_are_judged_here_rfc_9110_13() {
    let setup = setup(Settings::default(), |_| Script { etag: true, ..FRESH });
    let conditional = |tag: &str| setup.ask(Request::get("/").header("if-none-match", tag));
    let waiting =
        vec![conditional("\"1\""), setup.get(), conditional("\"0\""), conditional("\"1\"")];
    let answers = all(waiting).await;
    assert_eq!(setup.calls(), 1);
    let seen: Vec<_> = answers.iter().map(|answer| (answer.status, answer.len)).collect();
    let (has, has_not) = ((304, Some(0)), (200, Some(2000)));
    assert_eq!(seen, [has, has_not, has_not, has]);
    assert!(setup.get().await.unwrap().unwrap().cache.starts_with("test; hit"));
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_only_conditional_clients_ask_for_is_stored() {
    let setup = setup(Settings::default(), |_| Script { etag: true, ..FRESH });
    let conditional = || setup.ask(Request::get("/").header("if-none-match", "\"1\""));
    let first = conditional().await.unwrap().unwrap();
    assert_eq!((first.status, &*first.cache), (304, "test; fwd=uri-miss; fwd-status=200; stored"));
    for _ in 0..50 {
        yield_now().await;
    }
    assert!(conditional().await.unwrap().unwrap().cache.starts_with("test; hit"));
    assert_eq!(setup.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn conditions_on_what_is_not_shared_are_the_services_to_judge() {
    let setup = setup(Settings::default(), |_| Script { said: "private", etag: true, ..FRESH });
    let conditional = || setup.ask(Request::get("/").header("if-none-match", "\"1\""));
    for calls in 1..=3 {
        let answer = conditional().await.unwrap().unwrap();
        assert_eq!((answer.status, answer.len, setup.calls()), (304, Some(0), calls));
    }
    // The first was asked without conditions; from then on it is known.
    assert_eq!(setup.conditional.load(Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_purge_of_something_else_divides_no_flight() {
    let setup = setup(Settings::default(), |_| FRESH);
    let first = setup.get();
    yield_now().await;
    setup.cache.purge(&Purge::tag("other"));
    setup.cache.purge(&Purge::prefix("https://b.test/"));
    let second = setup.get();
    yield_now().await;
    setup.cache.purge(&Purge::tag("another"));
    let third = setup.get();
    let answers = all(vec![first, second, third]).await;
    assert!(answers.iter().all(|answer| answer.call == 0), "{answers:?}");
    assert_eq!(setup.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_a_purge_is_not_given_what_was_purged() {
    for purge in [
        Purge::tag("tag"),
        Purge::tag("tag").soft(),
        Purge::prefix("https://a.test/"),
        Purge::uri("https://a.test/".parse().unwrap()).soft(),
        Purge::uri("https://a.test/".parse().unwrap()),
        Purge::all(),
    ] {
        let setup = setup(Settings::default(), |_| FRESH);
        let before = setup.get();
        yield_now().await;
        setup.cache.purge(&purge);
        let after = setup.get();
        let answers = all(vec![before, after]).await;
        assert_eq!((answers[0].call, answers[1].call), (0, 1), "{purge:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_wants_nothing_stored_leads_nobody() {
    let settings = Settings::default().request_directives(false);
    let setup = setup(settings, |_| FRESH);
    let mut waiting = vec![setup.ask(Request::get("/").header("cache-control", "no-store"))];
    yield_now().await;
    waiting.extend((0..9).map(|_| setup.get()));
    all(waiting).await;
    assert_eq!(setup.calls(), 2, "its own, and one for the others");
}

#[tokio::test(start_paused = true)]
async fn variants_do_not_wait_for_each_other_once_they_are_known() {
    let setup = setup(Settings::default(), |_| FRESH);
    let vary = |value: &str| setup.ask(Request::get("/").header("x-vary", value));
    vary("known").await.unwrap().unwrap();
    let waiting = vec![vary("a"), vary("b"), vary("a"), vary("b")];
    yield_now().await;
    assert_eq!(setup.calls(), 3);
    let answers = all(waiting).await;
    assert_eq!(answers[0].call, answers[2].call);
    assert_eq!(answers[1].call, answers[3].call);
    assert_ne!(answers[0].call, answers[1].call);
}

#[tokio::test(start_paused = true)]
async fn variants_that_nobody_knew_of_are_told_apart() {
    let setup = setup(Settings::default(), |_| FRESH);
    let waiting: Vec<_> = ["a", "b", "a", "c"]
        .map(|value| setup.ask(Request::get("/").header("x-vary", value)))
        .into();
    let answers = all(waiting).await;
    assert_eq!(setup.calls(), 3);
    assert_eq!(answers[0].call, answers[2].call);
    assert!(answers.iter().all(|answer| answer.len == Some(2000)));
}

#[tokio::test(start_paused = true)]
async fn a_broken_body_breaks_for_all_and_is_not_stored() {
    let setup = setup(Settings::default(), |_| Script { broken: true, ..FRESH });
    let answers = all((0..3).map(|_| setup.get()).collect()).await;
    assert!(answers.iter().all(|answer| answer.len.is_none()));
    assert_eq!(setup.value("bartizan_cache_fills_total", "broken"), 1);
    setup.get().await.unwrap().unwrap();
    assert_eq!(setup.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_beyond_the_limit_is_passed_on_in_bounds() {
    let settings = Settings::default().max_body_bytes(500);
    let setup = setup(settings, |_| Script { parts: 200, ..FRESH });
    let mut waiting: Vec<_> = (0..4).map(|_| setup.get()).collect();
    let mut most = 0;
    tokio::time::sleep(Duration::from_millis(10)).await;
    while !waiting.iter().all(JoinHandle::is_finished) {
        most = most.max(setup.value("bartizan_cache_filling_bytes", ""));
        yield_now().await;
    }
    assert!(most <= 700, "{most} bytes were held");
    let answers = all(std::mem::take(&mut waiting)).await;
    assert!(answers.iter().all(|answer| answer.len == Some(20_000)));
    assert_eq!(setup.value("bartizan_cache_fills_total", "oversized"), 1);
    assert_eq!(setup.value("bartizan_cache_filling_bytes", ""), 0);
}

#[tokio::test(start_paused = true)]
async fn where_no_body_is_stored_each_is_passed_on() {
    let setup = setup(Settings::default().max_body_bytes(0), |_| FRESH);
    let waiting = tokio::time::timeout(Duration::from_secs(60), setup.get());
    assert_eq!(waiting.await.expect("it hangs").unwrap().unwrap().len, Some(2000));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_is_not_read_to_its_end_for_nobody() {
    let settings = Settings::default().max_body_bytes(500);
    let setup = setup(settings, |_| Script { etag: true, parts: usize::MAX, ..FRESH });
    let conditional = || setup.ask(Request::get("/").header("if-none-match", "\"1\""));
    assert_eq!(conditional().await.unwrap().unwrap().status, 304);
    for _ in 0..100 {
        yield_now().await;
    }
    assert_eq!(setup.value("bartizan_cache_fills_total", "oversized"), 1);
    assert_eq!(setup.bodies(), 0, "it is let go of");
    // From then on it is known: the service judges.
    assert_eq!(conditional().await.unwrap().unwrap().status, 304);
    assert_eq!((setup.calls(), setup.conditional.load(Relaxed)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_grows_too_long_is_not_begun_again() {
    let clock = Clock::manual();
    let settings = Settings::default().max_body_bytes(500);
    let setup = setup_by(&clock, settings, |call| Script {
        said: "max-age=60, stale-while-revalidate=60",
        parts: if call == 0 { 5 } else { 50 },
        ..FRESH
    });
    setup.get().await.unwrap().unwrap();
    clock.advance(Duration::from_secs(70));
    assert_eq!(setup.get().await.unwrap().unwrap().len, Some(500));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(setup.value("bartizan_cache_fills_total", "oversized"), 1);
    assert_eq!(setup.bodies(), 0, "it is let go of");
    // What the service has now is not what was stored.
    assert_eq!(setup.get().await.unwrap().unwrap().len, Some(5000));
    assert_eq!(setup.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_lost_its_place_while_it_waited_is_told() {
    let settings = Settings::default().max_body_bytes(500).follow_wait(Duration::from_secs(2));
    let setup = setup(settings, |_| Script { parts: 200, ..FRESH });
    let leader = setup.get();
    yield_now().await;
    let request = Request::get("/").header("host", "a.test").body(Empty::new()).unwrap();
    // It waits, and nobody has it go on.
    let mut waiting = Box::pin(setup.service.clone().oneshot(request));
    std::future::poll_fn(|cx| {
        assert!(waiting.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    assert_eq!(leader.await.unwrap().unwrap().len, Some(20_000));
    match waiting.await.unwrap().into_body().collect().await {
        Ok(body) => assert_eq!(body.to_bytes().len(), 20_000, "its beginning is missing"),
        Err(_) => assert_eq!(setup.calls(), 1),
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_holds_others_up_for_a_while_only() {
    let settings = Settings::default().max_body_bytes(500).follow_wait(Duration::from_secs(2));
    let setup = setup(settings, |_| Script { parts: 200, ..FRESH });
    let request = Request::get("/").header("host", "a.test").body(Empty::new()).unwrap();
    let stuck = tokio::spawn(setup.service.clone().oneshot(request));
    yield_now().await;
    let start = tokio::time::Instant::now();
    let answers = all((0..3).map(|_| setup.get()).collect()).await;
    assert!(answers.iter().all(|answer| answer.len == Some(20_000)), "{answers:?}");
    assert_eq!(setup.calls(), 1);
    assert_eq!(start.elapsed(), Duration::from_millis(2010));
    let mut body = stuck.await.unwrap().unwrap().into_body();
    assert!(body.frame().await.unwrap().is_err(), "it is told that it lost its place");
    assert!(body.frame().await.is_none());
    drop(body);
    assert_eq!(setup.value("bartizan_cache_filling_bytes", ""), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_wait() {
    let cache = ResponseCache::new("test")
        .settings(Settings::default().follow_wait(Duration::from_secs(2)))
        .unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = service_fn(move |_: Request<Empty<Bytes>>| {
        let first = counted.fetch_add(1, Relaxed) == 0;
        async move {
            if first {
                std::future::pending::<()>().await;
            }
            let body = http_body_util::Full::new(Bytes::from_static(b"late"));
            Ok::<_, io::Error>(
                Response::builder().header("cache-control", "max-age=9").body(body).unwrap(),
            )
        }
    });
    let service = CacheLayer::new(cache).layer(inner);
    let request = || Request::get("/").header("host", "a.test").body(Empty::new()).unwrap();
    let stuck = tokio::spawn(service.clone().oneshot(request()));
    yield_now().await;
    let start = tokio::time::Instant::now();
    let answer = service.oneshot(request()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert_eq!(answer.headers()["cache-status"], "test; fwd=uri-miss; stored");
    assert_eq!(calls.load(Relaxed), 2);
    stuck.abort();
}

#[tokio::test(start_paused = true)]
async fn a_change_ends_what_was_asked_for_before_it() {
    let setup = setup(Settings::default(), |_| FRESH);
    let before = setup.get();
    yield_now().await;
    setup.cache.invalidate(&"https://a.test/".parse().unwrap());
    let after = setup.get();
    let answers = all(vec![before, after]).await;
    assert_eq!((answers[0].call, answers[1].call), (0, 1));
    assert_eq!(setup.value("bartizan_cache_fills_total", "overtaken"), 1);
    assert_eq!(setup.value("bartizan_cache_fills_total", "stored"), 1);
}

#[tokio::test(start_paused = true)]
async fn who_demands_a_fresh_answer_or_carries_credentials_does_not_wait() {
    let setup = setup(Settings::default(), |_| FRESH);
    let plain = setup.get();
    yield_now().await;
    let others = vec![
        setup.ask(Request::get("/").header("cache-control", "no-cache")),
        setup.ask(Request::get("/").header("authorization", "Bearer a")),
        setup.ask(Request::get("/").header("cookie", "s=1")),
    ];
    yield_now().await;
    assert_eq!(setup.calls(), 4);
    all(others).await;
    plain.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_leaders_and_others_ask_anew() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = service_fn(move |_: Request<Empty<Bytes>>| {
        let first = counted.fetch_add(1, Relaxed) == 0;
        async move {
            yield_now().await;
            yield_now().await;
            assert!(!first, "the service panics on purpose");
            let body = http_body_util::Full::new(Bytes::from_static(b"well"));
            Ok::<_, io::Error>(
                Response::builder().header("cache-control", "max-age=9").body(body).unwrap(),
            )
        }
    });
    let service = CacheLayer::new(ResponseCache::new("test")).layer(inner);
    let request = || Request::get("/").header("host", "a.test").body(Empty::new()).unwrap();
    let tasks: Vec<_> = (0..5).map(|_| tokio::spawn(service.clone().oneshot(request()))).collect();
    let mut panics = 0;
    for task in tasks {
        match task.await {
            Ok(answer) => {
                assert_eq!(answer.unwrap().into_body().collect().await.unwrap().to_bytes(), "well")
            }
            Err(_) => panics += 1,
        }
    }
    // The one that polled it, and the one that it was for.
    assert!((1..=2).contains(&panics), "{panics}");
    assert_eq!(calls.load(Relaxed), 2);
}
