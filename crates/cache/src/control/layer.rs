use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, IF_MODIFIED_SINCE, IF_NONE_MATCH, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{CacheControl, ControlBody, ControlFuture};

/// [`Layer`] that has an origin's responses say how they may be reused.
///
/// It adds the fields to responses below 400 that have no `Cache-Control` of their own: an error is
/// never made cacheable by it, nor, for shared caches, what sets a cookie. One layer per route, or per group of routes:
///
/// ```
/// use std::time::Duration;
///
/// use axum::{Router, routing::get};
/// use bartizan_cache::{CacheControl, CacheControlLayer};
///
/// let pages = CacheControl::public().max_age(Duration::from_secs(60));
/// let edge = CacheControl::new().max_age(Duration::from_secs(3600));
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(
///         CacheControlLayer::new(&pages)
///             .targeted(http::HeaderName::from_static("cdn-cache-control"), &edge)
///             .vary([http::header::ACCEPT_LANGUAGE])
///             .etags(true),
///     )
///     .route("/me", get(|| async { "you" }))
///     .layer(CacheControlLayer::new(&CacheControl::private()));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CacheControlLayer {
    plan: Arc<Plan>,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    fields: Vec<Addition>,
    vary: Option<HeaderValue>,
    pub(super) etags: bool,
    pub(super) etag_limit: u64,
}

/// A field that is added.
#[derive(Clone, Debug)]
struct Addition {
    name: HeaderName,
    value: HeaderValue,
    /// Whether it lets no shared cache keep the response.
    is_for_one: bool,
}

impl Addition {
    fn new(name: HeaderName, value: &CacheControl) -> Self {
        Self { name, value: value.value(), is_for_one: value.is_for_one() }
    }
}

impl CacheControlLayer {
    /// Creates a layer that adds this `Cache-Control`.
    pub fn new(value: &CacheControl) -> Self {
        let fields = vec![Addition::new(CACHE_CONTROL, value)];
        Self { plan: Arc::new(Plan { fields, vary: None, etags: false, etag_limit: 1 << 20 }) }
    }

    fn change(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(Arc::make_mut(&mut self.plan));
        self
    }

    /// Adds a targeted field (RFC 9213), as `CDN-Cache-Control`, for the caches that it speaks to.
    pub fn targeted(self, name: HeaderName, value: &CacheControl) -> Self {
        self.change(|plan| plan.fields.push(Addition::new(name, value)))
    }

    /// Adds the request fields that the responses depend on to their `Vary`.
    pub fn vary(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names: Vec<_> = names.into_iter().map(|name| name.to_string()).collect();
        let value = HeaderValue::try_from(names.join(", ")).ok();
        self.change(|plan| plan.vary = value)
    }

    /// Whether conditional requests are answered by `304 Not Modified`, and 200s to GET without an
    /// `ETag` get a weak one, made of the body. Such a body is held back until it is complete: only
    /// those are taken that say beforehand that they are no longer than the limit.
    pub fn etags(self, on: bool) -> Self {
        self.change(|plan| plan.etags = on)
    }

    /// Sets the longest body that an `ETag` is made of, in bytes; 1 MiB if not.
    pub fn etag_limit(self, bytes: u64) -> Self {
        self.change(|plan| plan.etag_limit = bytes)
    }
}

impl<S> Layer<S> for CacheControlLayer {
    type Service = CacheControlService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CacheControlService { inner, plan: Arc::clone(&self.plan) }
    }
}

/// Middleware that has an origin's responses say how they may be reused; see
/// [`CacheControlLayer`].
#[derive(Clone, Debug)]
pub struct CacheControlService<S> {
    inner: S,
    plan: Arc<Plan>,
}

impl<S, R, B> Service<Request<R>> for CacheControlService<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Response = Response<ControlBody<B>>;
    type Error = S::Error;
    type Future = ControlFuture<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let asked = Asked::of(&self.plan, request.method(), request.headers());
        ControlFuture::new(self.inner.call(request), Arc::clone(&self.plan), asked)
    }
}

/// What a request asks for that concerns entity tags.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) is_get: bool,
    pub(super) conditions: Option<HeaderMap>,
}

impl Asked {
    fn of(plan: &Plan, method: &Method, headers: &HeaderMap) -> Self {
        let is_get = plan.etags && method == Method::GET;
        let reads = plan.etags && matches!(*method, Method::GET | Method::HEAD);
        let conditions = [IF_NONE_MATCH, IF_MODIFIED_SINCE].map(|name| {
            let values: Vec<_> = headers.get_all(&name).iter().cloned().collect();
            values.into_iter().map(move |value| (name.clone(), value))
        });
        let conditions: Option<HeaderMap> =
            reads.then(|| HeaderMap::from_iter(conditions.into_iter().flatten()));
        Self { is_get, conditions: conditions.filter(|conditions| !conditions.is_empty()) }
    }
}

impl Plan {
    pub(super) fn apply(&self, status: StatusCode, headers: &mut HeaderMap) {
        if status.is_client_error() || status.is_server_error() {
            return;
        }
        if !headers.contains_key(CACHE_CONTROL) {
            // A cookie is for one client, and so is what comes with it.
            let is_for_one = headers.contains_key(SET_COOKIE);
            for Addition { name, value, .. } in
                self.fields.iter().filter(|field| field.is_for_one || !is_for_one)
            {
                if !headers.contains_key(name) {
                    headers.insert(name.clone(), value.clone());
                }
            }
        }
        if let Some(vary) = &self.vary {
            headers.append(VARY, vary.clone());
        }
    }
}
