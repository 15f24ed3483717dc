use std::sync::Arc;
use std::task::{Context, Poll};

use bartizan_core::{Http, Principal, Protocol, ResponseBody};
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Authenticator, ResponseFuture};

/// [`Layer`] that applies [`Require`]: a guard for what is inside it.
///
/// Without further calls it wants a principal, whoever that is; what is added must all hold. A
/// request without a principal is answered with 401, one that lacks a scope or role with 403 and
/// `insufficient_scope` (gRPC: `UNAUTHENTICATED`, `PERMISSION_DENIED`).
///
/// It belongs to an [`Authenticator`], whose [`AuthLayer`](crate::AuthLayer) stands further out:
/// its switch turns the guard, its counters count it, its schemes are what 401 asks for.
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireLayer {
    authenticator: Authenticator,
    http: Http,
    requirement: Arc<Requirement>,
}

#[derive(Clone, Debug, Default)]
struct Requirement {
    scopes: Vec<String>,
    roles: Vec<String>,
    any_scope: Vec<Vec<String>>,
    any_role: Vec<Vec<String>>,
    /// The scopes that callers are told of.
    told: String,
}

impl Requirement {
    fn is_met(&self, principal: &Principal) -> bool {
        let (has, is) =
            (|scope: &_| principal.has_scope(scope), |role: &_| principal.has_role(role));
        self.scopes.iter().all(|scope| has(scope))
            && self.roles.iter().all(|role| is(role))
            && self.any_scope.iter().all(|scopes| scopes.iter().any(|scope| has(scope)))
            && self.any_role.iter().all(|roles| roles.iter().any(|role| is(role)))
    }

    fn tell(&mut self, scopes: &[String]) {
        for scope in scopes {
            if !self.told.is_empty() {
                self.told.push(' ');
            }
            self.told.push_str(scope);
        }
    }
}

impl RequireLayer {
    /// Creates a guard that wants a principal.
    pub fn new(authenticator: Authenticator) -> Self {
        Self { authenticator, http: Http::new(), requirement: Arc::default() }
    }

    /// Wants all of these scopes.
    pub fn scopes<T: Into<String>>(self, scopes: impl IntoIterator<Item = T>) -> Self {
        let scopes = collect(scopes);
        self.change(|requirement| {
            requirement.tell(&scopes);
            requirement.scopes.extend(scopes);
        })
    }

    /// Wants one of these scopes. If there are none, nobody passes.
    pub fn any_scope<T: Into<String>>(self, scopes: impl IntoIterator<Item = T>) -> Self {
        let scopes = collect(scopes);
        self.change(|requirement| {
            requirement.tell(&scopes);
            requirement.any_scope.push(scopes);
        })
    }

    /// Wants all of these roles.
    pub fn roles<T: Into<String>>(self, roles: impl IntoIterator<Item = T>) -> Self {
        self.change(|requirement| requirement.roles.extend(collect(roles)))
    }

    /// Wants one of these roles. If there are none, nobody passes.
    pub fn any_role<T: Into<String>>(self, roles: impl IntoIterator<Item = T>) -> Self {
        self.change(|requirement| requirement.any_role.push(collect(roles)))
    }

    /// Sets how refusals are rendered.
    pub fn http(mut self, http: Http) -> Self {
        self.http = http;
        self
    }

    fn change(mut self, set: impl FnOnce(&mut Requirement)) -> Self {
        set(Arc::make_mut(&mut self.requirement));
        self
    }
}

fn collect<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Vec<String> {
    names.into_iter().map(Into::into).collect()
}

impl<S> Layer<S> for RequireLayer {
    type Service = Require<S>;

    fn layer(&self, inner: S) -> Require<S> {
        Require { inner, guard: self.clone() }
    }
}

/// Middleware that turns away callers who lack a scope or role.
///
/// See [`RequireLayer`] and the [crate docs](crate).
#[derive(Clone, Debug)]
pub struct Require<S> {
    inner: S,
    guard: RequireLayer,
}

impl<S, B, R> Service<Request<B>> for Require<S>
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
        let RequireLayer { authenticator, http, requirement } = &self.guard;
        if !authenticator.passes_preflight(request.method(), request.headers()) {
            let principal = request.extensions().get::<Principal>();
            let allowed = |principal: &_| requirement.is_met(principal);
            if let Err(rejection) = authenticator.guard(principal, allowed, &requirement.told) {
                let dialect = Protocol::<_, S::Response, S::Error>::dialect(http, &request);
                return ResponseFuture::refused(http, dialect, *rejection);
            }
        }
        ResponseFuture::admitted(self.inner.call(request), http.clone())
    }
}
