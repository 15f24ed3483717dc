//! How exchanges are judged, to the end of their bodies.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use bartizan_core::{
    Http, HttpDialect, Outcome, Plain, Protocol, Rejection, ResponseBody, Verdict, Watch,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};

struct Teller(Option<Sender<Outcome>>);

impl Watch for Teller {
    fn settle(mut self, outcome: Outcome) {
        self.0.take().unwrap().send(outcome).unwrap();
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            sender.send(Outcome::Abandoned).unwrap();
        }
    }
}

type Delivered<B> = Response<ResponseBody<B, Teller>>;

/// Delivers a response, lets `finish` have it, and returns what the watch was told.
fn told<B: Body>(response: Response<B>, finish: impl FnOnce(Delivered<B>)) -> Outcome {
    told_by(&Http::new(), response, finish)
}

fn told_by<B: Body>(
    http: &Http,
    response: Response<B>,
    finish: impl FnOnce(Delivered<B>),
) -> Outcome {
    let (sender, receiver) = channel();
    let delivered =
        Protocol::<Request<()>, _, ()>::deliver(http, Ok(response), Teller(Some(sender)));
    finish(delivered.unwrap());
    let outcome = receiver.try_recv().unwrap();
    assert!(receiver.try_recv().is_err(), "told twice");
    outcome
}

fn read<B: Body<Data = Bytes>>(response: Delivered<B>) {
    let mut body = std::pin::pin!(response.into_body());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while let std::task::Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut cx) {}
    // What follows the end of a body must not be told again.
    let _ = body.as_mut().poll_frame(&mut cx);
}

/// Asks for the first frame only.
fn half_read<B: Body<Data = Bytes>>(response: Delivered<B>) {
    let mut body = std::pin::pin!(response.into_body());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(body.as_mut().poll_frame(&mut cx).is_ready());
}

/// A body of two frames that does not know its length, nor when it is over.
fn pieces() -> Response<impl Body<Data = Bytes>> {
    Response::new(frames(["hel", "lo"].map(|piece| Ok(Frame::data(piece.into()))).into()))
}

fn text() -> Response<Full<Bytes>> {
    Response::new(Full::from("hello"))
}

fn grpc<B>(body: B) -> Response<B> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn frames(
    frames: Vec<Result<Frame<Bytes>, &'static str>>,
) -> impl Body<Data = Bytes, Error = &'static str> {
    StreamBody::new(stream(frames))
}

/// A stream over a list, without a dependency for it.
fn stream<T: Unpin>(items: Vec<T>) -> impl futures_core::Stream<Item = T> {
    struct Items<T>(std::vec::IntoIter<T>);
    impl<T: Unpin> futures_core::Stream for Items<T> {
        type Item = T;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<T>> {
            std::task::Poll::Ready(self.0.next())
        }
    }
    Items(items.into_iter())
}

fn trailers(status: &'static str) -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([(
        "grpc-status".parse().unwrap(),
        status.parse().unwrap(),
    )]))
}

#[test]
fn a_body_read_to_its_end_is_a_success_and_one_dropped_is_abandoned() {
    assert_eq!(told(text(), read), Outcome::Success);
    assert_eq!(told(pieces(), half_read), Outcome::Abandoned);
    assert_eq!(told(Response::new(Empty::<Bytes>::new()), drop), Outcome::Success);
}

#[test]
fn a_body_that_says_it_is_over_is_over() {
    let outcome = told(text(), |response| {
        let mut body = std::pin::pin!(response.into_body());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(body.as_mut().poll_frame(&mut cx).is_ready());
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
    });
    assert_eq!(outcome, Outcome::Success);
}

#[test]
fn a_body_that_is_all_there_or_that_nobody_asks_for_is_not_given_up() {
    // HTTP/1 servers drop a body when they have sent as much as the field says.
    let declared = |length: &'static str, read: fn(Delivered<_>)| {
        let mut response = pieces();
        response.headers_mut().insert("content-length", length.parse().unwrap());
        told(response, read)
    };
    assert_eq!(declared("3", half_read), Outcome::Success);
    assert_eq!(declared("4", half_read), Outcome::Abandoned);
    assert_eq!(declared("three", half_read), Outcome::Abandoned);
    // And never ask for the one of an answer to HEAD.
    assert_eq!(declared("5", drop), Outcome::Success);
    assert_eq!(told(text(), drop), Outcome::Success);
    // Without its trailers a gRPC answer tells nothing.
    assert_eq!(told(grpc(Full::<Bytes>::from("hello")), drop), Outcome::Abandoned);
    assert_eq!(
        told(grpc(frames(vec![Ok(Frame::data("a".into()))])), half_read),
        Outcome::Abandoned
    );
    let mut grpc = grpc(frames(vec![Ok(Frame::data("a".into())), Ok(trailers("13"))]));
    grpc.headers_mut().insert("content-length", "1".parse().unwrap());
    assert_eq!(told(grpc, read), Outcome::Failure);
}

#[test]
fn a_body_that_panics_is_not_all_there() {
    struct Panics;

    impl Body for Panics {
        type Data = Bytes;
        type Error = ();

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, ()>>> {
            panic!("on purpose")
        }
    }

    let outcome = told(Response::new(Panics), |response| {
        let read = std::panic::AssertUnwindSafe(|| read(response));
        std::panic::catch_unwind(read).unwrap_err();
    });
    assert_eq!(outcome, Outcome::Abandoned, "the watch sees by itself that there was a panic");
}

#[test]
fn status_decides_at_the_head() {
    for (status, outcome) in
        [(404, Outcome::Success), (500, Outcome::Failure), (503, Outcome::Failure)]
    {
        let mut response = text();
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        assert_eq!(told(response, read), outcome, "{status}");
    }
    let mut upgrade = text();
    *upgrade.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    assert_eq!(told(upgrade, drop), Outcome::Success);
}

#[test]
fn a_broken_body_is_a_failure() {
    let body = frames(vec![Ok(Frame::data(Bytes::from("he"))), Err("reset")]);
    assert_eq!(told(Response::new(body), read), Outcome::Failure);
}

#[test]
fn u19_grpc_is_judged_by_its_trailers() {
    for (status, outcome) in [
        ("0", Outcome::Success),
        ("5", Outcome::Success),
        ("16", Outcome::Success),
        ("2", Outcome::Failure),
        ("4", Outcome::Failure),
        ("8", Outcome::Failure),
        ("13", Outcome::Failure),
        ("14", Outcome::Failure),
        ("15", Outcome::Failure),
    ] {
        let body = frames(vec![Ok(Frame::data(Bytes::from("x"))), Ok(trailers(status))]);
        assert_eq!(told(grpc(body), read), outcome, "{status}");
        let mut trailers_only = grpc(Empty::<Bytes>::new());
        trailers_only.headers_mut().insert("grpc-status", status.parse().unwrap());
        assert_eq!(told(trailers_only, drop), outcome, "trailers only, {status}");
    }
    let cut_off = frames(vec![Ok(Frame::data(Bytes::from("x")))]);
    assert_eq!(told(grpc(cut_off), read), Outcome::Failure);
}

#[test]
fn a_refusal_by_an_inner_layer_is_neither() {
    let rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "later");
    for dialect in [HttpDialect::Problem, HttpDialect::Grpc] {
        let refused: Result<Response<ResponseBody<Full<Bytes>>>, ()> =
            Protocol::<Request<()>, Response<Full<Bytes>>, ()>::refuse(
                &Http::new(),
                dialect,
                rejection.clone(),
            );
        assert_eq!(told(refused.unwrap(), read), Outcome::Refused);
    }
}

#[test]
fn judgement_and_rendering_can_be_replaced() {
    let http = Http::new()
        .classify_with(|status, _| {
            Verdict::Known(if status == 404 { Outcome::Failure } else { Outcome::Success })
        })
        .respond_with(|_, rejection| {
            (rejection.code() == "mine").then(|| {
                let mut response = Response::new(Bytes::from_static(b"go away"));
                *response.status_mut() = StatusCode::IM_A_TEAPOT;
                response
            })
        });
    let mut response = text();
    *response.status_mut() = StatusCode::NOT_FOUND;
    assert_eq!(told_by(&http, response, drop), Outcome::Failure);

    let refuse = |code| {
        let rejection = Rejection::new(StatusCode::FORBIDDEN, code, "no");
        let refused: Result<Response<ResponseBody<Full<Bytes>>>, ()> =
            Protocol::<Request<()>, Response<Full<Bytes>>, ()>::refuse(
                &http,
                HttpDialect::Problem,
                rejection,
            );
        refused.unwrap()
    };
    assert_eq!(refuse("mine").status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(refuse("other").status(), StatusCode::FORBIDDEN);
    assert_eq!(told(refuse("mine"), drop), Outcome::Refused);
}

#[tokio::test]
async fn a_refusal_has_its_length_and_its_bytes() {
    let rejection = Rejection::new(StatusCode::FORBIDDEN, "forbidden", "no");
    let refused: Result<Response<ResponseBody<Full<Bytes>>>, ()> =
        Protocol::<Request<()>, Response<Full<Bytes>>, ()>::refuse(
            &Http::new(),
            HttpDialect::Problem,
            rejection,
        );
    let body = refused.unwrap().into_body();
    let length = body.size_hint().exact().unwrap();
    assert_eq!(body.collect().await.unwrap().to_bytes().len() as u64, length);
}

#[test]
fn plain_results_are_judged_at_once() {
    #[derive(Debug)]
    struct Error;
    impl From<Rejection> for Error {
        fn from(_: Rejection) -> Self {
            Self
        }
    }
    let outcome = |result: Result<u8, Error>| {
        let (sender, receiver) = channel();
        let _ = Protocol::<(), u8, Error>::deliver(&Plain::default(), result, Teller(Some(sender)));
        receiver.try_recv().unwrap()
    };
    assert_eq!(outcome(Ok(1)), Outcome::Success);
    assert_eq!(outcome(Err(Error)), Outcome::Failure);
}

/// Notes the wait that the service asks for.
struct Patient(Sender<Duration>);

impl Watch for Patient {
    fn retry_after(&self, wait: Duration) {
        self.0.send(wait).unwrap();
    }

    fn settle(self, _: Outcome) {}
}

#[test]
fn a_failure_s_retry_after_is_told() {
    let asked = |response: Response<Full<Bytes>>| {
        let (sender, receiver) = channel();
        let watch = Patient(sender);
        Protocol::<Request<()>, _, ()>::deliver(&Http::new(), Ok(response), watch).unwrap();
        receiver.try_recv().ok()
    };
    let busy = |status: u16| {
        let response = Response::builder().status(status).header("retry-after", "7");
        response.body(Full::default()).unwrap()
    };
    assert_eq!(asked(busy(503)), Some(Duration::from_secs(7)));
    assert_eq!(asked(busy(429)), None, "not a failure of the service");
    assert_eq!(asked(text()), None);
    // By a layer further in.
    let rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "busy");
    let refused: Result<Response<ResponseBody<Empty<Bytes>>>, ()> =
        Protocol::<Request<()>, _, _>::refuse(
            &Http::new(),
            HttpDialect::Problem,
            rejection.retry_after(Duration::from_secs(7)),
        );
    let refused = refused.unwrap().map(|_| Full::default());
    assert_eq!(asked(refused), None);
}
