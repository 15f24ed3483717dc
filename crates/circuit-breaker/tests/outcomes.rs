//! What counts, and as what, judged to the end of the answer.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use bartizan_circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, Settings, State};
use bartizan_core::{Clock, Engine, Http, Outcome, Verdict, Watch};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};

/// A body of one frame, and then its trailers, its end, or its fault.
#[derive(Clone)]
struct Answer {
    data: Option<&'static str>,
    trailers: Option<HeaderMap>,
    breaks: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(if let Some(data) = self.data.take() {
            Some(Ok(Frame::data(Bytes::from(data))))
        } else if self.breaks {
            self.breaks = false;
            Some(Err("connection reset"))
        } else {
            self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))
        })
    }
}

fn answer(status: u16) -> Response<Answer> {
    let body = Answer { data: Some("hello"), trailers: None, breaks: false };
    Response::builder().status(status).body(body).unwrap()
}

fn broken() -> Response<Answer> {
    let mut response = answer(200);
    response.body_mut().breaks = true;
    response
}

fn grpc(status: Option<u8>, in_head: bool) -> Response<Answer> {
    let mut response = answer(200);
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let mut fields = HeaderMap::new();
    if let Some(status) = status {
        fields.insert("grpc-status", u16::from(status).into());
    }
    if in_head {
        response.headers_mut().extend(fields);
        response.body_mut().data = None;
    } else {
        response.body_mut().trailers = Some(fields);
    }
    response
}

/// What the breaker made of a call that was answered so, and whose answer was read to its end.
async fn counted(
    layer: impl Fn(CircuitBreaker) -> CircuitBreakerLayer,
    reply: Response<Answer>,
) -> Outcome {
    let breaker = CircuitBreaker::new("test").settings(Settings::default().window(1, 1)).unwrap();
    let inner = service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(reply.clone())));
    let service = layer(breaker.clone()).layer(inner);
    let response = service.oneshot(Request::new(())).await.unwrap();
    let _ = response.into_body().collect().await;
    let snapshot = breaker.snapshot();
    let is =
        |outcome| snapshot.value("bartizan_circuit_breaker_calls_total", outcome).unwrap() > 0.0;
    match (is("success"), is("failure"), is("ignored")) {
        (true, false, false) => Outcome::Success,
        (false, true, false) => {
            assert_eq!(breaker.state(), State::Open);
            Outcome::Failure
        }
        (false, false, true) => Outcome::Refused,
        other => panic!("counted as {other:?}"),
    }
}

#[tokio::test]
async fn u19_the_status_and_the_end_of_the_body_decide() {
    let table = [
        ("200", answer(200), Outcome::Success),
        ("204", answer(204), Outcome::Success),
        ("304", answer(304), Outcome::Success),
        ("400", answer(400), Outcome::Success),
        ("404", answer(404), Outcome::Success),
        ("429", answer(429), Outcome::Success),
        ("500", answer(500), Outcome::Failure),
        ("503", answer(503), Outcome::Failure),
        ("504", answer(504), Outcome::Failure),
        ("a broken body", broken(), Outcome::Failure),
        ("an upgrade", answer(101), Outcome::Success),
    ];
    for (name, reply, expected) in table {
        assert_eq!(counted(CircuitBreakerLayer::new, reply).await, expected, "{name}");
    }
}

#[tokio::test]
async fn u19_grpc_codes_count_from_trailers_and_from_the_head() {
    // Unknown, deadline exceeded, resource exhausted, internal, unavailable, data loss.
    let failures = [2, 4, 8, 13, 14, 15];
    for code in 0..=16 {
        let failed = failures.contains(&code);
        let expected = if failed { Outcome::Failure } else { Outcome::Success };
        for in_head in [false, true] {
            let reply = grpc(Some(code), in_head);
            let counted = counted(CircuitBreakerLayer::new, reply).await;
            assert_eq!(counted, expected, "{code}, in the head: {in_head}");
        }
    }
    let cut_off = counted(CircuitBreakerLayer::new, grpc(None, false)).await;
    assert_eq!(cut_off, Outcome::Failure, "a stream without a status was cut off");
}

#[tokio::test]
async fn a_classifier_of_one_s_own_has_the_last_word() {
    let strict = |breaker| {
        CircuitBreakerLayer::new(breaker).protocol(Http::new().classify_with(|status, _| {
            match status {
                StatusCode::TOO_MANY_REQUESTS => Verdict::Known(Outcome::Failure),
                StatusCode::NOT_IMPLEMENTED => Verdict::Known(Outcome::Refused),
                _ => Verdict::AtEnd(|_| Outcome::Success),
            }
        }))
    };
    assert_eq!(counted(strict, answer(429)).await, Outcome::Failure);
    assert_eq!(counted(strict, answer(501)).await, Outcome::Refused);
    assert_eq!(counted(strict, answer(500)).await, Outcome::Success);
    assert_eq!(counted(strict, broken()).await, Outcome::Failure, "no end is no success");
}

#[tokio::test]
async fn errors_are_failures() {
    let breaker = CircuitBreaker::new("test").settings(Settings::default().window(1, 1)).unwrap();
    let inner = service_fn(|_: Request<()>| ready(Err::<Response<Answer>, _>("refused")));
    let service = CircuitBreakerLayer::new(breaker.clone()).layer(inner);
    assert_eq!(service.oneshot(Request::new(())).await.err(), Some("refused"));
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn s20_the_service_s_retry_after_sets_the_wait() {
    let clock = Clock::manual();
    let settings = Settings::default().window(1, 1).open_jitter(0.0);
    let breaker = CircuitBreaker::new("test").settings(settings).unwrap().clock(clock.clone());
    let inner = service_fn(|_: Request<()>| {
        let mut response = answer(503);
        response.headers_mut().insert("retry-after", "42".parse().unwrap());
        ready(Ok::<_, Infallible>(response))
    });
    let service = CircuitBreakerLayer::new(breaker.clone()).layer(inner);
    let ask = || service.clone().oneshot(Request::new(()));
    assert_eq!(ask().await.unwrap().status(), 503);
    let refused = ask().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "42");
    clock.advance(Duration::from_secs(41));
    assert!(breaker.try_acquire().is_err());
    clock.advance(Duration::from_secs(1));
    assert!(breaker.try_acquire().is_ok());
}

/// Eight tasks on two threads, and through them a hundred callers at once.
#[test]
fn u16_three_of_a_hundred_callers_reach_the_service_time_and_again() {
    const WAIT: Duration = Duration::from_secs(5);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let clock = Clock::manual();
    let settings = Settings::default().window(1, 1).open_wait(WAIT, WAIT).half_open_probes(3);
    let breaker = CircuitBreaker::new("test").settings(settings).unwrap().clock(clock.clone());
    breaker.try_acquire().unwrap().settle(Outcome::Failure);
    let hits = Arc::new(AtomicUsize::new(0));
    let rounds = 200;
    for round in 0..rounds {
        clock.advance(WAIT);
        hits.store(0, SeqCst);
        let (release, _) = tokio::sync::broadcast::channel::<()>(1);
        let inner = {
            let (hits, release) = (Arc::clone(&hits), release.clone());
            service_fn(move |_: Request<()>| {
                hits.fetch_add(1, SeqCst);
                let mut released = release.subscribe();
                async move {
                    // Held until all hundred have been let through or refused.
                    let _ = released.recv().await;
                    Ok::<_, Infallible>(answer(500))
                }
            })
        };
        let service = CircuitBreakerLayer::new(breaker.clone()).layer(inner);
        let refused = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let (service, refused) = (service.clone(), Arc::clone(&refused));
                runtime.spawn(async move {
                    let mut callers = tokio::task::JoinSet::new();
                    for _ in 0..if task < 4 { 13 } else { 12 } {
                        let (service, refused) = (service.clone(), Arc::clone(&refused));
                        callers.spawn(async move {
                            let response = service.oneshot(Request::new(())).await.unwrap();
                            refused.fetch_add(usize::from(response.status() == 503), SeqCst);
                        });
                    }
                    callers.join_all().await;
                })
            })
            .collect();
        while hits.load(SeqCst) + refused.load(SeqCst) < 100 {
            std::thread::yield_now();
        }
        assert_eq!((hits.load(SeqCst), refused.load(SeqCst)), (3, 97), "round {round}");
        assert_eq!(breaker.state(), State::HalfOpen);
        release.send(()).unwrap();
        tasks.into_iter().for_each(|task| runtime.block_on(task).unwrap());
        assert_eq!(breaker.state(), State::Open);
    }
    println!("bar: half-open-callers-of-100-in-{rounds}-rounds 3 3 ok");
}
