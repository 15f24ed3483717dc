//! Limits whose counts are kept elsewhere, and what happens when that is away.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Pending, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bartizan_rate_limit::{
    Ask, Clock, Debts, Engine, Key, Mode, Outage, Policy, Quota, RateLimitLayer, RateLimiter,
    Ration, Reservation, SharedRateLimiter, Store, StoreError, Taking, Unkeyed, key,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt, service_fn};

/// A store that is a map, and does as it is told.
#[derive(Clone, Default)]
struct Shelf {
    arrivals: Arc<Mutex<HashMap<(Key, String), u64>>>,
    now: Arc<Mutex<u64>>,
    manner: Arc<AtomicU8>,
}

const AT_ONCE: u8 = 0;
const BY_TRIP: u8 = 1;
const AWAY: u8 = 2;
const FROZEN: u8 = 3;
const AWAY_AT_ONCE: u8 = 4;

const SECOND: Duration = Duration::from_secs(1);

impl Shelf {
    fn behaves(&self, manner: u8) {
        self.manner.store(manner, Relaxed);
    }

    fn decide(&self, rations: &[Ration<'_>]) -> Debts {
        let (mut arrivals, now) = (self.arrivals.lock().unwrap(), *self.now.lock().unwrap());
        let mut debts = Debts::default();
        let mut spent = Vec::new();
        for (place, ration) in rations.iter().enumerate() {
            let name = (ration.key, ration.policy.to_owned());
            let latest = now + ration.interval * u64::from(ration.burst);
            let longest = now + ration.longest;
            let arrival = arrivals.get(&name).copied().unwrap_or(0).max(now).min(longest);
            let next = arrival + ration.interval * u64::from(ration.cost);
            debts.ahead[place] = arrival - now;
            if next <= latest || ration.cost == 0 {
                spent.push((place, name, next));
            } else {
                debts.refused |= 1 << place;
            }
        }
        if !rations.iter().enumerate().any(|(p, r)| r.enforced && debts.refused & 1 << p != 0) {
            for (place, name, next) in spent {
                debts.ahead[place] = next - now;
                arrivals.insert(name, next);
            }
        }
        debts
    }
}

/// Answers when it is polled for the second time, or never.
struct Trip {
    answer: Option<Result<Debts, StoreError>>,
    frozen: Option<Pending<()>>,
    started: bool,
}

impl Future for Trip {
    type Output = Result<Debts, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(frozen) = &mut self.frozen {
            assert!(Pin::new(frozen).poll(cx).is_pending());
            return Poll::Pending;
        }
        if !self.started {
            self.started = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.answer.take().unwrap())
    }
}

impl Store for Shelf {
    type Trip = Trip;

    fn take(&self, rations: &[Ration<'_>]) -> Taking<Trip> {
        let trip = |answer, frozen| Taking::Trip(Trip { answer, frozen, started: false });
        match self.manner.load(Relaxed) {
            AT_ONCE => Taking::Done(Ok(self.decide(rations))),
            BY_TRIP => trip(Some(Ok(self.decide(rations))), None),
            AWAY => trip(Some(Err(StoreError::Unreachable)), None),
            AWAY_AT_ONCE => Taking::Done(Err(StoreError::Unreachable)),
            _ => trip(None, Some(pending())),
        }
    }

    fn adjust(&self, ration: &Ration<'_>, units: i64) {
        let (mut arrivals, now) = (self.arrivals.lock().unwrap(), *self.now.lock().unwrap());
        let arrival = arrivals.entry((ration.key, ration.policy.to_owned())).or_insert(now);
        *arrival = arrival.saturating_add_signed(units * ration.interval as i64);
    }
}

type Answer = Response<bartizan_core::ResponseBody<Full<Bytes>>>;

async fn send(
    layer: &RateLimitLayer<
        bartizan_rate_limit::One<key::Global>,
        bartizan_core::Http,
        SharedRateLimiter<Shelf>,
    >,
) -> Answer {
    layer.layer(service_fn(echo)).oneshot(Request::new(())).await.unwrap()
}

async fn echo(_: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hello")))
}

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

fn figure(limiter: &SharedRateLimiter<Shelf>, metric: &str, outcome: &str) -> f64 {
    limiter.snapshot().value(&format!("bartizan_rate_limit_{metric}_total"), outcome).unwrap()
}

#[tokio::test]
async fn two_processes_share_one_quota() {
    let shelf = Shelf::default();
    let layers = [(), ()].map(|()| {
        let limiter = RateLimiter::new(quota("3/min")).named("api").shared(shelf.clone());
        RateLimitLayer::new(limiter).key(key::global())
    });
    for manner in [AT_ONCE, BY_TRIP] {
        shelf.behaves(manner);
        shelf.arrivals.lock().unwrap().clear();
        let mut statuses = Vec::new();
        for n in 0..5 {
            statuses.push(send(&layers[n % 2]).await.status().as_u16());
        }
        assert_eq!(statuses, [200, 200, 200, 429, 429]);
    }
    let refused = send(&layers[0]).await;
    assert_eq!(refused.headers()["ratelimit"], r#""api";r=0;t=20"#);
    assert_eq!(refused.headers()["ratelimit-policy"], r#""api";q=3;w=60"#);
    assert_eq!(refused.headers()["retry-after"], "20");
}

#[tokio::test]
async fn u06_a_store_that_is_away_is_open_closed_or_local_as_stated() {
    let shelf = Shelf::default();
    shelf.behaves(AWAY);
    let layer = |outage| {
        let limiter = RateLimiter::new(quota("10/min")).outage(outage).shared(shelf.clone());
        (RateLimitLayer::new(limiter.clone()).key(key::global()), limiter)
    };

    let (open, limiter) = layer(Outage::Open);
    for _ in 0..30 {
        let response = send(&open).await;
        assert_eq!(response.status(), 200);
        // Nothing is counted, so there is nothing to tell.
        assert!(!response.headers().contains_key("ratelimit"));
    }
    assert_eq!(figure(&limiter, "store_failures", "unreachable"), 30.0);

    let (closed, _) = layer(Outage::Closed);
    let response = send(&closed).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");

    let (local, limiter) = layer(Outage::Local { nodes: 2 });
    // What is left is told of the share.
    assert_eq!(send(&local).await.headers()["ratelimit"], r#""default";r=4;t=36"#);
    let mut admitted = 1;
    for _ in 0..28 {
        admitted += usize::from(send(&local).await.status() == 200);
    }
    assert_eq!(admitted, 5);
    let refused = send(&local).await;
    assert_eq!(refused.headers()["ratelimit"], r#""default";r=0;t=12"#);
    assert_eq!(refused.headers()["retry-after"], "12");

    // Back without a restart, and with the store's counts.
    shelf.behaves(BY_TRIP);
    let mut admitted = 0;
    for _ in 0..30 {
        admitted += usize::from(send(&local).await.status() == 200);
    }
    assert_eq!(admitted, 10);
    assert_eq!(figure(&limiter, "store_failures", "unreachable"), 30.0);
}

#[tokio::test]
async fn alone_a_costly_request_takes_the_share_and_waits_for_it() {
    let shelf = Shelf::default();
    shelf.behaves(AWAY);
    let clock = Clock::manual();
    let limiter = RateLimiter::new(quota("100/min")).clock(clock.clone());
    let limiter = limiter.outage(Outage::Local { nodes: 10 }).shared(shelf);
    let ask = Ask::new(Key::of("a"));
    // Ten at once, one each six seconds: twenty of a hundred are all of that.
    let first = limiter.check(ask.cost(20)).await;
    assert_eq!((first.allowed, first.remaining, first.reset), (true, 0, 60 * SECOND));
    let refused = limiter.check(ask.cost(20)).await;
    assert_eq!((refused.allowed, refused.retry_after), (false, Some(60 * SECOND)));
    assert_eq!(limiter.check(ask).await.retry_after, Some(6 * SECOND));
    clock.advance(60 * SECOND - Duration::from_nanos(1));
    assert!(!limiter.check(ask.cost(20)).await.allowed);
    clock.advance(Duration::from_nanos(1));
    assert!(limiter.check(ask.cost(20)).await.allowed);
    // What the whole quota never holds is never admitted.
    assert_eq!(limiter.check(ask.cost(101)).await.retry_after, None);
}

#[tokio::test]
async fn what_was_reserved_alone_is_settled_alone() {
    let shelf = Shelf::default();
    shelf.behaves(AWAY);
    let limiter = RateLimiter::new(quota("100/min")).clock(Clock::manual());
    let limiter = limiter.outage(Outage::Local { nodes: 10 }).shared(shelf.clone());
    let ask = Ask::new(Key::of("a"));
    let large = limiter.reserve(ask.cost(20)).await.unwrap();
    assert_eq!(large.cost(), 20);
    // As much as the share has, or more, was spent: nothing comes back.
    large.clone().settle(15);
    assert!(!limiter.check(ask).await.allowed);
    let ask = Ask::new(Key::of("b"));
    limiter.reserve(ask.cost(20)).await.unwrap().settle(3);
    assert_eq!(limiter.check(ask.cost(0)).await.remaining, 7);
    limiter.reserve(ask.cost(2)).await.unwrap().settle(4);
    assert_eq!(limiter.check(ask.cost(0)).await.remaining, 3);
    // The store, back by then, hears nothing of it.
    let reservation = limiter.reserve(ask.cost(3)).await.unwrap();
    shelf.behaves(BY_TRIP);
    reservation.settle(0);
    assert_eq!(limiter.check(ask.cost(0)).await.remaining, 100);
    assert!(shelf.arrivals.lock().unwrap().values().all(|arrival| *arrival == 0));
}

#[tokio::test]
async fn nothing_is_told_of_policies_that_nobody_asked() {
    let shelf = Shelf::default();
    let policies = [Policy::new("small", quota("10/min")), Policy::new("large", quota("1000/min"))];
    let limiter = RateLimiter::with_policies(policies).unwrap().outage(Outage::Closed);
    let limiter = limiter.shared(shelf.clone());
    let layer = RateLimitLayer::new(limiter.clone()).key(key::global());
    let costly = layer.clone().cost_with(|_: &Request<()>| 11);
    let answer = costly.layer(service_fn(echo)).oneshot(Request::new(())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let told: Vec<_> = answer.headers().get_all("ratelimit").iter().collect();
    assert_eq!(told, [r#""small";r=0;t=6"#]);

    let keyless = |_: &Request<()>| None;
    let layer_of_two = RateLimitLayer::new(limiter.clone()).keys((key::global(), keyless));
    let layer_of_two = layer_of_two.unkeyed(Unkeyed::Refuse);
    let answer = layer_of_two.layer(service_fn(echo)).oneshot(Request::new(())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(!answer.headers().contains_key("ratelimit"));

    for manner in [AWAY, AWAY_AT_ONCE] {
        shelf.behaves(manner);
        let answer = send(&layer).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!answer.headers().contains_key("ratelimit"));
        let decision = limiter.check(Key::GLOBAL).await;
        assert_eq!((decision.allowed, decision.remaining), (false, 0));
        assert_eq!((&*decision.policy, decision.retry_after), ("small", Some(SECOND)));
    }
}

#[tokio::test]
async fn a_trip_is_judged_by_the_rules_that_it_set_out_with() {
    let shelf = Shelf::default();
    shelf.behaves(BY_TRIP);
    let policy = Policy::new("calls", quota("60/min")).tier("gold", quota("600/min"));
    let limiter = RateLimiter::with_policies([policy]).unwrap().shared(shelf);
    let layer = RateLimitLayer::new(limiter.clone()).key(key::global());
    let layer = layer.tier_with(|_: &Request<()>| Some("gold"));
    let mut service = layer.layer(service_fn(echo));
    let sent = service.ready().await.unwrap().call(Request::new(()));
    // From here on another tier is the first by name.
    let tiers = serde_json::json!({"early": "1/day", "gold": "600/min"});
    limiter.apply(serde_json::json!({"quota": "60/min", "tiers": tiers})).unwrap();
    let answer = sent.await.unwrap();
    assert_eq!(answer.headers()["ratelimit"], r#""calls";r=599;t=60"#);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_while_the_store_thinks_leaves_nothing() {
    let shelf = Shelf::default();
    shelf.behaves(FROZEN);
    let limiter = RateLimiter::new(quota("1/min")).shared(shelf.clone());
    let layer = RateLimitLayer::new(limiter.clone()).key(key::global());
    assert!(tokio::time::timeout(Duration::from_secs(1), send(&layer)).await.is_err());
    shelf.behaves(BY_TRIP);
    assert_eq!(send(&layer).await.status(), 200);
}

#[tokio::test]
async fn the_readied_instance_is_called_after_a_trip() {
    /// Panics if it is called without having been made ready.
    #[derive(Default)]
    struct Strict(bool);

    impl Clone for Strict {
        fn clone(&self) -> Self {
            Self(false)
        }
    }

    impl Service<Request<()>> for Strict {
        type Response = Response<Full<Bytes>>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            self.0 = true;
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            assert!(std::mem::take(&mut self.0), "called without being ready");
            std::future::ready(Ok(Response::default()))
        }
    }

    let shelf = Shelf::default();
    let limiter = RateLimiter::new(quota("9/min")).shared(shelf.clone());
    let mut service = RateLimitLayer::new(limiter).key(key::global()).layer(Strict::default());
    for manner in [BY_TRIP, AT_ONCE, BY_TRIP] {
        shelf.behaves(manner);
        let answer = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn policies_and_shadow_hold_in_the_store() {
    let shelf = Shelf::default();
    shelf.behaves(BY_TRIP);
    let policies =
        [Policy::new("second", quota("3/s")), Policy::new("new", quota("1/s")).mode(Mode::Shadow)];
    let limiter = RateLimiter::with_policies(policies).unwrap().shared(shelf);
    let mut allowed = 0;
    for _ in 0..6 {
        allowed += usize::from(limiter.check(Key::of("a")).await.allowed);
    }
    assert_eq!(allowed, 3);
    let snapshot = limiter.snapshot();
    let decisions = "bartizan_rate_limit_decisions_total";
    assert_eq!(snapshot.value_of(decisions, "second", "admitted"), Some(3.0));
    assert_eq!(snapshot.value_of(decisions, "second", "refused"), Some(3.0));
    assert_eq!(snapshot.value_of(decisions, "new", "shadow_refused"), Some(5.0));
}

#[tokio::test]
async fn costs_are_settled_in_the_store() {
    let shelf = Shelf::default();
    let limiter = RateLimiter::new(quota("100/min")).clock(Clock::manual()).shared(shelf);
    let ask = Ask::new(Key::of("a"));
    limiter.reserve(ask.cost(60)).await.unwrap().settle(20);
    assert_eq!(limiter.check(ask.cost(10)).await.remaining, 70);
    limiter.refund(ask.cost(10));
    limiter.charge(ask.cost(30));
    assert_eq!(limiter.check(ask.cost(0)).await.remaining, 50);
    assert_eq!(limiter.check(ask.cost(101)).await.retry_after, None);
    assert!(limiter.reserve(ask.cost(60)).await.is_err());
}

#[tokio::test]
async fn handlers_find_a_reservation_even_when_nothing_is_limited() {
    let shelf = Shelf::default();
    let limiter = RateLimiter::new(quota("100/min")).shared(shelf);
    let layer =
        RateLimitLayer::new(limiter.clone()).key(key::global()).reserve_with(|_: &Request<()>| 40);
    let handler = service_fn(|request: Request<()>| async move {
        let reservation = request.extensions().get::<Reservation>().unwrap();
        reservation.settle(10);
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(reservation.cost().to_string())))
    });
    for mode in [Mode::Enforce, Mode::Off] {
        limiter.switch().set(mode);
        layer.layer(handler).oneshot(Request::new(())).await.unwrap();
    }
    assert_eq!(limiter.check(Ask::new(Key::GLOBAL).cost(0)).await.remaining, 90);
}
