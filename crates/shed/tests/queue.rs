//! Who waits for a slot, for how long, and who goes first.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use bartizan_core::{Clock, Key};
use bartizan_shed::{Deadlines, LoadShedLayer, LoadShedder, Priority, Settings};
use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tokio_test::task::spawn;
use tower::{Layer, Service, ServiceExt, service_fn};

use self::common::{Answer, MILLI, hello, one_slot, refusals, to};

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_when_a_slot_is_free() {
    let (shedder, _clock) = one_slot();
    let service = LoadShedLayer::new(shedder.clone()).layer(service_fn(hello));
    let held = shedder.admit().unwrap();
    let mut waiting = spawn(service.oneshot(to("/")));
    assert!(waiting.poll().is_pending());
    assert_eq!((shedder.waiting(), shedder.in_flight()), (1, 1));
    drop(held);
    assert!(waiting.is_woken());
    // The slot is theirs already: nobody comes between.
    assert_eq!((shedder.waiting(), shedder.in_flight()), (0, 1));
    assert!(shedder.admit().is_none());
    let response = waiting.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().collect().await.unwrap();
    assert_eq!(shedder.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_for_too_long_is_told_though_nobody_comes_or_goes() {
    let (shedder, _clock) = one_slot();
    let service = LoadShedLayer::new(shedder.clone()).layer(service_fn(hello));
    let _held = shedder.admit().unwrap();
    // Virtual time goes on when all wait: no other event is needed.
    let response = service.oneshot(to("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((shedder.waiting(), refusals(&shedder, "queue")), (0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn who_comes_sends_away_those_whose_time_is_over() {
    let (shedder, clock) = one_slot();
    let service = LoadShedLayer::new(shedder.clone()).layer(service_fn(hello));
    let _held = shedder.admit().unwrap();
    let mut first = spawn(service.clone().oneshot(to("/")));
    assert!(first.poll().is_pending());
    clock.advance(25 * MILLI);
    let mut second = spawn(service.oneshot(to("/")));
    assert!(second.poll().is_pending());
    assert!(first.is_woken());
    assert_eq!(first.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shedder.waiting(), 1);
}

#[tokio::test(start_paused = true)]
async fn cancelled_waiters_leave_nothing_and_pass_their_slot_on() {
    let (shedder, _clock) = one_slot();
    let service = LoadShedLayer::new(shedder.clone()).layer(service_fn(hello));
    let held = shedder.admit().unwrap();
    let mut calls: Vec<_> = (0..3).map(|_| spawn(service.clone().oneshot(to("/")))).collect();
    calls.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
    drop(calls.remove(1));
    assert_eq!(shedder.waiting(), 2);
    drop(held);
    // The first has been given the slot, and goes without having seen it.
    assert!(calls[0].is_woken());
    drop(calls.remove(0));
    assert!(calls[0].is_woken());
    assert_eq!(calls.remove(0).await.unwrap().status(), StatusCode::OK);
    assert_eq!((shedder.waiting(), shedder.in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_first_come_first_served_until_it_stands() {
    for (stands, order) in [(false, [0, 1, 2]), (true, [2, 1, 0])] {
        let (shedder, clock) = one_slot();
        let service = LoadShedLayer::new(shedder.clone()).layer(service_fn(hello));
        let mut held = shedder.admit().unwrap();
        if stands {
            // Somebody has been waiting for seconds.
            for _ in 0..1000 {
                let mut passing = spawn(service.clone().oneshot(to("/")));
                assert!(passing.poll().is_pending());
                clock.advance(8 * MILLI);
                drop(held);
                drop(passing);
                held = shedder.admit().unwrap();
            }
        }
        let mut calls: Vec<_> = (0..3)
            .map(|_| {
                let mut call = spawn(service.clone().oneshot(to("/")));
                assert!(call.poll().is_pending());
                clock.advance(MILLI);
                call
            })
            .collect();
        drop(held);
        for next in order {
            let woken: Vec<_> = calls.iter().map(|call| call.is_woken()).collect();
            assert!(woken[next], "{stands}: {woken:?}, not {next}");
            let std::task::Poll::Ready(answer) = calls[next].poll() else { panic!("it was woken") };
            answer.unwrap().into_body().collect().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_waits_longer_than_its_caller() {
    let (shedder, clock) = one_slot();
    let deadlines = Deadlines::header(HeaderName::from_static("x-timeout"));
    let service = LoadShedLayer::new(shedder.clone())
        .deadlines(deadlines)
        .layer(service_fn(|_: Request<()>| pending::<Answer>()));
    let held = shedder.admit().unwrap();
    let timed = |name: &str, value: &str| {
        let request = Request::builder().header(name, value).body(()).unwrap();
        spawn(service.clone().oneshot(request))
    };
    let mut calls =
        [timed("grpc-timeout", "4m"), timed("x-timeout", "9"), timed("x-timeout", "no")];
    calls.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
    clock.advance(5 * MILLI);
    // A slot is free, but the first would come too late: it is never begun.
    drop(held);
    assert!(calls[0].is_woken() && calls[1].is_woken() && !calls[2].is_woken());
    let std::task::Poll::Ready(answer) = calls[0].poll() else { panic!("it was woken") };
    assert_eq!(answer.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(calls[1].poll().is_pending());
    assert_eq!(refusals(&shedder, "deadline"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn no_request_waits_longer_than_its_caller_though_nobody_comes_or_goes() {
    let (shedder, _clock) = one_slot();
    let deadlines = Deadlines::header(HeaderName::from_static("x-timeout"));
    let service = LoadShedLayer::new(shedder.clone()).deadlines(deadlines).layer(service_fn(hello));
    let _held = shedder.admit().unwrap();
    let patient = spawn(service.clone().oneshot(to("/"))).enter(|cx, call| call.poll(cx));
    assert!(patient.is_pending());
    let begun = Instant::now();
    let request = Request::builder().header("x-timeout", "9").body(()).unwrap();
    let answer = service.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((begun.elapsed(), refusals(&shedder, "deadline")), (9 * MILLI, 1.0));
}

#[tokio::test(start_paused = true)]
async fn what_is_past_its_deadline_is_not_begun_though_slots_are_free() {
    let (shedder, _clock) = one_slot();
    let service = LoadShedLayer::new(shedder.clone())
        .priority(|_: &Request<()>| Priority::Critical)
        .deadlines(Deadlines::grpc())
        .exempt_paths(["/livez"])
        .layer(service_fn(hello));
    let status = |path: &'static str, timeout: &'static str| {
        let request = Request::get(path).header("grpc-timeout", timeout).body(()).unwrap();
        let call = service.clone().oneshot(request);
        async { call.await.unwrap().status() }
    };
    assert_eq!(status("/", "0m").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status("/", "1m").await, StatusCode::OK);
    assert_eq!(status("/livez", "0m").await, StatusCode::OK);
    assert_eq!(refusals(&shedder, "deadline"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn the_longest_wait_holds_from_the_first_call_on_and_for_the_critical_too() {
    let settings = Settings::fixed(1).critical_slots(0.0).longest_wait(5 * MILLI);
    let shedder = LoadShedder::new("test").clock(Clock::manual()).settings(settings).unwrap();
    let service = LoadShedLayer::new(shedder.clone())
        .priority(|request: &Request<()>| request.uri().path()[1..].parse().unwrap())
        .layer(service_fn(hello));
    let _held = shedder.admit().unwrap();
    for path in ["/default", "/critical"] {
        let begun = Instant::now();
        let answer = service.clone().oneshot(to(path)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(begun.elapsed(), 5 * MILLI, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_matters_more_goes_first_and_takes_a_place_in_a_full_queue() {
    let clock = Clock::manual();
    let settings = Settings::fixed(1).critical_slots(0.0).queue(2);
    let shedder = LoadShedder::new("test").clock(clock).settings(settings).unwrap();
    let service = LoadShedLayer::new(shedder.clone())
        .priority(|request: &Request<()>| request.uri().path()[1..].parse().unwrap())
        .layer(service_fn(hello));
    let held = shedder.admit().unwrap();
    let call = |path: &str| {
        let mut call = spawn(service.clone().oneshot(to(path)));
        (call.poll().is_ready(), call)
    };
    let (_, mut background) = call("/background");
    let (_, mut sheddable) = call("/sheddable");
    let (is_over, refused) = call("/background");
    assert!(is_over);
    drop(refused);
    let (_, mut critical) = call("/critical");
    assert!(background.is_woken());
    assert!(background.poll().is_ready());
    drop(held);
    assert!(critical.is_woken() && !sheddable.is_woken());
    assert!(critical.poll().is_ready());
    assert!(sheddable.is_woken());
    assert!(sheddable.poll().is_ready());
    assert_eq!(refusals(&shedder, "queue"), 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_few_slots_are_kept_for_critical_requests() {
    let settings = Settings::fixed(10).queue(0).critical_slots(0.1);
    let shedder = LoadShedder::new("test").clock(Clock::manual()).settings(settings).unwrap();
    let layer = LoadShedLayer::new(shedder.clone()).priority(|_: &Request<()>| Priority::Critical);
    let mut service = layer.layer(service_fn(|_: Request<()>| pending::<Answer>()));
    let _full: Vec<_> = (0..10).map(|_| shedder.admit().unwrap()).collect();
    let mut first = spawn(service.ready().await.unwrap().call(to("/")));
    let mut second = spawn(service.ready().await.unwrap().call(to("/")));
    assert!(first.poll().is_pending());
    assert!(second.poll().is_ready());
    drop(first);
    let mut third = spawn(service.ready().await.unwrap().call(to("/")));
    assert!(third.poll().is_pending());
    drop(third);
    assert_eq!(shedder.in_flight(), 10);
}

#[tokio::test(start_paused = true)]
async fn who_has_asked_for_less_goes_first() {
    let (shedder, _clock) = one_slot();
    let service = LoadShedLayer::new(shedder.clone())
        .tenant(|request: &Request<()>| Some(Key::of(request.uri().path())))
        .layer(service_fn(hello));
    let held = shedder.admit().unwrap();
    let mut many: Vec<_> = (0..20).map(|_| spawn(service.clone().oneshot(to("/many")))).collect();
    many.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
    let mut few = spawn(service.oneshot(to("/few")));
    assert!(few.poll().is_pending());
    drop(held);
    assert!(few.is_woken());
    assert!(!many.iter().any(|call| call.is_woken()));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_out_the_tenant_shares_one_account_with_all_who_do() {
    let (shedder, _clock) = one_slot();
    let service = LoadShedLayer::new(shedder.clone())
        .tenant(|request: &Request<()>| {
            let name = request.headers().get("x-tenant")?;
            Some(Key::of(name.as_bytes()))
        })
        .layer(service_fn(hello));
    let held = shedder.admit().unwrap();
    let mut nameless: Vec<_> = (0..20).map(|_| spawn(service.clone().oneshot(to("/")))).collect();
    nameless.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
    let request = Request::builder().header("x-tenant", "few").body(()).unwrap();
    let mut few = spawn(service.oneshot(request));
    assert!(few.poll().is_pending());
    drop(held);
    assert!(few.is_woken());
    assert!(!nameless.iter().any(|call| call.is_woken()));
}

#[tokio::test(start_paused = true)]
async fn of_a_slot_until_the_head_fast_errors_teach_nothing() {
    let (shedder, clock) = one_slot();
    let answer = |status: StatusCode, takes: Duration| {
        let clock = clock.clone();
        let layer = LoadShedLayer::new(shedder.clone()).until_head();
        let service = layer.layer(service_fn(move |_: Request<()>| {
            clock.advance(takes);
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = status;
            async { Ok::<_, Infallible>(response) }
        }));
        async move { assert_eq!(service.oneshot(to("/")).await.unwrap().status(), status) }
    };
    for _ in 0..32 {
        answer(StatusCode::OK, 10 * MILLI).await;
    }
    assert_eq!(shedder.base_latency(), 10 * MILLI);
    for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE] {
        for _ in 0..200 {
            answer(status, Duration::ZERO).await;
        }
    }
    assert_eq!(shedder.base_latency(), 10 * MILLI);
}

#[tokio::test(start_paused = true)]
async fn a_slot_until_the_head_is_free_while_the_body_streams() {
    let (shedder, _clock) = one_slot();
    let layer = LoadShedLayer::new(shedder.clone()).until_head();
    let response = layer.layer(service_fn(hello)).oneshot(to("/")).await.unwrap();
    assert_eq!(shedder.in_flight(), 0);
    response.into_body().collect().await.unwrap();
    assert_eq!(shedder.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn u33_ten_thousand_waiters_cut_short_leave_nothing() {
    let (shedder, clock) = one_slot();
    let service = LoadShedLayer::new(shedder.clone()).layer(service_fn(hello));
    let mut waited = 0;
    for round in 0..10_000_u32 {
        let held = shedder.admit().unwrap();
        let mut calls = [(); 3].map(|()| spawn(service.clone().oneshot(to("/"))));
        // Where so few of them are served, some are refused at the door.
        waited +=
            calls.iter_mut().filter_map(|call| call.poll().is_pending().then_some(1)).sum::<u32>();
        let [first, second, third] = calls;
        match round % 4 {
            0 => drop((first, held)),
            1 => drop((held, first)),
            2 => {
                clock.advance(50 * MILLI);
                drop((second, held));
            }
            _ => drop((third, second, held)),
        }
        clock.advance(200 * MILLI);
    }
    assert_eq!((shedder.waiting(), shedder.in_flight()), (0, 0));
    assert!(shedder.admit().is_some());
    assert!(waited > 5_000, "{waited}");
}
