//! What is answered in place of a refusal, and when the service behind is not even ready.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::future::ready;
use std::task::{Context, Poll, Waker};

use bartizan_circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, Open, Settings, State};
use bartizan_core::{Clock, Engine, Http, Outcome, Refused, Watch};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};

type Reply = Response<Full<Bytes>>;

fn settings() -> Settings {
    Settings::default().window(1, 1).open_jitter(0.0)
}

fn opened() -> CircuitBreaker {
    let breaker = CircuitBreaker::new("test").settings(settings()).unwrap().clock(Clock::manual());
    breaker.try_acquire().unwrap().settle(Outcome::Failure);
    assert_eq!(breaker.state(), State::Open);
    breaker
}

/// Must not be called.
fn primary() -> impl Service<Request<()>, Response = Reply, Error = Infallible> + Clone {
    service_fn(|_: Request<()>| async { panic!("the breaker is open") })
}

async fn text<B>(response: Response<B>) -> String
where
    B: http_body::Body<Data = Bytes, Error = Infallible>,
{
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_static_response() {
    let breaker = opened();
    let layer = CircuitBreakerLayer::new(breaker.clone())
        .fallback_response(Reply::new(Full::from("closed today")));
    for _ in 0..2 {
        let response = layer.layer(primary()).oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await, "closed today");
    }
    // They are refusals all the same, and nobody's success.
    let figure =
        |outcome| breaker.snapshot().value("bartizan_circuit_breaker_calls_total", outcome);
    assert_eq!(figure("refused"), Some(2.0));
    assert_eq!(figure("success"), Some(0.0));
}

#[tokio::test]
async fn a_closure_that_may_decline() {
    let respond = |request: &Request<()>, open: Open| {
        let seconds = open.retry_after().as_secs();
        let said = format!("back in {seconds} s");
        (request.uri().path() == "/soft").then(|| Reply::new(Full::from(said)))
    };
    let service = CircuitBreakerLayer::new(opened()).fallback_with(respond).layer(primary());
    let soft = Request::builder().uri("/soft").body(()).unwrap();
    assert_eq!(text(service.clone().oneshot(soft).await.unwrap()).await, "back in 5 s");
    let hard = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(hard.status(), 503);
    assert!(
        hard.extensions().get::<Refused>().is_some_and(|refused| refused.code == "circuit-open")
    );
}

/// Ready at the second asking, and only then to be called.
#[derive(Clone)]
struct Reserve {
    asked: u32,
}

impl Service<Request<()>> for Reserve {
    type Response = Reply;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Reply, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.asked += 1;
        if self.asked > 1 {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        assert_eq!(self.asked, 2);
        ready(Ok(Reply::new(Full::from(format!("reserve for {}", request.uri())))))
    }
}

#[tokio::test]
async fn another_service() {
    let layer = CircuitBreakerLayer::new(opened()).fallback_service(Reserve { asked: 0 });
    let request = Request::builder().uri("/a").body(()).unwrap();
    let response = layer.layer(primary()).oneshot(request).await.unwrap();
    assert_eq!(text(response).await, "reserve for /a");
}

#[tokio::test]
async fn a_refusal_rendered_by_hand_needs_no_body_of_the_service_s_kind() {
    let http = Http::new().respond_with(|_, rejection| {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = rejection.status();
        Some(response)
    });
    let service = CircuitBreakerLayer::new(opened()).protocol(http).layer(primary());
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.extensions().get::<Refused>().is_some(), "still known as a refusal");
    assert_eq!(text(response).await, "");
}

/// A service whose readiness is said by hand.
#[derive(Clone)]
struct Unready(Poll<Result<(), &'static str>>);

impl Service<Request<()>> for Unready {
    type Response = Reply;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Reply, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.0
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        panic!("it is not ready")
    }
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_the_service() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut service = CircuitBreakerLayer::new(opened()).layer(Unready(Poll::Pending));
    assert!(service.poll_ready(&mut cx).is_ready());
    assert_eq!(service.call(Request::new(())).await.unwrap().status(), 503);

    let closed = CircuitBreaker::new("test").settings(settings()).unwrap();
    let mut service = CircuitBreakerLayer::new(closed).layer(Unready(Poll::Pending));
    assert!(service.poll_ready(&mut cx).is_pending());
}

#[test]
fn a_service_that_fails_to_get_ready_fails() {
    let breaker = CircuitBreaker::new("test").settings(settings()).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut service =
        CircuitBreakerLayer::new(breaker.clone()).layer(Unready(Poll::Ready(Err("no connection"))));
    assert_eq!(service.poll_ready(&mut cx), Poll::Ready(Err("no connection")));
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(service.poll_ready(&mut cx), Poll::Ready(Err("no connection")));
}

#[test]
fn a_refusal_allocates_little() {
    let service = CircuitBreakerLayer::new(opened()).layer(primary());
    let mut cx = Context::from_waker(Waker::noop());
    let mut refuse = || {
        let mut service = service.clone();
        let request = Request::new(());
        let mut status = None;
        let info = allocation_counter::measure(|| {
            let call = std::pin::pin!(service.call(request));
            if let Poll::Ready(Ok(response)) = call.poll(&mut cx) {
                status = Some(response.status());
            }
        });
        assert_eq!(status, Some(StatusCode::SERVICE_UNAVAILABLE));
        info.count_total
    };
    // What is set up once is not the path.
    refuse();
    let count = refuse();
    println!("bar: refusal-allocations {count} 6 {}", if count <= 6 { "ok" } else { "short" });
    assert!(count <= 6, "{count} allocations");
}
