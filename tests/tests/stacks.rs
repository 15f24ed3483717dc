//! The whole stack, in one expression, on every kind of service: the caller's own error type, no
//! boxing and no type annotation by the user, and one state wherever it is cloned to.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::routing::{MethodRouter, get};
use bartizan::auth::{ApiKeys, AuthLayer, Authenticator, Principal};
use bartizan::cache::{CacheLayer, ResponseCache};
use bartizan::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use bartizan::core::{ClientIp, ClientIpLayer, Engine, Key, PeerAddr, Rejection};
use bartizan::flags::{Flags, FlagsLayer};
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bartizan::shed::{LoadShedLayer, LoadShedder};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

/// The layers, as a user writes them. A macro only because a stack's type cannot be named.
macro_rules! stack {
    ($engines:expr) => {{
        let Engines { shedder, limiter, auth, flags, cache, breaker } = $engines.clone();
        ServiceBuilder::new()
            .layer(LoadShedLayer::new(shedder).exempt_paths(["/livez"]))
            .layer(ClientIpLayer::new(ClientIp::peer()))
            .layer(RateLimitLayer::new(limiter))
            .layer(AuthLayer::new(auth))
            .layer(FlagsLayer::new(flags))
            .layer(CacheLayer::new(cache))
            .layer(CircuitBreakerLayer::new(breaker))
    }};
}

#[derive(Clone)]
struct Engines {
    shedder: LoadShedder,
    limiter: RateLimiter,
    auth: Authenticator,
    flags: Flags,
    cache: ResponseCache,
    breaker: CircuitBreaker,
}

impl Engines {
    fn new(limit: u32) -> Self {
        Self {
            // Room for all that is sent at once: who refuses here is the limiter.
            shedder: LoadShedder::new("test").settings(roomy()).unwrap(),
            limiter: RateLimiter::new(Quota::per_day(1).unwrap().burst(limit).unwrap()),
            auth: authenticator(),
            flags: Flags::empty(),
            cache: ResponseCache::new("test"),
            breaker: CircuitBreaker::new("test"),
        }
    }

    fn hold_nothing(&self) {
        assert_eq!(self.shedder.in_flight(), 0);
        assert!(self.breaker.try_acquire().is_ok());
    }
}

fn roomy() -> bartizan::shed::Settings {
    bartizan::shed::Settings::default().limits(128, 128, 1000)
}

const KEY: &str = "bz_7Qm2xVt9LkR4cWn8Zs3Fd6Yh";

fn authenticator() -> Authenticator {
    let keys = ApiKeys::new();
    keys.insert(KEY, Principal::new("ann")).unwrap();
    Authenticator::new("test").scheme(keys)
}

fn request<B>(path: &str, body: B) -> Request<B> {
    let mut request = Request::get(path).header("x-api-key", KEY).body(body).unwrap();
    request.extensions_mut().insert(PeerAddr::new("192.0.2.1:4711".parse().unwrap()));
    request
}

/// Sends 100 requests at once and counts those that are served.
async fn served<S, ReqBody, ResBody>(
    service: &S,
    request: impl Fn(usize) -> Request<ReqBody>,
) -> usize
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    ReqBody: Send + 'static,
    ResBody: Send + 'static,
{
    let calls: Vec<_> =
        (0..100).map(|n| tokio::spawn(service.clone().oneshot(request(n)))).collect();
    let mut served = 0;
    for call in calls {
        match call.await.unwrap().unwrap().status() {
            StatusCode::OK => served += 1,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
    served
}

async fn hi() -> &'static str {
    "hi"
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_router_and_a_nested_router_five_means_five() {
    let engines = Engines::new(5);
    let nested = Router::new().route("/b", get(hi)).route("/c", get(hi)).layer(stack!(engines));
    let app: Router =
        Router::new().route("/a", get(hi)).layer(stack!(engines)).nest("/nested", nested);
    let paths = ["/a", "/nested/b", "/nested/c"];
    assert_eq!(served(&app, |n| request(paths[n % 3], Body::empty())).await, 5);
    drop(app);
    engines.hold_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_method_routers_five_means_five() {
    let engines = Engines::new(5);
    // The error type of a handler stays `Infallible`.
    let route: MethodRouter<(), Infallible> = get(hi).post(hi).layer(stack!(engines));
    let app: Router = Router::new().route("/a", route.clone()).route("/b", route);
    let paths = ["/a", "/b"];
    assert_eq!(served(&app, |n| request(paths[n % 2], Body::empty())).await, 5);
    engines.hold_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn over_real_connections_five_means_five() {
    let engines = Engines::new(5);
    let route: MethodRouter<(), Infallible> = get(hi).layer(stack!(engines));
    let nested = Router::new().route("/b", get(hi)).layer(stack!(engines));
    let app: Router = Router::new().route("/a", route).nest("/nested", nested);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let make_service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, make_service).await });

    let calls: Vec<_> = (0..100)
        .map(|n| {
            // A client of its own is a connection of its own.
            let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
            let path = if n % 2 == 0 { "a" } else { "nested/b" };
            let request = request(&format!("http://{address}/{path}"), Full::default());
            tokio::spawn(async move { client.request(request).await.unwrap().status() })
        })
        .collect();
    let mut served = 0;
    for call in calls {
        served += usize::from(call.await.unwrap() == StatusCode::OK);
    }
    assert_eq!(served, 5);
}

#[tokio::test]
async fn on_a_hyper_server_with_incoming_bodies() {
    let engines = Engines::new(1);
    let service =
        stack!(engines).service_fn(|request: Request<hyper::body::Incoming>| async move {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, peer) = listener.accept().await.unwrap();
            let mut service = service.clone();
            // What axum's `ConnectInfo` does for axum, in one line.
            let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(PeerAddr::new(peer));
                service.call(request)
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service));
            tokio::spawn(connection);
        }
    });
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let call = || client.request(request(&format!("http://{address}/"), Full::default()));
    assert_eq!(call().await.unwrap().status(), StatusCode::OK);
    assert_eq!(call().await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
}

/// A gRPC service that answers with what it was sent.
#[derive(Clone)]
struct Echo;

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<Request<tonic::body::Body>> for Echo {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let mut response = Response::new(request.into_body());
        response.headers_mut().insert("grpc-status", "0".parse().unwrap());
        std::future::ready(Ok(response))
    }
}

#[tokio::test]
async fn u05_on_a_tonic_server_a_limited_call_is_resource_exhausted() {
    let engines = Engines::new(1);
    let router = tonic::transport::Server::builder().layer(stack!(engines)).add_service(Echo);
    drop(router.serve("127.0.0.1:0".parse().unwrap()));

    let service = stack!(engines).service(Echo);
    let mut anonymous = request("/test.Echo/Say", tonic::body::Body::empty());
    anonymous.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    anonymous.headers_mut().remove("x-api-key");
    anonymous.extensions_mut().insert(PeerAddr::new("192.0.2.9:1".parse().unwrap()));
    let unknown = service.clone().oneshot(anonymous).await.unwrap();
    let status = tonic::Status::from_header_map(unknown.headers()).unwrap();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);

    let call = || {
        let mut request = request("/test.Echo/Say", tonic::body::Body::empty());
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        service.clone().oneshot(request)
    };
    assert_eq!(call().await.unwrap().headers()["grpc-status"], "0");
    let refused = call().await.unwrap();
    assert_eq!(refused.status(), StatusCode::OK);
    assert_eq!(refused.headers()["content-type"], "application/grpc");
    let status = tonic::Status::from_header_map(refused.headers()).unwrap();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    // google.rpc.Status, with RetryInfo in it.
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(details.contains("type.googleapis.com/google.rpc.RetryInfo"), "{details}");
}

#[derive(Debug)]
struct Refused(&'static str);

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self(rejection.code())
    }
}

#[tokio::test]
async fn on_a_service_of_plain_values() {
    let Engines { shedder, limiter, breaker, .. } = Engines::new(1);
    let service = ServiceBuilder::new()
        .layer(LoadShedLayer::new(shedder).plain())
        .layer(RateLimitLayer::new(limiter).key(|job: &u32| Some(Key::of(&(job % 2)))).plain())
        .layer(CircuitBreakerLayer::new(breaker).plain())
        .service(service_fn(|job: u32| async move { Ok::<_, Refused>(job) }));
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
    assert_eq!(service.clone().oneshot(2).await.unwrap(), 2);
    assert_eq!(service.clone().oneshot(3).await.unwrap_err().0, "quota-exceeded");
}

#[tokio::test]
async fn a_switch_turns_every_layer_off() {
    let engines = Engines::new(1);
    let app: Router = Router::new().route("/", get(hi)).layer(stack!(engines));
    assert_eq!(served(&app, |_| request("/", Body::empty())).await, 1);
    engines.limiter.switch().set(bartizan::core::Mode::Off);
    assert_eq!(served(&app, |_| request("/", Body::empty())).await, 100);
    engines.limiter.switch().set(bartizan::core::Mode::Enforce);
    assert_eq!(served(&app, |_| request("/", Body::empty())).await, 0);
}

#[tokio::test]
async fn keys_of_one_caller_are_one_whatever_it_claims() {
    let engines = Engines::new(2);
    let app: Router = Router::new().route("/", get(hi)).layer(stack!(engines));
    let spoofed = |n: usize| {
        let mut request = request("/", Body::empty());
        let claim = format!("198.51.100.{n}").parse().unwrap();
        request.headers_mut().insert("x-forwarded-for", claim);
        request
    };
    assert_eq!(served(&app, spoofed).await, 2);
}
