use std::sync::Arc;
use std::task::{Context, Poll};

use bartizan_core::{Http, ResponseBody};
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{Requirement, guard};
use crate::{Authenticator, ResponseFuture};

/// [`Layer`] that applies [`Require`]: a guard for what is inside it.
///
/// Without further calls it wants a principal, whoever that is; what is added must all hold. A
/// request without a principal is answered with 401, one that lacks something with 403 and
/// `insufficient_scope`, one whose login is too weak or too old with 401 and
/// `insufficient_user_authentication` (gRPC: `UNAUTHENTICATED`, `PERMISSION_DENIED`,
/// `UNAUTHENTICATED`).
///
/// It belongs to an [`Authenticator`], whose [`AuthLayer`](crate::AuthLayer) stands further out:
/// its switch turns the guard, its counters count it, its schemes are what 401 asks for.
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireLayer {
    authenticator: Authenticator,
    http: Http,
    /// What was asked for, if anything was.
    wanted: Option<Arc<Requirement>>,
}

impl RequireLayer {
    /// Creates a guard that wants a principal.
    pub fn new(authenticator: Authenticator) -> Self {
        Self { authenticator, http: Http::new(), wanted: None }
    }

    /// Wants this too.
    pub fn requirement(mut self, requirement: Requirement) -> Self {
        // The first one is taken as it is: it may be for anyone.
        self.wanted = Some(Arc::new(match self.wanted.as_deref() {
            Some(wanted) => wanted.clone().and(requirement),
            None => requirement,
        }));
        self
    }

    /// Wants all of these scopes.
    pub fn scopes<T: Into<String>>(self, scopes: impl IntoIterator<Item = T>) -> Self {
        scopes.into_iter().map(Requirement::scope).fold(self, Self::requirement)
    }

    /// Wants one of these scopes. If there are none, nobody passes.
    pub fn any_scope<T: Into<String>>(self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.requirement(Requirement::any(scopes.into_iter().map(Requirement::scope)))
    }

    /// Wants all of these roles.
    pub fn roles<T: Into<String>>(self, roles: impl IntoIterator<Item = T>) -> Self {
        roles.into_iter().map(Requirement::role).fold(self, Self::requirement)
    }

    /// Wants one of these roles. If there are none, nobody passes.
    pub fn any_role<T: Into<String>>(self, roles: impl IntoIterator<Item = T>) -> Self {
        self.requirement(Requirement::any(roles.into_iter().map(Requirement::role)))
    }

    /// Sets how refusals are rendered.
    pub fn http(mut self, http: Http) -> Self {
        self.http = http;
        self
    }
}

impl<S> Layer<S> for RequireLayer {
    type Service = Require<S>;

    fn layer(&self, inner: S) -> Require<S> {
        Require { inner, guard: self.clone() }
    }
}

/// Middleware that turns away callers who lack what is required.
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

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let RequireLayer { authenticator, http, wanted } = &self.guard;
        let wanted = wanted.as_deref().unwrap_or(const { &Requirement::caller() });
        guard::pass(&mut self.inner, request, authenticator, http, wanted)
    }
}
