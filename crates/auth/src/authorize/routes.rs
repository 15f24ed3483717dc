use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bartizan_core::{ConfigError, Http, ResponseBody};
use http::{Method, Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{Requirement, guard};
use crate::{Authenticator, ResponseFuture};

/// What each route requires, in one list that can be read, and that [denies what it does not
/// name](Self::deny_unlisted) if asked to.
///
/// Paths are in axum's syntax (`/orders/{id}`, `/files/{*rest}`) and are matched as axum's router
/// matches them, by the same library, on the path as it was sent. A method has its own requirement
/// before the one for all methods; `HEAD` has that of `GET` if it has none of its own.
///
/// It belongs around the whole router ([`Router::layer`]), where the path is not cut by nesting.
/// With another router, whose idea of a path may differ (case, `%2F`, `//`, a slash at the end),
/// deny what is not listed, lest a path slips by that the router sends to a listed route.
///
/// ```
/// use bartizan_auth::{Authenticator, Requirement, RouteGuards};
/// use http::Method;
///
/// # fn main() -> Result<(), bartizan_core::ConfigError> {
/// let guards = RouteGuards::new(Authenticator::new("api"))
///     .any_method("/livez", Requirement::public())?
///     .route(Method::GET, "/orders/{id}", Requirement::scope("orders:read"))?
///     .route(Method::DELETE, "/orders/{id}", Requirement::role("admin"))?
///     .deny_unlisted();
/// assert_eq!(
///     guards.to_string(),
///     "*      /livez        public\n\
///      GET    /orders/{id}  scope:orders:read\n\
///      DELETE /orders/{id}  role:admin\n\
///      *      *             nobody\n"
/// );
/// # Ok(())
/// # }
/// ```
///
/// [`Router::layer`]: https://docs.rs/axum/latest/axum/struct.Router.html#method.layer
#[derive(Clone, Debug)]
#[must_use]
pub struct RouteGuards {
    authenticator: Authenticator,
    listed: Vec<Listed>,
    paths: matchit::Router<usize>,
    /// By the number that a path leads to.
    rules: Vec<Rules>,
    unlisted: Option<Requirement>,
}

#[derive(Clone, Debug)]
struct Listed {
    method: Option<Method>,
    path: String,
    requirement: Requirement,
}

/// The requirements of one path.
#[derive(Clone, Debug)]
struct Rules {
    path: String,
    by_method: Vec<(Method, Requirement)>,
    any: Option<Requirement>,
}

impl RouteGuards {
    /// Starts with no routes, and lets pass what is not listed.
    pub fn new(authenticator: Authenticator) -> Self {
        Self {
            authenticator,
            listed: Vec::new(),
            paths: matchit::Router::new(),
            rules: Vec::new(),
            unlisted: None,
        }
    }

    /// Requires this of requests with `method` to `path`.
    ///
    /// # Errors
    ///
    /// If the path is not in axum's syntax or overlaps another, or if the method is listed already.
    pub fn route(
        self,
        method: Method,
        path: &str,
        requirement: Requirement,
    ) -> Result<Self, ConfigError> {
        self.add(Some(method), path, requirement)
    }

    /// Requires this of requests to `path` with any method that is not listed on its own.
    ///
    /// # Errors
    ///
    /// As [`route`](Self::route).
    pub fn any_method(self, path: &str, requirement: Requirement) -> Result<Self, ConfigError> {
        self.add(None, path, requirement)
    }

    fn add(
        mut self,
        method: Option<Method>,
        path: &str,
        requirement: Requirement,
    ) -> Result<Self, ConfigError> {
        let at = match self.rules.iter().position(|rules| rules.path == path) {
            Some(at) => at,
            None => {
                let at = self.rules.len();
                self.paths.insert(path, at).map_err(|error| {
                    ConfigError::new("path", error.to_string(), "write it as for axum's router")
                })?;
                self.rules.push(Rules { path: path.to_owned(), by_method: Vec::new(), any: None });
                at
            }
        };
        let rules = &mut self.rules[at];
        let taken = match &method {
            None => rules.any.replace(requirement.clone()).is_some(),
            Some(method) => {
                let taken = rules.by_method.iter().any(|(other, _)| other == method);
                rules.by_method.push((method.clone(), requirement.clone()));
                taken
            }
        };
        if taken {
            let problem = format!("`{path}` is listed twice for a method");
            return Err(ConfigError::new("path", problem, "join them with `Requirement::all`"));
        }
        self.listed.push(Listed { method, path: path.to_owned(), requirement });
        Ok(self)
    }

    /// Lets nobody pass to what is not listed: 401 for who is not known, else 403.
    pub fn deny_unlisted(mut self) -> Self {
        self.unlisted = Some(Requirement::any([]));
        self
    }

    /// Every route with its requirement, in the order of their calls. `None` stands for the other
    /// methods.
    pub fn list(&self) -> impl Iterator<Item = (Option<&Method>, &str, &Requirement)> {
        self.listed
            .iter()
            .map(|listed| (listed.method.as_ref(), &*listed.path, &listed.requirement))
    }

    /// The layer that asks for it.
    pub fn layer(self) -> RouteGuardsLayer {
        RouteGuardsLayer { guards: Arc::new(self), http: Http::new() }
    }

    fn wanted(&self, method: &Method, path: &str) -> Option<&Requirement> {
        let rules = self.paths.at(path).ok().and_then(|found| self.rules.get(*found.value));
        let by = |method: &Method| {
            let rules = &rules?.by_method;
            rules.iter().find(|(listed, _)| listed == method).map(|(_, wanted)| wanted)
        };
        by(method)
            .or_else(|| if method == Method::HEAD { by(&Method::GET) } else { None })
            .or_else(|| rules?.any.as_ref())
            .or(self.unlisted.as_ref())
    }
}

impl fmt::Display for RouteGuards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.listed.iter().map(|listed| listed.path.len()).max().unwrap_or(1);
        let most = self.list().filter_map(|(method, ..)| Some(method?.as_str().len())).max();
        let most = most.unwrap_or(1);
        for (method, path, requirement) in self.list() {
            let method = method.map_or("*", Method::as_str);
            writeln!(f, "{method:most$} {path:width$}  {requirement}")?;
        }
        let rest = if self.unlisted.is_some() { "nobody" } else { "public" };
        writeln!(f, "{:most$} {:width$}  {rest}", "*", "*")
    }
}

/// [`Layer`] that applies [`Guarded`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RouteGuardsLayer {
    guards: Arc<RouteGuards>,
    http: Http,
}

impl RouteGuardsLayer {
    /// Sets how refusals are rendered.
    pub fn http(mut self, http: Http) -> Self {
        self.http = http;
        self
    }
}

impl<S> Layer<S> for RouteGuardsLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, layer: self.clone() }
    }
}

/// Middleware that turns away callers who lack what their route requires.
///
/// See [`RouteGuards`].
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    layer: RouteGuardsLayer,
}

impl<S, B, R> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let RouteGuardsLayer { guards, http } = &self.layer;
        match guards.wanted(request.method(), request.uri().path()) {
            Some(wanted) => {
                guard::pass(&mut self.inner, request, &guards.authenticator, http, wanted)
            }
            None => ResponseFuture::admitted(self.inner.call(request)),
        }
    }
}
