//! Whether a caller may: guards, routes, policies and what they answer.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]
#![allow(clippy::disallowed_types, reason = "no test is on the pass path")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use axum::routing::get;
use axum::{Router, body::Body};
use bartizan_auth::{
    ApiKeys, AuthLayer, Authenticator, AuthorizeLayer, Clock, Engine, Mode, Principal,
    RequireLayer, Requirement, RouteGuards, Ruling,
};
use http::{Method, Request, Response, StatusCode, request::Parts};
use serde_json::json;
use tower::{Service, ServiceBuilder, ServiceExt};

fn auth() -> Authenticator {
    Authenticator::new("api").scheme(ApiKeys::new().bearer())
}

async fn ok(_: Request<Body>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(String::new()))
}

fn request(path: &str, caller: Option<&Principal>) -> Request<Body> {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller.clone());
    }
    request
}

fn claims(claims: &serde_json::Value) -> Principal {
    Principal::new("alice").with_claims(claims.as_object().unwrap().clone())
}

#[tokio::test]
async fn rfc_9470_section_3_a_weak_login_is_asked_to_step_up() {
    let clock = Clock::manual();
    let guard = RequireLayer::new(auth().clock(clock.clone())).requirement(
        Requirement::acr(["phr", "phrh"]).and(Requirement::max_age(Duration::from_secs(300))),
    );
    let service = ServiceBuilder::new().layer(guard).service_fn(ok);
    let now = clock.unix().as_secs();
    let ask = async |caller: Principal, grpc: bool| {
        let mut request = request("/", Some(&caller));
        if grpc {
            let grpc = "application/grpc".parse().unwrap();
            request.headers_mut().insert("content-type", grpc);
        }
        service.clone().oneshot(request).await.unwrap()
    };
    let strong = claims(&json!({"acr": "phr", "auth_time": now - 300}));
    assert_eq!(ask(strong, false).await.status(), StatusCode::OK);
    let weak = claims(&json!({"acr": "pwd", "auth_time": now}));
    let response = ask(weak.clone(), false).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        response.headers()["www-authenticate"],
        "Bearer realm=\"api\", error=\"insufficient_user_authentication\", \
         error_description=\"a stronger or more recent login is required\", \
         acr_values=\"phr phrh\", max_age=\"300\""
    );
    assert_eq!(ask(weak, true).await.headers()["grpc-status"], "16");
    let old = claims(&json!({"acr": "phr", "auth_time": now - 301}));
    assert_eq!(ask(old, false).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn rfc_6750_section_3_1_a_lacking_scope_is_named() {
    let guard = RequireLayer::new(auth())
        .scopes(["read"])
        .requirement(Requirement::any([Requirement::scope("admin"), Requirement::role("root")]));
    let service = ServiceBuilder::new().layer(guard).service_fn(ok);
    let alice = Principal::new("alice").with_scopes(["read"]);
    let response = service.oneshot(request("/", Some(&alice))).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        response.headers()["www-authenticate"],
        r#"Bearer realm="api", error="insufficient_scope", scope="read admin""#
    );
}

#[tokio::test]
async fn a_guard_may_be_for_anyone_and_then_no_more() {
    let public = RequireLayer::new(auth()).requirement(Requirement::public());
    let narrowed = public.clone().roles(["admin"]);
    let widened = RequireLayer::new(auth())
        .requirement(Requirement::caller())
        .requirement(Requirement::public());
    let ask = async |guard: RequireLayer| {
        let service = ServiceBuilder::new().layer(guard).service_fn(ok);
        service.oneshot(request("/", None)).await.unwrap().status()
    };
    assert_eq!(ask(public.clone()).await, StatusCode::OK);
    assert_eq!(ask(public.requirement(Requirement::public())).await, StatusCode::OK);
    assert_eq!(ask(narrowed).await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(widened).await, StatusCode::UNAUTHORIZED, "somebody is wanted by name");
    assert_eq!(ask(RequireLayer::new(auth())).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn whoever_decides_about_the_switch_is_asked_for_each_request() {
    use std::sync::Mutex;

    let auth = auth();
    let said = Arc::new(Mutex::new(None));
    let decides = Arc::clone(&said);
    assert!(auth.switch().decide(move || *decides.lock().unwrap()));
    let guard = RequireLayer::new(auth.clone());
    let service =
        ServiceBuilder::new().layer(AuthLayer::new(auth.clone())).layer(guard).service_fn(ok);
    let ask = async |mode: Option<Mode>| {
        *said.lock().unwrap() = mode;
        service.clone().oneshot(request("/", None)).await.unwrap().status()
    };
    assert_eq!(ask(None).await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(Some(Mode::Off)).await, StatusCode::OK);
    assert_eq!(ask(Some(Mode::Shadow)).await, StatusCode::OK);
    assert_eq!(ask(Some(Mode::Enforce)).await, StatusCode::UNAUTHORIZED);
    let count = |metric| auth.snapshot().value(metric, "shadow_refused");
    assert_eq!(count("bartizan_auth_requests_total"), Some(1.0));
    assert_eq!(count("bartizan_auth_guarded_total"), Some(1.0));
    // By chance no door is open: a mode for a fraction is one for all.
    auth.switch().set_fraction(Mode::Enforce, 0.0);
    assert_eq!(ask(None).await, StatusCode::UNAUTHORIZED);
}

fn guards() -> RouteGuards {
    let (read, admin) = (Requirement::scope("read"), Requirement::role("admin"));
    RouteGuards::new(auth())
        .any_method("/livez", Requirement::public())
        .and_then(|guards| guards.route(Method::GET, "/orders/{id}", read))
        .and_then(|guards| guards.route(Method::DELETE, "/orders/{id}", admin.clone()))
        .and_then(|guards| guards.any_method("/admin/{*rest}", admin))
        .unwrap()
}

#[tokio::test]
async fn api5_routes_require_what_is_listed_by_method_and_deny_the_rest() {
    let handler = || async { "ok" };
    let app = Router::new()
        .route("/livez", get(handler))
        .route("/orders/{id}", get(handler).delete(handler).put(handler))
        .route("/admin/{*rest}", get(handler))
        .route("/forgotten", get(handler));
    let reader = Principal::new("alice").with_scopes(["read"]);
    let admin = Principal::new("root").with_roles(["admin"]);
    let ask =
        async |guards: RouteGuards, method: Method, path: &str, caller: Option<&Principal>| {
            let mut request = request(path, caller);
            *request.method_mut() = method;
            app.clone().layer(guards.layer()).oneshot(request).await.unwrap().status()
        };
    let strict = || guards().deny_unlisted();
    let table = [
        (Method::GET, "/livez", None, StatusCode::OK),
        (Method::GET, "/orders/7", None, StatusCode::UNAUTHORIZED),
        (Method::GET, "/orders/7", Some(&reader), StatusCode::OK),
        (Method::HEAD, "/orders/7", Some(&reader), StatusCode::OK),
        (Method::HEAD, "/orders/7", Some(&admin), StatusCode::FORBIDDEN),
        (Method::DELETE, "/orders/7", Some(&reader), StatusCode::FORBIDDEN),
        (Method::DELETE, "/orders/7", Some(&admin), StatusCode::OK),
        // Listed for other methods only, so it is not listed.
        (Method::PUT, "/orders/7", Some(&admin), StatusCode::FORBIDDEN),
        (Method::GET, "/admin/a/b", Some(&reader), StatusCode::FORBIDDEN),
        (Method::GET, "/admin/a/b", Some(&admin), StatusCode::OK),
        (Method::GET, "/forgotten", Some(&admin), StatusCode::FORBIDDEN),
        (Method::GET, "/forgotten", None, StatusCode::UNAUTHORIZED),
        (Method::GET, "/admin%2Fa", Some(&reader), StatusCode::FORBIDDEN),
        (Method::GET, "//admin/a", Some(&reader), StatusCode::FORBIDDEN),
        (Method::GET, "/orders/7/", Some(&reader), StatusCode::FORBIDDEN),
    ];
    for (method, path, caller, expected) in table {
        let found = ask(strict(), method.clone(), path, caller).await;
        assert_eq!(found, expected, "{method} {path}");
    }
    assert_eq!(ask(guards(), Method::GET, "/forgotten", None).await, StatusCode::OK);
    assert_eq!(ask(guards(), Method::PUT, "/orders/7", None).await, StatusCode::OK);
}

#[test]
fn api9_the_inventory_is_listed() {
    let guards = guards().deny_unlisted();
    let listed: Vec<_> = guards
        .list()
        .map(|(method, path, requirement)| (method.cloned(), path, requirement.to_string()))
        .collect();
    assert_eq!(listed.len(), 4);
    assert_eq!(listed[2], (Some(Method::DELETE), "/orders/{id}", "role:admin".to_owned()));
    assert_eq!(
        guards.to_string(),
        "*      /livez          public\n\
         GET    /orders/{id}    scope:read\n\
         DELETE /orders/{id}    role:admin\n\
         *      /admin/{*rest}  role:admin\n\
         *      *               nobody\n"
    );
    let twice = |method, path| guards.clone().route(method, path, Requirement::public());
    assert!(twice(Method::GET, "/orders/{id}").is_err());
    assert!(twice(Method::GET, "/orders/{other}").is_err());
    assert!(twice(Method::GET, "/a/{").is_err());
    assert!(guards.any_method("/livez", Requirement::public()).is_err());
}

#[tokio::test]
async fn api1_a_policy_of_ones_own_rules_on_each_object() {
    let auth = auth();
    let policy = |caller: Option<&Principal>, request: &Parts| {
        let (caller, path) = (caller.cloned(), request.uri.path().to_owned());
        async move {
            tokio::task::yield_now().await;
            match (&*path, caller) {
                ("/down", _) => Ruling::Unavailable,
                (_, None) => Ruling::Forbid,
                (path, Some(caller)) if path.ends_with(caller.subject()) => Ruling::Allow,
                ("/secret", _) => Ruling::Hide,
                _ => Ruling::Forbid,
            }
        }
    };
    let layer = AuthorizeLayer::new(auth.clone(), policy);
    let service = ServiceBuilder::new().layer(layer).service_fn(ok);
    let alice = Principal::new("alice");
    let ask = async |path: &str, caller| {
        let response = service.clone().oneshot(request(path, caller)).await.unwrap();
        (response.status(), response.headers().clone())
    };
    assert_eq!(ask("/carts/alice", Some(&alice)).await.0, StatusCode::OK);
    assert_eq!(ask("/carts/bob", Some(&alice)).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask("/carts/bob", None).await.0, StatusCode::UNAUTHORIZED);
    let (status, headers) = ask("/secret", Some(&alice)).await;
    assert_eq!((status, headers.get("www-authenticate")), (StatusCode::NOT_FOUND, None));
    let (status, headers) = ask("/down", Some(&alice)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers["retry-after"], "5");
    let count = |outcome| auth.snapshot().value("bartizan_auth_guarded_total", outcome).unwrap();
    assert_eq!((count("allowed"), count("refused")), (1.0, 4.0));

    auth.switch().set(Mode::Shadow);
    assert_eq!(ask("/secret", Some(&alice)).await.0, StatusCode::OK);
    assert_eq!(count("shadow_refused"), 1.0);
    auth.switch().set(Mode::Off);
    assert_eq!(ask("/secret", Some(&alice)).await.0, StatusCode::OK);
    assert_eq!(count("shadow_refused"), 1.0);
}

/// Ready once, and only the instance that was made ready.
#[derive(Debug, Default)]
struct Strict {
    ready: bool,
    calls: Arc<AtomicU32>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl Service<Request<Body>> for Strict {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        self.ready = true;
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been made ready");
        self.calls.fetch_add(1, Relaxed);
        std::future::ready(Ok(Response::new(String::new())))
    }
}

#[tokio::test]
async fn a_policy_calls_the_instance_that_was_made_ready() {
    let calls = Arc::default();
    let strict = Strict { ready: false, calls: Arc::clone(&calls) };
    let policy = |_: Option<&Principal>, _: &Parts| std::future::ready(Ruling::Allow);
    let layer = AuthorizeLayer::new(auth(), policy);
    let mut service = ServiceBuilder::new().layer(layer).service(strict);
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(request("/", None)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(calls.load(Relaxed), 3);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_handler_may_say_what_it_requires() {
    use std::sync::LazyLock;

    use axum::routing::post;
    use bartizan_auth::{Permit, Requires, Settings};

    struct Write;

    impl Requires for Write {
        fn requirement() -> &'static Requirement {
            static WANTED: LazyLock<Requirement> = LazyLock::new(|| Requirement::scope("write"));
            &WANTED
        }
    }

    let keys = ApiKeys::new();
    let (reader, writer) = ("bz_reader_0123456789abcdef", "bz_writer_0123456789abcdef");
    keys.insert(reader, Principal::new("reader").with_scopes(["read"])).unwrap();
    keys.insert(writer, Principal::new("writer").with_scopes(["write"])).unwrap();
    let auth = Authenticator::new("api").scheme(keys).settings(Settings::default().optional(true));
    let handler = |permit: Permit<Write>| async move {
        permit.principal().map_or("nobody", Principal::subject).to_owned()
    };
    let app: Router = Router::new()
        .route("/", post(handler))
        .layer(AuthLayer::new(auth.clone()))
        .with_state(auth.clone());
    let ask = async |key: Option<&str>| {
        let mut request = Request::post("/").body(Body::empty()).unwrap();
        if let Some(key) = key {
            request.headers_mut().insert("x-api-key", key.parse().unwrap());
        }
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(ask(Some(writer)).await, (StatusCode::OK, "writer".to_owned()));
    let (status, body) = ask(Some(reader)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body.contains("insufficient_scope"), "{body}");
    assert_eq!(ask(None).await.0, StatusCode::UNAUTHORIZED);
    auth.switch().set(Mode::Shadow);
    assert_eq!(ask(None).await, (StatusCode::OK, "nobody".to_owned()));
}
