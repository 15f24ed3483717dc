use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use axum::body::Body;
use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use bartizan_core::{Http, HttpDialect, Principal, Protocol, Rejection};
use http::request::Parts;
use http::{Request, StatusCode};

use crate::hooks::Asked;
use crate::{Authenticator, Requirement};

/// Extractor of who calls, as [`AuthLayer`](crate::AuthLayer) found out.
///
/// Without a principal the answer is 401; `Option<Caller>` takes anonymous requests too.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "handlers take it apart in their arguments")]
pub struct Caller(pub Principal);

/// Answer to a request without a principal: 401, which [`AuthLayer`](crate::AuthLayer) adds its
/// challenges to.
#[derive(Clone, Copy, Debug)]
pub struct NoCaller(HttpDialect);

impl IntoResponse for NoCaller {
    fn into_response(self) -> Response {
        let (status, code) = (StatusCode::UNAUTHORIZED, "unauthenticated");
        render(self.0, Rejection::new(status, code, "a credential is required"))
    }
}

fn render(dialect: HttpDialect, rejection: Rejection) -> Response {
    let refused: Result<http::Response<bartizan_core::ResponseBody<Body>>, Infallible> =
        Protocol::<Request<()>, Response, Infallible>::refuse(&Http::new(), dialect, rejection);
    let Ok(response) = refused;
    response.map(Body::new)
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = NoCaller;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoCaller> {
        parts
            .extensions
            .get()
            .cloned()
            .map(Self)
            .ok_or_else(|| NoCaller(HttpDialect::of(&parts.headers)))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned().map(Self))
    }
}

/// What a handler requires of its caller, for [`Permit`].
pub trait Requires {
    /// The requirement. It is asked for with each request: best from a static.
    fn requirement() -> &'static Requirement;
}

/// Extractor of a caller who meets `R`: the requirement stands in the handler's own signature.
///
/// The router's state must hold the [`Authenticator`], whose switch and counters it obeys and
/// moves. Whoever lacks something is answered as by [`RequireLayer`](crate::RequireLayer). While
/// the authenticator is not enforced nobody may be known: then there is no principal.
///
/// ```
/// use std::sync::LazyLock;
///
/// use axum::{Router, routing::post};
/// use bartizan_auth::{AuthLayer, Authenticator, Permit, Requirement, Requires};
///
/// struct WriteOrders;
///
/// impl Requires for WriteOrders {
///     fn requirement() -> &'static Requirement {
///         static WANTED: LazyLock<Requirement> =
///             LazyLock::new(|| Requirement::scope("orders:write"));
///         &WANTED
///     }
/// }
///
/// async fn create(permit: Permit<WriteOrders>) -> String {
///     permit.principal().map_or("nobody", |caller| caller.subject()).to_owned()
/// }
///
/// let auth = Authenticator::new("orders");
/// let app: Router =
///     Router::new().route("/orders", post(create)).layer(AuthLayer::new(auth.clone())).with_state(auth);
/// # let _ = app;
/// ```
pub struct Permit<R> {
    principal: Option<Principal>,
    required: PhantomData<fn() -> R>,
}

impl<R> Permit<R> {
    /// Who calls; nobody only if the requirement is for anyone or is not enforced.
    #[must_use]
    pub const fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }
}

impl<R> fmt::Debug for Permit<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("principal", &self.principal).finish()
    }
}

/// Answer to a caller who lacks what a [`Permit`] requires.
#[derive(Debug)]
pub struct NotPermitted {
    dialect: HttpDialect,
    rejection: Box<Rejection>,
}

impl IntoResponse for NotPermitted {
    fn into_response(self) -> Response {
        render(self.dialect, *self.rejection)
    }
}

impl<S, R> FromRequestParts<S> for Permit<R>
where
    S: Send + Sync,
    R: Requires,
    Authenticator: FromRef<S>,
{
    type Rejection = NotPermitted;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, NotPermitted> {
        let principal = parts.extensions.get::<Principal>();
        let guarded =
            Authenticator::from_ref(state).guard(&Asked::parts(parts), principal, R::requirement());
        match guarded {
            Ok(()) => Ok(Self { principal: principal.cloned(), required: PhantomData }),
            Err(rejection) => {
                let dialect = HttpDialect::of(&parts.headers);
                Err(NotPermitted { dialect, rejection })
            }
        }
    }
}
