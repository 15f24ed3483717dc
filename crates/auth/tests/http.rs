//! Credentials, guards and challenges through real tower services.

#![cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use axum::{Router, body::Body, routing::get};
use bartizan_auth::{
    ApiKeys, AuthLayer, Authenticator, Clock, Engine, KeySet, Mode, Principal, RequireLayer,
    Settings,
};
use common::{KEY, Signer, ask, bearer, jwks, whoami, with_keys};
use http::{Request, StatusCode};
use serde_json::json;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::cors::{Any, CorsLayer};

#[tokio::test]
async fn u21_only_true_preflights_pass_and_only_if_told() {
    let auth = Authenticator::new("api").scheme(ApiKeys::new());
    let preflight = || {
        Request::options("/")
            .header("origin", "https://app.test")
            .header("access-control-request-method", "GET")
    };
    assert_eq!(ask(&auth, preflight()).await.status(), StatusCode::UNAUTHORIZED);
    auth.apply(json!({"preflight": true})).unwrap();
    let response = ask(&auth, preflight()).await;
    assert_eq!(
        (response.status(), &response.headers()["who"]),
        (StatusCode::OK, &"nobody".parse().unwrap())
    );
    let others = [
        Request::options("/"),
        Request::options("/").header("origin", "https://app.test"),
        Request::get("/").header("origin", "https://app.test"),
        Request::get("/").header("origin", "x").header("access-control-request-method", "GET"),
    ];
    for other in others {
        assert_eq!(ask(&auth, other).await.status(), StatusCode::UNAUTHORIZED);
    }
    // The guard lets them pass too: what answers them may stand inside it.
    let service = ServiceBuilder::new().layer(RequireLayer::new(auth.clone())).service_fn(whoami);
    let response = service.oneshot(preflight().body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn u21_with_cors_outside_preflights_never_get_here_and_refusals_can_be_read() {
    let auth = AuthLayer::new(Authenticator::new("api").scheme(ApiKeys::new()));
    let cors = CorsLayer::new().allow_origin(Any).allow_methods(Any);
    let service = ServiceBuilder::new().layer(cors).layer(auth).service_fn(whoami);
    let ask = async |request: http::request::Builder| {
        let request = request.header("origin", "https://app.test");
        service.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    let preflight = Request::options("/").header("access-control-request-method", "GET");
    for (request, status) in
        [(preflight, StatusCode::OK), (Request::get("/"), StatusCode::UNAUTHORIZED)]
    {
        let response = ask(request).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
    }
}

#[tokio::test]
async fn u25_grpc_calls_are_refused_by_status() {
    let auth = Authenticator::new("api").scheme(ApiKeys::new().bearer());
    let response = ask(&auth, bearer("bad").header("content-type", "application/grpc")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "16");

    let guard = RequireLayer::new(auth).roles(["admin"]);
    let service = ServiceBuilder::new().layer(guard).service_fn(whoami);
    let request = Request::post("/").header("content-type", "application/grpc+proto");
    let request = request.extension(Principal::new("alice")).body(Body::empty()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["grpc-status"]),
        (StatusCode::OK, &"7".parse().unwrap())
    );
}

#[tokio::test]
async fn u25_an_unknown_route_is_401_under_layer_and_404_under_route_layer() {
    let auth = AuthLayer::new(Authenticator::new("api").scheme(ApiKeys::new()));
    let app: Router = Router::new().route("/", get(|| async { "hi" }));
    let ask = async |app: Router, path: &str| {
        app.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap().status()
    };
    let (outer, inner) = (app.clone().layer(auth.clone()), app.route_layer(auth));
    assert_eq!(ask(outer.clone(), "/nope").await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(inner.clone(), "/nope").await, StatusCode::NOT_FOUND);
    assert_eq!(ask(outer, "/").await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(inner, "/").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn credentials_come_once_and_are_told_apart() {
    let (clock, signer) = (Clock::manual(), Signer::ed());
    let (header, shared) = (ApiKeys::new(), ApiKeys::new().bearer());
    header.insert(KEY, Principal::new("by header")).unwrap();
    shared.insert(KEY, Principal::new("by bearer")).unwrap();
    let set = KeySet::from_jwks(&jwks(&[signer.jwk("k")])).unwrap();
    let auth = with_keys(set, &clock).scheme(shared).scheme(header);
    let token = signer.token("k", &clock, &json!({}));
    let who = async |request| ask(&auth, request).await.headers()["who"].clone();
    assert_eq!(who(bearer(&token)).await, "alice");
    assert_eq!(
        who(Request::get("/").header("authorization", format!("bEARER {token}"))).await,
        "alice"
    );
    assert_eq!(who(bearer(KEY)).await, "by bearer");
    assert_eq!(who(Request::get("/").header("x-api-key", KEY)).await, "by header");

    let twice = [
        bearer(&token).header("x-api-key", KEY),
        bearer(&token).header("authorization", "Basic YTpi"),
    ];
    for request in twice {
        let response = ask(&auth, request).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let challenges: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
        assert!(challenges[0].to_str().unwrap().contains(r#"error="invalid_request""#));
        assert_eq!(challenges[1], r#"ApiKey realm="api""#);
    }
    let none = ask(&auth, Request::get("/").header("authorization", "Basic YTpi")).await;
    assert_eq!(none.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(none.headers()["www-authenticate"], r#"Bearer realm="api""#);
    let count = |outcome| auth.snapshot().value("bartizan_auth_denials_total", outcome);
    assert_eq!(
        (count("ambiguous"), count("missing"), count("expired")),
        (Some(2.0), Some(1.0), Some(0.0))
    );
}

#[tokio::test]
async fn optional_takes_no_credential_but_no_bad_one_and_no_smuggled_principal() {
    let keys = ApiKeys::new();
    keys.insert(KEY, Principal::new("alice")).unwrap();
    let auth = Authenticator::new("api").scheme(keys).settings(Settings::default().optional(true));
    let smuggled = || Request::get("/").extension(Principal::new("root"));
    assert_eq!(ask(&auth, smuggled()).await.headers()["who"], "nobody");
    assert_eq!(ask(&auth, smuggled().header("x-api-key", KEY)).await.headers()["who"], "alice");
    assert_eq!(
        ask(&auth, smuggled().header("x-api-key", "bad")).await.status(),
        StatusCode::UNAUTHORIZED
    );

    auth.switch().set(Mode::Shadow);
    assert_eq!(ask(&auth, smuggled().header("x-api-key", "bad")).await.headers()["who"], "nobody");
    let count = |outcome| auth.snapshot().value("bartizan_auth_requests_total", outcome).unwrap();
    assert_eq!((count("refused"), count("shadow_refused")), (1.0, 1.0));
    assert_eq!((count("anonymous"), count("authenticated")), (1.0, 1.0));
}

#[tokio::test]
async fn guards_want_scopes_and_roles() {
    let auth = Authenticator::new("api").scheme(ApiKeys::new().bearer());
    let guard = RequireLayer::new(auth.clone()).scopes(["a", "b"]).any_role(["x", "y"]);
    let mut service = ServiceBuilder::new().layer(guard).service_fn(whoami);
    let mut ask = async |principal: Option<Principal>| {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().extend(
            principal
                .map(|principal| {
                    let mut extensions = http::Extensions::new();
                    extensions.insert(principal);
                    extensions
                })
                .unwrap_or_default(),
        );
        service.ready().await.unwrap().call(request).await.unwrap()
    };
    let good = Principal::new("p").with_scopes(["a", "b"]).with_roles(["y"]);
    assert_eq!(ask(Some(good.clone())).await.status(), StatusCode::OK);
    let lacking = [
        good.clone().with_scopes(["a"]),
        good.clone().with_scopes(["a", "bb"]),
        good.with_roles(["z"]),
    ];
    for principal in lacking {
        let response = ask(Some(principal)).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(
            response.headers()["www-authenticate"],
            r#"Bearer realm="api", error="insufficient_scope", scope="a b""#
        );
    }
    let response = ask(None).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["www-authenticate"], r#"Bearer realm="api""#);
    auth.switch().set(Mode::Off);
    assert_eq!(ask(None).await.status(), StatusCode::OK);
    let count = |outcome| auth.snapshot().value("bartizan_auth_guarded_total", outcome).unwrap();
    assert_eq!((count("allowed"), count("refused")), (1.0, 4.0));
}

#[tokio::test]
async fn credentials_can_be_kept_from_the_service() {
    let keys = ApiKeys::new().bearer();
    keys.insert(KEY, Principal::new("alice")).unwrap();
    let auth = Authenticator::new("api").scheme(keys);
    let layer = AuthLayer::new(auth.clone());
    let cases = [(layer.clone(), "true"), (layer.strip_credentials(), "false")];
    for (layer, seen) in cases {
        let service = ServiceBuilder::new().layer(layer.clone()).service_fn(whoami);
        let response = service.oneshot(bearer(KEY).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(
            (
                response.headers()["who"].to_str().unwrap(),
                response.headers()["seen"].to_str().unwrap()
            ),
            ("alice", seen)
        );
        // Switching it off does not show them either.
        auth.switch().set(Mode::Off);
        let service = ServiceBuilder::new().layer(layer).service_fn(whoami);
        let response = service.oneshot(bearer(KEY).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["who"], "nobody");
        assert_eq!(response.headers()["seen"], seen);
        auth.switch().set(Mode::Enforce);
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn handlers_take_the_caller() {
    use axum::Extension;
    use bartizan_auth::Caller;
    use http_body_util::BodyExt;

    let keys = ApiKeys::new();
    keys.insert(KEY, Principal::new("alice")).unwrap();
    let auth = Authenticator::new("shop").scheme(keys).settings(Settings::default().optional(true));
    let app: Router = Router::new()
        .route("/must", get(|Caller(who): Caller| async move { who.subject().to_owned() }))
        .route("/may", get(|who: Option<Caller>| async move { who.is_some().to_string() }))
        .route(
            "/raw",
            get(|Extension(who): Extension<Principal>| async move { who.subject().to_owned() }),
        )
        .layer(AuthLayer::new(auth));
    let ask = async |path: &str, key: Option<&str>| {
        let mut request = Request::get(path);
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let challenge = response.headers().get("www-authenticate").cloned();
        assert_eq!(challenge.is_some(), status == StatusCode::UNAUTHORIZED);
        assert!(challenge.is_none_or(|challenge| challenge == "ApiKey realm=\"shop\""));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(ask("/must", Some(KEY)).await, (StatusCode::OK, "alice".into()));
    assert_eq!(ask("/raw", Some(KEY)).await, (StatusCode::OK, "alice".into()));
    assert_eq!(ask("/may", None).await, (StatusCode::OK, "false".into()));
    assert_eq!(ask("/must", None).await.0, StatusCode::UNAUTHORIZED);
}
