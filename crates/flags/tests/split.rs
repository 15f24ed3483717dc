//! Canaries, A/B tests, ramps and rollbacks.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bartizan_core::{Clock, Engine, Mode, Principal};
use bartizan_flags::{
    Exposures, Flag, Flags, FlagsLayer, Overrides, RequestFlags, RolloutSettings, Split, SplitLayer,
};
use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use serde_json::json;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt, service_fn};

static SEARCH: Flag<&str> = Flag::new("search", "stable");

fn document(canary: u32, stable: u32) -> String {
    json!({"metadata": {"bucketing": "v3"}, "flags": {"search": {
        "state": "ENABLED",
        "variants": {"stable": "stable", "canary": "canary"},
        "defaultVariant": "stable",
        "targeting": {"fractional": [["canary", canary], ["stable", stable]]},
    }}})
    .to_string()
}

fn flags(canary: u32) -> Flags {
    Flags::from_json(&document(canary, 100 - canary)).unwrap()
}

/// A service that says by a header who it is, and does as it is told.
#[derive(Clone, Debug)]
struct Backend {
    name: &'static str,
    ready: Arc<AtomicBool>,
    polled: Arc<AtomicU32>,
    /// Every n-th answer is a failure; none if 0.
    fails: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
    slow: Option<(Clock, Duration)>,
}

impl Backend {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            ready: Arc::new(AtomicBool::new(true)),
            polled: Arc::default(),
            fails: Arc::default(),
            calls: Arc::default(),
            slow: None,
        }
    }
}

impl Service<Request<()>> for Backend {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.polled.fetch_add(1, Relaxed);
        if self.ready.load(Relaxed) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let call = self.calls.fetch_add(1, Relaxed) + 1;
        if let Some((clock, wait)) = &self.slow {
            clock.advance(*wait);
        }
        let fails = self.fails.load(Relaxed);
        let failed = fails > 0 && call.is_multiple_of(fails);
        let status = if failed { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
        let response = Response::builder().status(status).header("by", self.name);
        std::future::ready(Ok(response.body(Empty::new()).unwrap()))
    }
}

fn request(user: &str) -> Request<()> {
    Request::builder().extension(Principal::new(user)).body(()).unwrap()
}

async fn served(split: &mut Split<Backend>, request: Request<()>) -> String {
    let response = split.ready().await.unwrap().call(request).await.unwrap();
    let by = response.headers()["by"].to_str().unwrap().to_owned();
    response.into_body().collect().await.unwrap();
    by
}

/// Which of the users the canary serves.
async fn canaries(split: &mut Split<Backend>, users: u32) -> Vec<bool> {
    let mut out = Vec::new();
    for user in 0..users {
        out.push(served(split, request(&format!("user-{user}"))).await == "canary");
    }
    out
}

fn count(hits: &[bool]) -> usize {
    hits.iter().filter(|hit| **hit).count()
}

#[tokio::test]
async fn one_percent_of_100_000_users_is_one_percent() {
    let layer = SplitLayer::new(flags(1), SEARCH, [("canary", Backend::new("canary"))]);
    let hits = canaries(&mut layer.layer(Backend::new("stable")), 100_000).await;
    let share = count(&hits) as f64 / 1000.0;
    let verdict = if (share - 1.0).abs() <= 0.1 { "ok" } else { "short" };
    println!("bar: split_at_1_percent {share:.3} 1.0+-0.1 {verdict}");
    assert_eq!(verdict, "ok");
}

#[tokio::test]
async fn a_weight_that_grows_and_shrinks_moves_nobody_outside_the_increment() {
    let flags = flags(10);
    let layer = SplitLayer::new(flags.clone(), SEARCH, [("canary", Backend::new("canary"))]);
    let mut split = layer.layer(Backend::new("stable"));
    let ten = canaries(&mut split, 20_000).await;
    flags.replace(&document(20, 80)).unwrap();
    let twenty = canaries(&mut split, 20_000).await;
    flags.replace(&document(10, 90)).unwrap();
    let back = canaries(&mut split, 20_000).await;
    // Who was in is still in, and who came in by the increment is out again, and nobody else.
    let outside = ten.iter().zip(&twenty).filter(|(ten, twenty)| **ten && !**twenty).count()
        + ten.iter().zip(&back).filter(|(ten, back)| ten != back).count();
    let verdict = if outside == 0 { "ok" } else { "short" };
    println!("bar: moved_outside_the_increment {outside} 0 {verdict}");
    assert_eq!(outside, 0);
    assert!((1800..2200).contains(&count(&ten)), "{}", count(&ten));
    assert!((3700..4300).contains(&count(&twenty)), "{}", count(&twenty));
}

#[tokio::test]
async fn only_the_chosen_service_is_made_ready_and_stable_stands_in() {
    let canary = Backend::new("canary");
    let stable = Backend::new("stable");
    let layer = SplitLayer::new(flags(100), SEARCH, [("canary", canary.clone())]);
    let mut split = layer.layer(stable.clone());
    assert_eq!(served(&mut split, request("ann")).await, "canary");
    assert_eq!(stable.polled.load(Relaxed), 0);

    canary.ready.store(false, Relaxed);
    assert_eq!(served(&mut split, request("ann")).await, "stable");
    let snapshot = layer.rollout().snapshot();
    let value = |metric, part, outcome| snapshot.value_of(metric, part, outcome).unwrap();
    assert_eq!(value("bartizan_flags_split_diverted_total", "canary", "not_ready"), 1.0);
    assert_eq!(value("bartizan_flags_split_exchanges_total", "canary", "success"), 1.0);
    assert_eq!(value("bartizan_flags_split_exchanges_total", "stable", "success"), 1.0);

    // A stable service that is sick does not hold up the canary.
    canary.ready.store(true, Relaxed);
    stable.ready.store(false, Relaxed);
    assert_eq!(served(&mut split, request("ann")).await, "canary");
}

#[tokio::test]
async fn stable_serves_while_a_breaker_is_open() {
    let closed = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&closed);
    let layer = SplitLayer::new(flags(100), SEARCH, [("canary", Backend::new("canary"))])
        .available(move |variant| variant != "canary" || asked.load(Relaxed));
    let mut split = layer.layer(Backend::new("stable"));
    assert_eq!(served(&mut split, request("ann")).await, "stable");
    closed.store(true, Relaxed);
    assert_eq!(served(&mut split, request("ann")).await, "canary");
}

/// 100 requests a second, half of them to a canary that fails one in five: it is gone within the
/// second in which it has had its 50 exchanges.
#[tokio::test]
async fn a_canary_that_fails_is_rolled_back() {
    let clock = Clock::manual();
    let canary = Backend::new("canary");
    canary.fails.store(5, Relaxed);
    let settings = RolloutSettings::default().window(Duration::from_secs(10));
    let layer = SplitLayer::new(flags(50), SEARCH, [("canary", canary.clone())])
        .settings(settings)
        .unwrap()
        .clock(clock.clone());
    let rollout = layer.rollout();
    let mut split = layer.layer(Backend::new("stable"));
    let start = clock.now();
    let mut sent = 0u32;
    while !rollout.is_rolled_back("canary") {
        served(&mut split, request(&format!("user-{sent}"))).await;
        sent += 1;
        clock.advance(Duration::from_millis(10));
        assert!(sent < 1000, "it was never rolled back");
    }
    let took = clock.now().saturating_since(start).as_secs_f64();
    let verdict = if took <= 2.0 { "ok" } else { "short" };
    println!("bar: rollback_of_20_percent_failures_seconds {took:.2} 2 {verdict}");
    assert_eq!(verdict, "ok");
    assert_eq!(canary.calls.load(Relaxed), 50);
    assert_eq!(count(&canaries(&mut split, 1000).await), 0);

    // It stays back until somebody says otherwise.
    clock.advance(Duration::from_secs(3600));
    assert_eq!(count(&canaries(&mut split, 100).await), 0);
    canary.fails.store(0, Relaxed);
    rollout.resume("canary");
    assert!(count(&canaries(&mut split, 100).await) > 30);
}

#[tokio::test]
async fn a_canary_like_stable_stays() {
    let clock = Clock::manual();
    let (canary, stable) = (Backend::new("canary"), Backend::new("stable"));
    canary.fails.store(5, Relaxed);
    stable.fails.store(5, Relaxed);
    let layer = SplitLayer::new(flags(50), SEARCH, [("canary", canary)]).clock(clock.clone());
    let mut split = layer.layer(stable);
    for user in 0..5000 {
        served(&mut split, request(&user.to_string())).await;
        clock.advance(Duration::from_millis(10));
    }
    assert!(!layer.rollout().is_rolled_back("canary"));
}

#[tokio::test]
async fn a_canary_that_is_slow_is_rolled_back() {
    let clock = Clock::manual();
    let backend = |name, millis| Backend {
        slow: Some((clock.clone(), Duration::from_millis(millis))),
        ..Backend::new(name)
    };
    let settings = RolloutSettings::default().latency_factor(1.5);
    let layer = SplitLayer::new(flags(50), SEARCH, [("canary", backend("canary", 20))])
        .settings(settings)
        .unwrap()
        .clock(clock.clone());
    let mut split = layer.layer(backend("stable", 10));
    canaries(&mut split, 300).await;
    assert!(layer.rollout().is_rolled_back("canary"));
}

type Boxed = BoxCloneSyncService<Request<()>, Response<Empty<Bytes>>, Infallible>;

/// Stable answers after 10 ms, and the canary does `what`.
fn beside_a_stable_that_answers<F>(
    clock: &Clock,
    what: impl Fn() -> F + Clone + Send + Sync + 'static,
) -> (SplitLayer<Boxed>, Split<Boxed>)
where
    F: Future<Output = Result<Response<Empty<Bytes>>, Infallible>> + Send + 'static,
{
    let canary = BoxCloneSyncService::new(service_fn(move |_: Request<()>| what()));
    let layer = SplitLayer::new(flags(50), SEARCH, [("canary", canary)]).clock(clock.clone());
    let clock = clock.clone();
    let stable = BoxCloneSyncService::new(service_fn(move |_: Request<()>| {
        clock.advance(Duration::from_millis(10));
        std::future::ready(Ok(Response::new(Empty::new())))
    }));
    let split = layer.layer(stable);
    (layer, split)
}

/// Asks as so many callers do; those who are not answered go away after `patience`.
fn ask(split: &mut Split<Boxed>, clock: &Clock, callers: u32, patience: Duration) {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    for caller in 0..callers {
        let mut future = Box::pin(split.call(request(&format!("user-{caller}"))));
        let polled =
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx).map(Result::unwrap)));
        if matches!(polled, Ok(Poll::Pending)) {
            clock.advance(patience);
        }
        // As `CatchPanic` does it: when the future is dropped, the panic is over.
        drop(future);
    }
}

#[test]
fn a_canary_that_panics_is_rolled_back() {
    let clock = Clock::manual();
    let (layer, mut split) = beside_a_stable_that_answers(&clock, || async {
        if true {
            panic!("on purpose");
        }
        Ok(Response::new(Empty::new()))
    });
    ask(&mut split, &clock, 200, Duration::ZERO);
    let snapshot = layer.rollout().snapshot();
    let failures = snapshot.value_of("bartizan_flags_split_exchanges_total", "canary", "failure");
    assert_eq!((layer.rollout().is_rolled_back("canary"), failures), (true, Some(50.0)));
}

#[test]
fn a_canary_that_hangs_until_callers_give_up_is_rolled_back() {
    let clock = Clock::manual();
    let (layer, mut split) = beside_a_stable_that_answers(&clock, std::future::pending);
    ask(&mut split, &clock, 400, Duration::from_millis(200));
    assert!(layer.rollout().is_rolled_back("canary"));
    let snapshot = layer.rollout().snapshot();
    let count = |outcome| {
        snapshot.value_of("bartizan_flags_split_exchanges_total", "canary", outcome).unwrap()
    };
    assert_eq!(count("failure"), 0.0);
    // It takes 50 of its own to judge it, and 50 of stable's to know what overdue means.
    assert!((50.0..120.0).contains(&count("abandoned")), "{}", count("abandoned"));
}

#[test]
fn callers_who_leave_before_an_answer_is_due_say_nothing_of_a_canary() {
    let clock = Clock::manual();
    let (layer, mut split) = beside_a_stable_that_answers(&clock, std::future::pending);
    ask(&mut split, &clock, 400, Duration::from_millis(20));
    assert!(!layer.rollout().is_rolled_back("canary"));
}

/// Those who were waiting when it was given another chance say nothing of how it does since.
#[test]
fn what_began_before_a_canary_was_resumed_does_not_take_it_back_again() {
    let clock = Clock::manual();
    let (layer, mut split) = beside_a_stable_that_answers(&clock, std::future::pending);
    let rollout = layer.rollout();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut waiting = Vec::new();
    for caller in 0..400 {
        let mut future = Box::pin(split.call(request(&format!("user-{caller}"))));
        if future.as_mut().poll(&mut cx).is_pending() {
            waiting.push(future);
        }
    }
    clock.advance(Duration::from_secs(1));
    while !rollout.is_rolled_back("canary") {
        drop(waiting.pop().expect("it is rolled back while callers wait"));
    }
    rollout.resume("canary");
    assert!(waiting.len() > 100, "{}", waiting.len());
    waiting.clear();
    assert!(!rollout.is_rolled_back("canary"));
    // Of those who come now it is taken back as ever.
    ask(&mut split, &clock, 200, Duration::from_millis(200));
    assert!(rollout.is_rolled_back("canary"));
}

#[tokio::test]
async fn a_ramp_lets_more_through_with_time_and_moves_nobody_back() {
    let clock = Clock::manual();
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let ramp = [(minutes(1), 0.1), (minutes(2), 0.5), (minutes(3), 1.0)];
    let layer = SplitLayer::new(flags(100), SEARCH, [("canary", Backend::new("canary"))])
        .settings(RolloutSettings::default().ramp(ramp))
        .unwrap()
        .clock(clock.clone());
    let mut split = layer.layer(Backend::new("stable"));
    let mut before = canaries(&mut split, 10_000).await;
    assert_eq!(count(&before), 0);
    for expected in [1000, 5000, 10_000usize] {
        clock.advance(minutes(1));
        let now = canaries(&mut split, 10_000).await;
        assert!(count(&now).abs_diff(expected) < 200, "{} of {expected}", count(&now));
        assert!(before.iter().zip(&now).all(|(before, now)| !before || *now));
        before = now;
    }
    assert_eq!(layer.rollout().share("canary"), 1.0);
}

/// The second process starts an hour later, as after a deploy.
#[tokio::test]
async fn a_ramp_from_a_moment_is_the_same_in_every_process() {
    let clock = Clock::manual();
    let hour = Duration::from_secs(3600);
    let from = clock.unix() + hour;
    let start = || {
        let ramp = [(Duration::ZERO, 0.1), (hour, 0.5), (hour * 2, 1.0)];
        let settings = RolloutSettings::default().ramp(ramp).ramp_from(from);
        let layer = SplitLayer::new(flags(100), SEARCH, [("canary", Backend::new("canary"))]);
        layer.settings(settings).unwrap().clock(clock.clone())
    };
    let first = start().rollout();
    assert_eq!(first.share("canary"), 0.0, "it has not begun");
    clock.advance(hour);
    let second = start();
    for share in [0.1, 0.5, 1.0] {
        assert_eq!((first.share("canary"), second.rollout().share("canary")), (share, share));
        let hits = canaries(&mut second.layer(Backend::new("stable")), 1000).await;
        assert!((count(&hits) as f64 - share * 1000.0).abs() < 50.0, "{} of {share}", count(&hits));
        clock.advance(hour);
    }
    first.apply(json!({"ramp": [[0, 0.2]], "ramp_from": clock.unix().as_secs() + 1})).unwrap();
    assert_eq!(first.share("canary"), 0.0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(first.share("canary"), 0.2);
}

/// The flag's rule asks nobody who calls, but the ramp does.
#[tokio::test]
async fn a_ramp_knows_callers_behind_the_layer_though_no_rule_mentions_them() {
    let flags = Flags::from_json(
        r#"{"flags": {"search": {"state": "ENABLED",
        "variants": {"stable": "stable", "canary": "canary"}, "defaultVariant": "canary"}}}"#,
    )
    .unwrap();
    let layer = SplitLayer::new(flags.clone(), SEARCH, [("canary", Backend::new("canary"))])
        .settings(RolloutSettings::default().ramp([(Duration::ZERO, 0.5)]))
        .unwrap();
    let split = layer.layer(Backend::new("stable"));
    let mut within = FlagsLayer::new(flags).layer(split.clone());
    let (mut by_layer, mut without) = (Vec::new(), Vec::new());
    for user in 0..1000 {
        let user = format!("user-{user}");
        let response = within.ready().await.unwrap().call(request(&user)).await.unwrap();
        by_layer.push(response.headers()["by"] == "canary");
        without.push(served(&mut split.clone(), request(&user)).await == "canary");
    }
    assert!((400..600).contains(&count(&by_layer)), "{}", count(&by_layer));
    assert_eq!(by_layer, without);
}

#[tokio::test]
async fn a_cookie_keeps_visitors_where_they_are() {
    let flags = flags(50);
    let layer =
        SplitLayer::new(flags.clone(), SEARCH, [("canary", Backend::new("canary"))]).cookie("v");
    for within_flags_layer in [false, true] {
        let split = layer.layer(Backend::new("stable"));
        let ask = |request: Request<()>| {
            let (flags, split) = (flags.clone(), split.clone());
            async move {
                match within_flags_layer {
                    true => FlagsLayer::new(flags).layer(split).oneshot(request).await.unwrap(),
                    false => split.oneshot(request).await.unwrap(),
                }
            }
        };
        let mut seen = [0, 0];
        for _ in 0..40 {
            let first = ask(Request::new(())).await;
            let cookie = first.headers()[SET_COOKIE].to_str().unwrap().to_owned();
            let pair = cookie.split(';').next().unwrap();
            let again = ask(Request::builder().header(COOKIE, pair).body(()).unwrap()).await;
            assert_eq!(first.headers()["by"], again.headers()["by"]);
            assert!(!again.headers().contains_key(SET_COOKIE));
            seen[usize::from(first.headers()["by"] == "canary")] += 1;
        }
        assert!(seen[0] > 5 && seen[1] > 5, "{seen:?}");
    }
    let mut split = layer.layer(Backend::new("stable"));
    let response = split.ready().await.unwrap().call(request("ann")).await.unwrap();
    assert!(!response.headers().contains_key(SET_COOKIE), "who has a name needs no cookie");
}

/// A layer between that of the flags and the split, as a late login, says who calls.
#[tokio::test]
async fn a_cookie_is_not_for_whom_the_flags_know() {
    let flags = flags(50);
    let layer =
        SplitLayer::new(flags.clone(), SEARCH, [("canary", Backend::new("canary"))]).cookie("v");
    let split = layer.layer(Backend::new("stable"));
    for by_attribute in [false, true] {
        let inner = split.clone();
        let login = service_fn(move |request: Request<()>| {
            let user = request.headers()["user"].to_str().unwrap().to_owned();
            let flags = RequestFlags::current().unwrap();
            match by_attribute {
                true => flags.attribute("targetingKey", user),
                false => flags.identify(&Principal::new(user)),
            }
            inner.clone().oneshot(request)
        });
        let service = FlagsLayer::new(flags.clone()).layer(login);
        for user in 0..100 {
            let user = format!("user-{user}");
            let asked = Request::builder().header("user", &user).header(COOKIE, "v=abc");
            let response = service.clone().oneshot(asked.body(()).unwrap()).await.unwrap();
            let expected = served(&mut split.clone(), request(&user)).await;
            assert_eq!(response.headers()["by"], *expected, "{user}");

            let asked = Request::builder().header("user", &user).body(()).unwrap();
            let response = service.clone().oneshot(asked).await.unwrap();
            assert!(!response.headers().contains_key(SET_COOKIE));
        }
    }
}

#[tokio::test]
async fn another_attempt_has_the_same_visitor_and_says_so_again() {
    let flags = flags(50);
    let layer =
        SplitLayer::new(flags.clone(), SEARCH, [("canary", Backend::new("canary"))]).cookie("v");
    let split = layer.layer(Backend::new("stable"));
    let twice = service_fn(move |_: Request<()>| {
        let (one, other) = (split.clone(), split.clone());
        async move {
            let first = one.oneshot(Request::new(())).await.unwrap();
            let second = other.oneshot(Request::new(())).await.unwrap();
            assert_eq!(first.headers()[SET_COOKIE], second.headers()[SET_COOKIE]);
            assert_eq!(first.headers()["by"], second.headers()["by"]);
            Ok::<_, Infallible>(second)
        }
    });
    let service = FlagsLayer::new(flags).layer(twice);
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let response = service.clone().oneshot(Request::new(())).await.unwrap();
        seen.insert(response.headers()[SET_COOKIE].to_str().unwrap().to_owned());
    }
    assert_eq!(seen.len(), 20, "each request has a visitor of its own");
}

#[tokio::test]
async fn off_and_shadow_leave_everything_to_stable() {
    let layer = SplitLayer::new(flags(100), SEARCH, [("canary", Backend::new("canary"))]);
    let mut split = layer.layer(Backend::new("stable"));
    for mode in [Mode::Off, Mode::Shadow] {
        layer.rollout().switch().set(mode);
        assert_eq!(served(&mut split, request("ann")).await, "stable");
    }
    let snapshot = layer.rollout().snapshot();
    let shadow = snapshot.value_of("bartizan_flags_split_diverted_total", "canary", "shadow");
    assert_eq!(shadow, Some(1.0));
}

/// Whom stable serves instead has seen nothing of the canary.
#[tokio::test]
async fn only_who_is_served_by_a_variant_is_exposed_to_it() {
    let flags = flags(100);
    let mut exposures = flags.exposures(Exposures::new(100)).unwrap();
    let canary = Backend::new("canary");
    let layer = SplitLayer::new(flags.clone(), SEARCH, [("canary", canary.clone())]);
    let rollout = layer.rollout();
    let mut service = FlagsLayer::new(flags).layer(layer.layer(Backend::new("stable")));
    let mut seen = async || {
        let response = service.ready().await.unwrap().call(request("ann")).await.unwrap();
        let by = response.headers()["by"].to_str().unwrap().to_owned();
        let exposed = exposures.try_recv().ok().map(|exposure| exposure.variant.to_string());
        assert!(exposures.try_recv().is_err(), "once a request");
        (by, exposed)
    };
    let by_stable = ("stable".to_owned(), None);
    assert_eq!(seen().await, ("canary".to_owned(), Some("canary".to_owned())));
    canary.ready.store(false, Relaxed);
    assert_eq!(seen().await, by_stable, "it is not ready");
    canary.ready.store(true, Relaxed);
    rollout.set(RolloutSettings::default().ramp([(Duration::ZERO, 0.0)])).unwrap();
    assert_eq!(seen().await, by_stable, "the ramp does not let it through");
    rollout.set(RolloutSettings::default()).unwrap();
    rollout.roll_back("canary");
    assert_eq!(seen().await, by_stable, "it is rolled back");
}

/// Stable asks the same flag, and still its caller has seen nothing of the canary.
#[tokio::test]
async fn who_is_served_by_stable_instead_is_not_exposed_by_what_stable_asks() {
    let flags = flags(100);
    let mut exposures = flags.exposures(Exposures::new(100)).unwrap();
    let ready = Arc::new(AtomicBool::new(true));
    let asks = |backend: Backend| {
        BoxCloneSyncService::new(backend.map_request(|request: Request<()>| {
            assert_eq!(RequestFlags::current().unwrap().get(&SEARCH), "canary");
            request
        }))
    };
    let canary = Backend { ready: Arc::clone(&ready), ..Backend::new("canary") };
    let open = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&open);
    let layer = SplitLayer::new(flags.clone(), SEARCH, [("canary", asks(canary))])
        .available(move |_| !asked.load(Relaxed));
    let rollout = layer.rollout();
    let mut service = FlagsLayer::new(flags).layer(layer.layer(asks(Backend::new("stable"))));
    let mut exposed = async || {
        service.ready().await.unwrap().call(request("ann")).await.unwrap();
        std::iter::from_fn(|| exposures.try_recv().ok()).count()
    };
    assert_eq!(exposed().await, 1, "the canary serves");
    ready.store(false, Relaxed);
    assert_eq!(exposed().await, 0, "it is not ready");
    ready.store(true, Relaxed);
    open.store(true, Relaxed);
    assert_eq!(exposed().await, 0, "its breaker is open");
    open.store(false, Relaxed);
    for mode in [Mode::Shadow, Mode::Off] {
        rollout.switch().set(mode);
        assert_eq!(exposed().await, 0, "the split only watches, or does nothing");
    }
    rollout.switch().set(Mode::Enforce);
    rollout.roll_back("canary");
    assert_eq!(exposed().await, 0, "it is rolled back");
}

/// A tester who may name the variant gets it: while the ramp has not come to them, and after a
/// rollback.
#[tokio::test]
async fn an_override_passes_ramp_and_rollback_but_not_the_switch() {
    let flags = flags(0);
    let layer = SplitLayer::new(flags.clone(), SEARCH, [("canary", Backend::new("canary"))])
        .settings(RolloutSettings::default().ramp([(Duration::ZERO, 0.0)]))
        .unwrap();
    let rollout = layer.rollout();
    let overrides = Overrides::for_role("tester");
    let mut service =
        FlagsLayer::new(flags).overrides(overrides).layer(layer.layer(Backend::new("stable")));
    let mut by = async || {
        let principal = Principal::new("ann").with_roles(["tester"]);
        let request = Request::builder().header("x-flag-overrides", "search=canary");
        let request = request.extension(principal).body(()).unwrap();
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        response.headers()["by"].to_str().unwrap().to_owned()
    };
    assert_eq!(by().await, "canary");
    rollout.roll_back("canary");
    assert_eq!(by().await, "canary");
    rollout.switch().set(Mode::Off);
    assert_eq!(by().await, "stable");
}

#[tokio::test]
async fn resuming_one_variant_leaves_the_ramp_of_the_others() {
    let clock = Clock::manual();
    let minute = Duration::from_secs(60);
    let backends = [("a", Backend::new("a")), ("b", Backend::new("b"))];
    let layer = SplitLayer::new(Flags::empty(), SEARCH, backends)
        .settings(RolloutSettings::default().ramp([(minute, 0.5), (minute * 2, 1.0)]))
        .unwrap()
        .clock(clock.clone());
    let rollout = layer.rollout();
    clock.advance(minute * 2);
    rollout.roll_back("b");
    rollout.resume("b");
    assert_eq!((rollout.share("a"), rollout.share("b")), (1.0, 0.0));
    clock.advance(minute);
    assert_eq!((rollout.share("a"), rollout.share("b")), (1.0, 0.5));
    let snapshot = rollout.snapshot();
    assert_eq!(snapshot.value_of("bartizan_flags_split_share", "b", ""), Some(0.5));
}

#[tokio::test]
async fn a_share_of_the_switch_keeps_each_caller_on_its_side() {
    let layer = SplitLayer::new(flags(100), SEARCH, [("canary", Backend::new("canary"))]);
    layer.rollout().switch().set_fraction(Mode::Enforce, 0.5);
    let mut split = layer.layer(Backend::new("stable"));
    let first = canaries(&mut split, 400).await;
    assert_eq!(canaries(&mut split, 400).await, first);
    assert!((120..280).contains(&count(&first)), "{}", count(&first));
}

#[test]
fn settings_are_read_and_checked() {
    let layer = SplitLayer::new(flags(1), SEARCH, [("canary", Backend::new("canary"))]);
    let rollout = layer.rollout();
    let good = json!({"window_ms": 5000, "latency_factor": 2.0, "ramp": [[0, 0.01], [60000, 1.0]]});
    rollout.apply(good).unwrap();
    for bad in [
        json!({"window_ms": 1}),
        json!({"minimum_exchanges": 0}),
        json!({"failure_margin": 2}),
        json!({"latency_factor": 0.5}),
        json!({"ramp": [[60000, 0.1], [0, 1.0]]}),
        json!({"ramp": [[0, 7]]}),
        json!({"colour": "red"}),
    ] {
        assert!(rollout.apply(bad.clone()).is_err(), "{bad}");
    }
    assert_eq!(rollout.share("canary"), 0.01);
}
