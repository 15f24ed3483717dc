//! A small issuer on loopback, on a thread and runtime of its own.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use bartizan_auth::{self as auth, Audience, Clock, HttpClient, Introspection};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use super::jwks;

thread_local! {
    /// How many answers this test's clients wait for: each test has a thread of its own.
    static UNDER_WAY: Cell<u32> = const { Cell::new(0) };
}

/// One answer that is waited for, until it is dropped.
struct UnderWay;

impl UnderWay {
    fn one() -> Self {
        UNDER_WAY.set(UNDER_WAY.get() + 1);
        Self
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.set(UNDER_WAY.get() - 1);
    }
}

/// A client of plain http to this machine.
pub(crate) fn client() -> HttpClient {
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let counted = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let answer = client.request(request);
        async move {
            let _one = UnderWay::one();
            let (head, body) = answer.await.map_err(|_| ())?.into_parts();
            let body = body.collect().await.map_err(|_| ())?;
            Ok::<_, ()>(Response::from_parts(head, Full::new(body.to_bytes())))
        }
    });
    HttpClient::new(counted).allow_loopback_http()
}

/// Opaque tokens of `issuer`, whatever it says of whom they are from and for.
pub(crate) fn opaque(issuer: &Issuer) -> Introspection {
    let (uri, client) = (issuer.url("/introspect"), client());
    let (whoever, anyone) = (auth::Issuer::Unchecked, Audience::Unchecked);
    Introspection::new(client, &uri, ("id", "secret"), whoever, anyone).unwrap()
}

/// What the issuer answers to requests for its keys.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) status: StatusCode,
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Keys {
    pub(crate) fn of(keys: &[Value]) -> Self {
        Self { status: StatusCode::OK, fields: Vec::new(), body: jwks(keys) }
    }

    pub(crate) fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}

#[derive(Clone)]
struct Shared {
    address: SocketAddr,
    keys: Arc<Mutex<Keys>>,
    /// What the configuration holds instead of its own.
    configuration: Arc<Mutex<Value>>,
    introspection: Arc<Mutex<Value>>,
    fetches: Arc<AtomicU64>,
    unchanged: Arc<AtomicU64>,
    others: Arc<AtomicU64>,
    introspected: Arc<Mutex<Vec<String>>>,
}

/// Answers `/keys`, `/.well-known/openid-configuration` and `/introspect`.
pub(crate) struct Issuer {
    shared: Shared,
    /// Keeps the address while nobody listens there: connections are refused.
    held: Option<TcpSocket>,
    stop: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

impl Issuer {
    pub(crate) fn start(keys: Keys) -> Self {
        let mut issuer = Self::stopped(keys);
        issuer.listen();
        issuer
    }

    /// An address where nobody listens yet.
    pub(crate) fn stopped(keys: Keys) -> Self {
        let held = hold(([127, 0, 0, 1], 0).into());
        let shared = Shared {
            address: held.local_addr().unwrap(),
            keys: Arc::new(Mutex::new(keys)),
            configuration: Arc::new(Mutex::new(json!({}))),
            introspection: Arc::new(Mutex::new(json!({"active": false}))),
            fetches: Arc::default(),
            unchanged: Arc::default(),
            others: Arc::default(),
            introspected: Arc::default(),
        };
        Self { shared, held: Some(held), stop: None }
    }

    pub(crate) fn listen(&mut self) {
        let (shared, (stop, stopped)) = (self.shared.clone(), oneshot::channel::<()>());
        let held = self.held.take().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = {
            let _on = runtime.enter();
            held.listen(1024).unwrap()
        };
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let app: Router = Router::new().fallback(answer).with_state(shared);
                tokio::select! {
                    served = axum::serve(listener, app) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        self.stop = Some((stop, thread));
    }

    /// Goes down: connections are refused.
    pub(crate) fn stop(&mut self) {
        let (stop, thread) = self.stop.take().unwrap();
        stop.send(()).unwrap();
        thread.join().unwrap();
        self.held = Some(hold(self.shared.address));
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.shared.address)
    }

    pub(crate) fn publish(&self, keys: Keys) {
        *self.shared.keys.lock().unwrap() = keys;
    }

    pub(crate) fn configure(&self, change: Value) {
        *self.shared.configuration.lock().unwrap() = change;
    }

    pub(crate) fn introspects(&self, answer: Value) {
        *self.shared.introspection.lock().unwrap() = answer;
    }

    /// How often the keys were asked for, and how often of these they had not changed.
    pub(crate) fn fetches(&self) -> (u64, u64) {
        (self.shared.fetches.load(SeqCst), self.shared.unchanged.load(SeqCst))
    }

    /// How often something was asked that an issuer does not have.
    pub(crate) fn others(&self) -> u64 {
        self.shared.others.load(SeqCst)
    }

    /// What was asked about, as it was sent.
    pub(crate) fn introspected(&self) -> Vec<String> {
        self.shared.introspected.lock().unwrap().clone()
    }
}

/// Takes an address, though connections to it may have been closed only now.
fn hold(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn answer(State(shared): State<Shared>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    match &*path {
        "/keys" => {
            shared.fetches.fetch_add(1, SeqCst);
            let keys = shared.keys.lock().unwrap().clone();
            let etag = keys.fields.iter().find(|(name, _)| *name == "etag").map(|(_, tag)| tag);
            let asked = request.headers().get("if-none-match");
            if etag.is_some() && asked.map(|tag| tag.to_str().unwrap()) == etag.map(String::as_str)
            {
                shared.unchanged.fetch_add(1, SeqCst);
                return Response::builder().status(304).body(Body::empty()).unwrap();
            }
            let mut response = Response::builder().status(keys.status);
            for (name, value) in &keys.fields {
                response = response.header(*name, value);
            }
            response.body(Body::from(keys.body)).unwrap()
        }
        "/.well-known/openid-configuration" => {
            let base = format!("http://{}", shared.address);
            let mut body = json!({"issuer": base, "jwks_uri": format!("{base}/keys")});
            for (name, value) in shared.configuration.lock().unwrap().as_object().unwrap() {
                body[name] = value.clone();
            }
            Response::new(Body::from(body.to_string()))
        }
        "/introspect" => {
            let authorization = request.headers()["authorization"].to_str().unwrap().to_owned();
            let body = axum::body::to_bytes(request.into_body(), 10_000).await.unwrap();
            let said = format!("{authorization} {}", String::from_utf8(body.to_vec()).unwrap());
            shared.introspected.lock().unwrap().push(said);
            Response::new(Body::from(shared.introspection.lock().unwrap().to_string()))
        }
        "/hang" => {
            shared.others.fetch_add(1, SeqCst);
            std::future::pending().await
        }
        _ => {
            shared.others.fetch_add(1, SeqCst);
            Response::builder().status(404).body(Body::empty()).unwrap()
        }
    }
}

/// Time that stands still while sockets are waited for, and passes only when told. For tests with a
/// paused clock on one thread.
pub(crate) struct Time {
    pub(crate) clock: Clock,
    _held: std::sync::mpsc::Sender<()>,
}

impl Time {
    pub(crate) fn hold() -> Self {
        let (held, gone) = std::sync::mpsc::channel::<()>();
        // While a blocking task runs, a paused clock does not move on its own.
        tokio::task::spawn_blocking(move || gone.recv());
        Self { clock: Clock::manual(), _held: held }
    }

    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::advance(time).await;
        settle().await;
    }

    /// Passes in steps of a second, so that whatever is due happens in turn.
    pub(crate) async fn pass_slowly(&self, seconds: u64) {
        for _ in 0..seconds {
            self.pass(Duration::from_secs(1)).await;
        }
    }

    /// Passes slowly until `condition` holds. It stands still while an answer is waited for, so that
    /// none is late on a machine that has other things to do.
    pub(crate) async fn pass_until(&self, mut condition: impl FnMut() -> bool) {
        for _ in 0..10_000 {
            self.pass(Duration::from_secs(1)).await;
            until(|| condition() || UNDER_WAY.get() == 0).await;
            settle().await;
            if condition() {
                return;
            }
        }
        panic!("it did not happen");
    }
}

/// Lets tasks run, those that wait for this machine too.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Waits for what happens over sockets, in real time.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
        settle().await;
    }
    panic!("it did not happen");
}
