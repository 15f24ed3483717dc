//! What an origin's responses say of their reuse, and purges over HTTP.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::{Router, body::Body, routing::get};
use bartizan_cache::{
    CacheControl, CacheControlLayer, CacheLayer, Engine, PurgeAdmin, ResponseCache,
};
use bartizan_core::Principal;
use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{Layer, ServiceExt, service_fn};

const MINUTE: Duration = Duration::from_secs(60);

fn layer() -> CacheControlLayer {
    let edge = CacheControl::new().max_age(MINUTE * 60);
    CacheControlLayer::new(&CacheControl::public().max_age(MINUTE))
        .targeted(HeaderName::from_static("cdn-cache-control"), &edge)
        .vary([http::header::ACCEPT_LANGUAGE, http::header::ACCEPT])
        .etags(true)
}

async fn call(response: Response<Full<Bytes>>, request: http::request::Builder) -> Response<Bytes> {
    let inner = service_fn(move |_: Request<()>| {
        let response = response.clone();
        async move { Ok::<_, Infallible>(response) }
    });
    let response = layer().layer(inner).oneshot(request.body(()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

fn hello() -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from_static(b"hello")))
}

#[tokio::test]
async fn responses_say_what_the_layer_says() {
    let response = call(hello(), Request::get("/")).await;
    assert_eq!(response.headers()["cache-control"], "public, max-age=60");
    assert_eq!(response.headers()["cdn-cache-control"], "max-age=3600");
    assert_eq!(response.headers()["vary"], "accept-language, accept");
    assert_eq!(response.headers()["etag"], "W/\"2cf24dba5fb0a30e26e83b2a\"");
    assert_eq!(response.body(), "hello");
}

#[tokio::test]
async fn what_the_handler_says_stays_and_errors_are_never_made_cacheable() {
    let mut own = hello();
    own.headers_mut().insert("cache-control", "no-store".parse().unwrap());
    own.headers_mut().insert("etag", "\"own\"".parse().unwrap());
    let response = call(own, Request::get("/")).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(!response.headers().contains_key("cdn-cache-control"));
    assert_eq!(response.headers()["etag"], "\"own\"");
    for status in [400, 404, 500, 503] {
        let mut error = hello();
        *error.status_mut() = StatusCode::from_u16(status).unwrap();
        let response = call(error, Request::get("/")).await;
        for name in ["cache-control", "cdn-cache-control", "vary", "etag"] {
            assert!(!response.headers().contains_key(name), "{status} {name}");
        }
    }
}

#[tokio::test]
async fn u09_what_sets_a_cookie_is_not_made_public() {
    let with_cookie = || {
        let mut response = hello();
        response.headers_mut().insert("set-cookie", "s=1".parse().unwrap());
        response
    };
    let response = call(with_cookie(), Request::get("/")).await;
    assert!(!response.headers().contains_key("cache-control"));
    assert!(!response.headers().contains_key("cdn-cache-control"));
    let private = CacheControlLayer::new(&CacheControl::private());
    let inner =
        service_fn(move |_: Request<()>| std::future::ready(Ok::<_, Infallible>(with_cookie())));
    let request = Request::get("/").body(()).unwrap();
    let response = private.layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "private");
}

#[tokio::test]
async fn who_has_it_is_told_so() {
    let tag = "W/\"2cf24dba5fb0a30e26e83b2a\"";
    for (name, value, status) in [
        ("if-none-match", tag, 304),
        ("if-none-match", "\"2cf24dba5fb0a30e26e83b2a\"", 304),
        ("if-none-match", "\"x\"", 200),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT", 200),
    ] {
        let response = call(hello(), Request::get("/").header(name, value)).await;
        assert_eq!(response.status().as_u16(), status, "{name}: {value}");
        assert_eq!(response.body().is_empty(), status == 304);
        assert_eq!(response.headers()["etag"], tag);
        assert_eq!(response.headers()["cache-control"], "public, max-age=60");
    }
    let mut dated = hello();
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    dated.headers_mut().insert("last-modified", date.parse().unwrap());
    let asked = Request::head("/").header("if-modified-since", date);
    let response = call(dated, asked).await;
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert!(!response.headers().contains_key("etag"), "a HEAD has no body to make one of");
    let post = call(hello(), Request::post("/").header("if-none-match", tag)).await;
    assert_eq!(post.status(), StatusCode::OK);
}

#[tokio::test]
async fn bodies_of_unknown_length_stream_and_broken_ones_stay_broken() {
    let inner = service_fn(|_: Request<()>| async move {
        let frames = [Ok(Frame::data(Bytes::from_static(b"he"))), Err(io::Error::other("broken"))];
        let body = StreamBody::new(Frames(frames.into_iter()));
        Ok::<_, Infallible>(Response::new(body))
    });
    let service = layer().layer(inner);
    let get = |path: &'static str| Request::get(path).body(()).unwrap();
    let mut streamed = service.clone().oneshot(get("/stream")).await.unwrap();
    assert!(!streamed.headers().contains_key("etag"));
    let first = streamed.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "he");
    assert!(streamed.into_body().collect().await.is_err());
}

/// A stream of these frames.
struct Frames<const N: usize>(std::array::IntoIter<io::Result<Frame<Bytes>>, N>);

impl<const N: usize> futures_core::Stream for Frames<N> {
    type Item = io::Result<Frame<Bytes>>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[tokio::test]
async fn an_origin_and_its_cache_in_one_router() {
    let cache = ResponseCache::new("api");
    let app: Router = Router::new()
        .route("/", get(|| async { "hello" }))
        .layer(CacheControlLayer::new(&CacheControl::public().max_age(MINUTE)).etags(true))
        .layer(CacheLayer::new(cache));
    let call = async || {
        let request = Request::get("/").header("host", "a.test").body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        assert_eq!(axum::body::to_bytes(body, 100).await.unwrap(), "hello");
        parts.headers["cache-status"].to_str().unwrap().to_owned()
    };
    assert_eq!(call().await, "api; fwd=uri-miss; stored");
    assert!(call().await.starts_with("api; hit"));
}

const TOKEN: &str = "c0ffee-c0ffee-c0ffee";

async fn purge(admin: &PurgeAdmin, request: http::request::Builder, body: &str) -> (u16, String) {
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let response = admin.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.into()).unwrap())
}

#[tokio::test]
async fn purges_take_a_token() {
    let cache = ResponseCache::new("pages");
    let admin = PurgeAdmin::with_token(cache.clone(), TOKEN).unwrap();
    assert!(PurgeAdmin::with_token(cache.clone(), "short").is_err());
    let with = |value: String| Request::post("/").header("authorization", value);
    let document = r#"{"tag": "prices"}"#;
    let purges = || cache.snapshot().value("bartizan_cache_purges_total", "hard").unwrap();
    assert_eq!(purge(&admin, Request::post("/"), document).await.0, 401);
    for wrong in
        [format!("Bearer {TOKEN}x"), format!("Basic {TOKEN}"), "Bearer ".into(), "B".into()]
    {
        assert_eq!(purge(&admin, with(wrong.clone()), document).await.0, 401, "{wrong}");
    }
    let twice = with(format!("Bearer {TOKEN}")).header("authorization", "x");
    assert_eq!(purge(&admin, twice, document).await.0, 401);
    assert_eq!(purges(), 0.0);
    assert_eq!(
        purge(&admin, with(format!("bearer {TOKEN}")), document).await,
        (204, String::new())
    );
    assert_eq!(purges(), 1.0);
    let (status, problem) = purge(&admin, with(format!("Bearer {TOKEN}")), "{}").await;
    assert_eq!(status, 400);
    assert!(problem.contains("name exactly one of"), "{problem}");
    let long = format!("{{\"tag\": \"{}\"}}", "x".repeat(20_000));
    assert_eq!(purge(&admin, with(format!("Bearer {TOKEN}")), &long).await.0, 413);
    let get = Request::get("/").header("authorization", format!("Bearer {TOKEN}"));
    assert_eq!(purge(&admin, get, "").await.0, 405);
    assert!(!format!("{admin:?}").contains("c0ffee"));
}

#[tokio::test]
async fn purges_take_a_scope() {
    let admin = PurgeAdmin::with_scope(ResponseCache::new("pages"), "cache:purge");
    let by = |scopes: &[&str]| {
        Request::post("/").extension(Principal::new("a").with_scopes(scopes.iter().copied()))
    };
    let document = r#"{"all": true, "soft": true}"#;
    assert_eq!(purge(&admin, Request::post("/"), document).await.0, 401);
    assert_eq!(purge(&admin, by(&["other"]), document).await.0, 401);
    assert_eq!(purge(&admin, by(&["cache:purge"]), document).await.0, 204);
}
