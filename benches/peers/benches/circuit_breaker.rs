//! Bartizan's circuit breaker beside its peers.
//!
//! In a stack it stands beside tower-resilience's, both closed and over the same window; the peer
//! judges by the response's head, ours watches the body to its end as well. The engines alone stand
//! beside recloser, failsafe and seatbelt: leave for a call, and that it went well, without the
//! time that it takes.

use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bartizan::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, Forced, Settings};
use bartizan::core::{Http, Outcome, Watch};
use bartizan_bench_peers::{Bars, Case, NoOp, Results, Serve, Traffic, run_with, two_threads};
use bytes::Bytes;
use failsafe::CircuitBreaker as _;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use layered::{Service as _, Stack};
use tower::{Layer, Service};

const WINDOW: u32 = 100;
const MINIMUM_CALLS: u32 = 20;
const FAILURE_RATE: f64 = 0.5;

fn main() -> ExitCode {
    let closed = case("closed", || layered(breaker(settings())))
        .beside("tower-resilience", tower_resilience);
    let large = case("closed-100000", || layered(breaker(settings().window(100_000, 20))));
    let timed = case("closed-slow-calls", || {
        layered(breaker(settings().slow_calls(Duration::from_secs(1), 0.5)))
    });
    let open = case("open", || refusing(Http::new())).beside("empty body", || {
        refusing(Http::new().respond_with(|_, rejection| {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = rejection.status();
            Some(response)
        }))
    });
    let engine = case("engine", || {
        let breaker = breaker(settings());
        alone(move || breaker.try_acquire().expect("it is closed").settle(Outcome::Success))
    })
    .beside("recloser", || {
        let recloser = recloser();
        alone(move || recloser.call(|| Ok::<_, ()>(())).expect("it is closed"))
    })
    .beside("recloser, async", || {
        let recloser = recloser::AsyncRecloser::from(recloser());
        alone(move || at_once(recloser.call(ready(Ok::<_, ()>(())))).expect("it is closed"))
    })
    .beside("failsafe, consecutive", || {
        let backoff = failsafe::backoff::constant(Duration::from_secs(5));
        let policy = failsafe::failure_policy::consecutive_failures(5, backoff);
        let breaker = failsafe::Config::new().failure_policy(policy).build();
        alone(move || breaker.call(|| Ok::<_, ()>(())).expect("it is closed"))
    })
    .beside("failsafe, default", || {
        let breaker = failsafe::Config::new().build();
        alone(move || breaker.call(|| Ok::<_, ()>(())).expect("it is closed"))
    })
    .beside("seatbelt", seatbelt);
    run_with(&[closed, large, timed, open, engine], hold)
}

fn hold(results: &Results<'_>, bars: &mut Bars) {
    let name = |what: &str| format!("circuit-breaker-{what}");
    let (ours, theirs) =
        (results.over("closed", "bartizan"), results.over("closed", "tower-resilience"));
    bars.at_most(&name("closed-allocations"), ours.allocations, 0.0);
    bars.at_most(
        &name("closed-vs-tower-resilience-instructions"),
        ours.instructions / theirs.instructions,
        0.25,
    );
    let ratio = ours.nanoseconds / theirs.nanoseconds;
    bars.at_most(&name("closed-vs-tower-resilience-time"), ratio, 0.25);

    let engine = |contestant| results.over("engine", contestant).nanoseconds;
    for (peer, limit) in [
        ("recloser", 1.2),
        ("recloser, async", 1.2),
        // Beside it stands one without a window, which keeps a count of failures in a row only.
        ("failsafe, default", 1.0),
        ("seatbelt", 1.0),
    ] {
        let peer_name = peer.replace(", ", "-");
        bars.at_most(
            &name(&format!("engine-vs-{peer_name}-time")),
            engine("bartizan") / engine(peer),
            limit,
        );
    }

    let whole = |case, contestant| results.whole(case, contestant).nanoseconds;
    let pass = whole("closed", "bartizan");
    bars.at_most(&name("open-vs-closed-time"), whole("open", "empty body") / pass, 2.0);
    let problem = results.over("open", "bartizan").allocations;
    bars.at_most(&name("open-allocations"), problem.round(), 6.0);
    let large = whole("closed-100000", "bartizan");
    bars.at_most(&name("window-100000-vs-100-time"), large / pass, 1.1);

    let shared = breaker(settings());
    let apart = [breaker(settings()), breaker(settings())];
    let mut pairs = [[(); 2].map(|()| layered(shared.clone())), apart.map(layered)];
    let nanoseconds = two_threads(&mut pairs);
    println!(
        "two threads: {:.0} ns on one breaker, {:.0} ns on one each",
        nanoseconds[0], nanoseconds[1]
    );
    bars.at_most(&name("two-threads-vs-one-time"), nanoseconds[0] / pass, 2.0);
}

fn case(name: &str, ours: impl Fn() -> Serve + 'static) -> Case {
    Case::new(name, || Serve::new(inner(), Traffic::default()), ours)
}

const fn inner() -> NoOp<Full<Bytes>> {
    NoOp::new()
}

fn settings() -> Settings {
    Settings::default().window(WINDOW, MINIMUM_CALLS).failure_rate(FAILURE_RATE)
}

fn breaker(settings: Settings) -> CircuitBreaker {
    CircuitBreaker::new("bench").settings(settings).expect("a fit window")
}

fn layered(breaker: CircuitBreaker) -> Serve {
    Serve::new(CircuitBreakerLayer::new(breaker).layer(inner()), Traffic::default())
}

fn refusing(http: Http) -> Serve {
    let breaker = breaker(settings().forced(Forced::Open));
    let layer = CircuitBreakerLayer::new(breaker).protocol(http);
    let traffic = Traffic { status: StatusCode::SERVICE_UNAVAILABLE, ..Traffic::default() };
    Serve::new(layer.layer(inner()), traffic)
}

fn tower_resilience() -> Serve {
    let layer = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder()
        .sliding_window_size(WINDOW as usize)
        .minimum_number_of_calls(MINIMUM_CALLS as usize)
        .failure_rate_threshold(FAILURE_RATE)
        .classify_response(|response: &Response<Full<Bytes>>| response.status().is_server_error())
        .build()
        .expect("a fit window");
    Serve::new(layer.layer(inner()), Traffic::default())
}

fn recloser() -> recloser::Recloser {
    recloser::Recloser::custom().closed_len(WINDOW as usize).error_rate(0.5).build()
}

fn seatbelt() -> Serve {
    let clock = tick::Clock::new_frozen();
    let context = seatbelt::ResilienceContext::new(&clock);
    let stack = (
        seatbelt::breaker::Breaker::layer("bench", &context)
            .recovery_with(|result: &Result<(), ()>, _| match result {
                Ok(()) => seatbelt::RecoveryInfo::never(),
                Err(()) => seatbelt::RecoveryInfo::retry(),
            })
            .rejected_input_error(|(), _| ()),
        layered::Execute::new(|()| ready(Ok::<_, ()>(()))),
    );
    let service = stack.into_service();
    alone(move || at_once(service.execute(())).expect("it is closed"))
}

/// What a future comes to that does not wait.
fn at_once<F: Future>(future: F) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a good call does not wait"),
    }
}

/// An engine's good call before that of the inner service, with nothing that a layer does.
#[derive(Clone)]
struct Alone<F> {
    call: Arc<F>,
    inner: NoOp<Full<Bytes>>,
}

fn alone(call: impl Fn() + Send + Sync + 'static) -> Serve {
    Serve::new(Alone { call: Arc::new(call), inner: inner() }, Traffic::default())
}

impl<F: Fn()> Service<Request<()>> for Alone<F> {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = <NoOp<Full<Bytes>> as Service<Request<()>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        (self.call)();
        self.inner.call(request)
    }
}
