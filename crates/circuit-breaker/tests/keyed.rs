//! One breaker per key, in a table of bounded size.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan_circuit_breaker::{
    CircuitBreakerLayer, Forced, KeyedCircuitBreaker, Reason, Settings, State,
};
use bartizan_core::key::{self, Key};
use bartizan_core::{Clock, Engine, Mode, Outcome, Watch};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{ServiceBuilder, ServiceExt};

fn settings() -> Settings {
    Settings::default().window(10, 10)
}

fn breakers() -> KeyedCircuitBreaker {
    KeyedCircuitBreaker::new("hosts").settings(settings()).unwrap()
}

fn key(number: usize) -> Key {
    Key::of(&number)
}

fn call(breakers: &KeyedCircuitBreaker, key: Key, outcome: Outcome) {
    breakers.try_acquire(key).unwrap().settle(outcome);
}

fn open(breakers: &KeyedCircuitBreaker, key: Key) {
    (0..10).for_each(|_| call(breakers, key, Outcome::Failure));
    assert_eq!(breakers.state(key), State::Open);
}

fn figure(breakers: &KeyedCircuitBreaker, name: &str, outcome: &str) -> f64 {
    let name = format!("bartizan_circuit_breaker_{name}");
    breakers.snapshot().value(&name, outcome).unwrap()
}

#[test]
fn s18_an_idle_key_takes_no_more_than_512_bytes() {
    const KEYS: usize = 10_000;
    for (what, settings) in [
        ("calls", Settings::default()),
        ("time", Settings::default().window_time(Duration::from_secs(10), 20)),
        ("slow-calls", Settings::default().slow_calls(Duration::from_secs(1), 0.5)),
    ] {
        let mut breakers = None;
        let taken = allocation_counter::measure(|| {
            let made = KeyedCircuitBreaker::new("hosts").capacity(2 * KEYS);
            let made = made.settings(settings).unwrap();
            for number in 0..KEYS {
                call(&made, key(number), Outcome::Failure);
                call(&made, key(number), Outcome::Success);
            }
            breakers = Some(made);
        });
        assert_eq!(breakers.unwrap().len(), KEYS);
        let per_key = taken.bytes_current as f64 / KEYS as f64;
        let verdict = if per_key <= 512.0 { "ok" } else { "short" };
        println!("bar: idle-key-bytes-{what} {per_key:.0} 512 {verdict}");
        assert!(per_key <= 512.0, "{what}: {per_key} bytes");
    }
}

#[test]
fn the_table_is_bounded_and_what_is_open_stays() {
    let breakers = breakers().capacity(1_000);
    let bad = key(usize::MAX);
    open(&breakers, bad);
    for number in 0..100_000 {
        call(&breakers, key(number), Outcome::Success);
    }
    assert!(breakers.len() <= 1_100, "{}", breakers.len());
    assert_eq!(breakers.state(bad), State::Open);
    assert_eq!(figure(&breakers, "open_keys", ""), 1.0);
    // What was evicted is not forgotten by the figures.
    assert_eq!(figure(&breakers, "calls_total", "success"), 100_000.0);
}

#[test]
fn a_flood_of_bad_keys_is_bounded_too() {
    let breakers = breakers().settings(settings().window(1, 1)).unwrap().capacity(1_000);
    for number in 0..50_000 {
        call(&breakers, key(number), Outcome::Failure);
    }
    assert!(breakers.len() <= 1_100, "{}", breakers.len());
    let open = figure(&breakers, "open_keys", "");
    assert!(open <= 1_100.0, "{open}");
    assert!(figure(&breakers, "keys", "") <= 1_100.0);
}

#[test]
fn what_an_operator_does_holds_for_every_key() {
    let breakers = breakers();
    open(&breakers, key(1));
    call(&breakers, key(2), Outcome::Failure);
    breakers.force(Forced::Open);
    assert!(breakers.try_acquire(key(2)).is_err());
    assert!(breakers.try_acquire(key(3)).is_err(), "also for those that are new");
    breakers.force(Forced::Closed);
    assert!((1..=4).all(|number| breakers.try_acquire(key(number)).is_ok()));
    breakers.force(None);
    open(&breakers, key(1));
    breakers.reset(key(1));
    assert_eq!(breakers.state(key(1)), State::Closed);

    breakers.switch().set(Mode::Off);
    (0..20).for_each(|_| call(&breakers, key(5), Outcome::Failure));
    assert_eq!(breakers.state(key(5)), State::Closed);
    breakers.switch().set(Mode::Shadow);
    (0..20).for_each(|_| call(&breakers, key(5), Outcome::Failure));
    assert_eq!(breakers.state(key(5)), State::Open);
    assert_eq!(figure(&breakers, "calls_total", "shadow_refused"), 10.0);
}

#[test]
fn settings_change_while_running_and_every_window_stays() {
    let breakers = breakers();
    (0..9).for_each(|_| call(&breakers, key(1), Outcome::Failure));
    let error = breakers.apply(serde_json::json!({ "windw": 3 })).unwrap_err();
    assert!(error.to_string().contains("windw"), "{error}");
    breakers.apply(serde_json::json!({ "window": 50, "minimum_calls": 10 })).unwrap();
    call(&breakers, key(1), Outcome::Failure);
    assert_eq!(breakers.state(key(1)), State::Open);
    assert_eq!(breakers.state(key(2)), State::Closed);
}

#[test]
fn a_transition_names_its_key_to_the_listener() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let clock = Clock::manual();
    let breakers = breakers().clock(clock.clone()).on_transition(move |transition| {
        note.lock().unwrap().push((transition.key(), transition.reason()));
    });
    open(&breakers, key(7));
    clock.advance(Duration::from_secs(5));
    call(&breakers, key(7), Outcome::Success);
    let reasons = [Reason::FailureRate, Reason::WaitOver, Reason::ProbesSucceeded];
    assert_eq!(*seen.lock().unwrap(), reasons.map(|reason| (Some(key(7)), reason)));
}

#[tokio::test]
async fn requests_go_by_their_host() {
    let breakers = breakers();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::keyed(breakers.clone(), key::header(http::header::HOST)))
        .service_fn(|request: Request<()>| async move {
            let bad = request.headers().get("host").is_none_or(|host| host == "bad");
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = if bad { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
            Ok::<_, Infallible>(response)
        });
    let ask = async |host: Option<&str>| {
        let mut request = Request::new(());
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        service.clone().oneshot(request).await.unwrap().status()
    };
    for _ in 0..10 {
        assert_eq!(ask(Some("bad")).await, 502);
        assert_eq!(ask(Some("good")).await, 200);
        assert_eq!(ask(None).await, 502);
    }
    assert_eq!(ask(Some("bad")).await, 503);
    assert_eq!(ask(Some("good")).await, 200);
    // Without a key there is nothing to judge by.
    assert_eq!(ask(None).await, 502);
    assert_eq!(figure(&breakers, "calls_total", "no_key"), 11.0);
}
