use std::fmt::Debug;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::{Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

/// The inner service of every contestant: answers at once with a short body.
///
/// Which body is up to the case, since a peer may insist on one.
#[derive(Debug)]
pub struct NoOp<B>(PhantomData<fn() -> B>);

impl<B> NoOp<B> {
    /// Creates the service.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<B> Default for NoOp<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> Clone for NoOp<B> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<B: From<&'static str>> Service<Request<()>> for NoOp<B> {
    type Response = Response<B>;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Response<B>, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(B::from("hi"))))
    }
}

/// What the contestants of a case are sent, and how they must answer.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "benches name what differs from the default")]
pub struct Traffic {
    /// The number of addresses that requests come from, in turn.
    pub addresses: u32,
    /// Puts the caller's address into a request, in the words of every contestant.
    pub introduce: fn(&mut Request<()>, SocketAddr),
    /// The status of every answer.
    pub status: StatusCode,
}

impl Default for Traffic {
    /// Requests from nowhere in particular, all to be let through.
    fn default() -> Self {
        Self { addresses: 1, introduce: |_, _| {}, status: StatusCode::OK }
    }
}

/// A contestant with its types forgotten: serves so many requests.
pub struct Serve(Box<dyn FnMut(u64) + Send>);

impl Serve {
    /// Wraps `service` and warms it up by one request from each address.
    ///
    /// # Panics
    ///
    /// When it serves, if the service is not ready at once, fails, or answers with another status.
    pub fn new<S, B>(mut service: S, traffic: Traffic) -> Self
    where
        S: Service<Request<()>, Response = Response<B>, Error: Debug> + Send + 'static,
        B: Body<Error: Debug>,
    {
        let mut turns = (0..traffic.addresses).cycle();
        let mut exchange = move || {
            let address = Ipv4Addr::from_bits(0x0a00_0000 + turns.next().expect("it has no end"));
            let mut request = Request::new(());
            (traffic.introduce)(&mut request, SocketAddr::from((address, 4711)));
            exchange(&mut service, request)
        };
        // Unchecked: even of those to be refused, the first from each address is let through.
        for _ in 0..traffic.addresses {
            exchange();
        }
        Self(Box::new(move |requests| {
            for _ in 0..requests {
                assert_eq!(exchange(), traffic.status);
            }
        }))
    }

    /// Never inlined: callgrind collects from its entry to its return.
    #[inline(never)]
    pub(crate) fn serve_collected(&mut self, requests: u64) {
        (self.0)(requests);
    }
}

impl Debug for Serve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serve").finish_non_exhaustive()
    }
}

/// One request, from ready to the end of the answer's body.
fn exchange<S, B>(service: &mut S, request: Request<()>) -> StatusCode
where
    S: Service<Request<()>, Response = Response<B>, Error: Debug>,
    B: Body<Error: Debug>,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else {
        panic!("the inner service answers at once");
    };
    let status = response.status();
    let mut body = pin!(response.into_body());
    while !body.is_end_stream() {
        let Poll::Ready(frame) = body.as_mut().poll_frame(&mut cx) else {
            panic!("the body is there at once");
        };
        black_box(frame.transpose().expect("a body without faults"));
    }
    status
}
