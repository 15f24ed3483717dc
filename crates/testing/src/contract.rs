use std::convert::Infallible;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Inner, allocations, request};

/// The rounds of each clause that looks for leaks.
const ROUNDS: usize = 3_334;

/// The layer calls the very instance that it polled ready, time and again, also through clones
/// made in between; and its parts can be sent, shared, cloned and shown.
///
/// # Panics
///
/// If the clause is broken.
pub fn readied_instance_is_called<L, S, B>(layer: &L)
where
    L: Layer<Inner, Service = S> + Clone + Debug + Send + Sync + 'static,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>
        + Clone
        + Debug
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
{
    let mut service = layer.layer(Inner::default());
    for _ in 0..3 {
        make_ready(&mut service);
        let mut clone = service.clone();
        assert_eq!(answer(service.call(request("/"))), StatusCode::OK);
        make_ready(&mut clone);
        assert_eq!(answer(clone.call(request("/"))), StatusCode::OK);
    }
}

/// A service that is ready but idle holds nothing.
///
/// # Panics
///
/// If the clause is broken.
pub fn readiness_is_not_hoarded<L, S>(layer: &L, held: impl Fn(&L) -> u64)
where
    L: Layer<Inner, Service = S>,
    S: Service<Request<()>, Error = Infallible> + Clone,
{
    let service = layer.layer(Inner::default());
    let mut clones = vec![service; 64];
    clones.iter_mut().for_each(make_ready);
    assert_eq!(held(layer), 0, "64 ready, idle clones hold something");
    drop(clones);
    assert_eq!(held(layer), 0, "dropping ready clones left something");
}

/// Services of one layer, of its clone, and clones of a service, count as one.
///
/// # Panics
///
/// If the clause is broken.
pub fn clones_share_state<L, S, B>(layer: &L, seen: impl Fn(&L) -> u64)
where
    L: Layer<Inner, Service = S> + Clone,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes>,
{
    let first = layer.layer(Inner::default());
    let services = [first.clone(), first, layer.clone().layer(Inner::default())];
    for mut service in services {
        make_ready(&mut service);
        answer(service.call(request("/")));
    }
    assert_eq!(seen(layer), 3, "services of one layer do not share their state");
}

/// Calls dropped before they are polled, before the head, and in mid-body leave nothing behind.
///
/// # Panics
///
/// If the clause is broken.
pub fn abandoned_exchanges_leave_nothing<L, S, B>(layer: &L, held: impl Fn(&L) -> u64)
where
    L: Layer<Inner, Service = S>,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let mut service = layer.layer(Inner::default());
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..ROUNDS {
        make_ready(&mut service);
        drop(service.call(request("/")));

        make_ready(&mut service);
        let mut pending = Box::pin(service.call(request("/pending")));
        assert!(pending.as_mut().poll(&mut cx).is_pending());
        drop(pending);

        make_ready(&mut service);
        let response = now(pin!(service.call(request("/stream"))));
        let mut body = Box::pin(response.into_body());
        assert!(body.as_mut().poll_frame(&mut cx).is_ready());
        drop(body);
    }
    assert_eq!(held(layer), 0, "abandoned exchanges left something");
}

/// Calls that panic leave nothing behind, and the layer goes on.
///
/// # Panics
///
/// If the clause is broken.
pub fn panics_leave_nothing<L, S, B>(layer: &L, held: impl Fn(&L) -> u64)
where
    L: Layer<Inner, Service = S>,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let mut service = layer.layer(Inner::default());
    for _ in 0..3 {
        make_ready(&mut service);
        let call = service.call(request("/panic"));
        let caught = catch_unwind(AssertUnwindSafe(|| answer(call)));
        assert!(caught.is_err(), "the panic was swallowed");
    }
    assert_eq!(held(layer), 0, "panics left something");
}

/// A request that is let through costs no heap allocation, from ready to the end of the body.
///
/// # Panics
///
/// If the clause is broken.
pub fn admitted_path_allocates_nothing<L, S, B>(layer: &L)
where
    L: Layer<Inner, Service = S>,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let mut service = layer.layer(Inner::default());
    let mut exchange = |request| {
        make_ready(&mut service);
        assert_eq!(answer(service.call(request)), StatusCode::OK);
    };
    // What is set up once, at the first request, is not the path.
    exchange(request("/"));
    let next = request("/");
    let count = allocations(|| exchange(next));
    assert_eq!(count, 0, "an admitted request allocates");
}

fn make_ready<S: Service<Request<()>, Error = Infallible>>(service: &mut S) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready(), "the layer is not ready though its inner is");
}

/// What a future that must not wait comes to.
fn now<F: Future<Output = Result<T, Infallible>>, T>(future: Pin<&mut F>) -> T {
    let mut cx = Context::from_waker(Waker::noop());
    match future.poll(&mut cx) {
        Poll::Ready(Ok(output)) => output,
        Poll::Pending => panic!("the layer waits though its inner answers at once"),
    }
}

/// Reads the answer to its end.
fn answer<F, B>(call: F) -> StatusCode
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Body<Data = Bytes>,
{
    let response = now(pin!(call));
    let status = response.status();
    let mut body = pin!(response.into_body());
    let mut cx = Context::from_waker(Waker::noop());
    while !body.is_end_stream() {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(None) => break,
            Poll::Ready(Some(Err(_))) | Poll::Pending => panic!("the body was spoilt"),
        }
    }
    status
}
