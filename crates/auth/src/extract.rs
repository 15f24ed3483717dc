use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use bartizan_core::{Http, HttpDialect, Principal, Protocol, Rejection};
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};

/// Extractor of who calls, as [`AuthLayer`](crate::AuthLayer) found out.
///
/// Without a principal the answer is 401; `Option<Caller>` takes anonymous requests too.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "handlers take it apart in their arguments")]
pub struct Caller(pub Principal);

/// Answer to a request without a principal.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct NoCaller;

impl IntoResponse for NoCaller {
    fn into_response(self) -> Response {
        let rejection =
            Rejection::new(StatusCode::UNAUTHORIZED, "unauthenticated", "a credential is required")
                .field(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"api\""));
        let http = Http::new();
        let refused: Result<http::Response<bartizan_core::ResponseBody<Body>>, Infallible> =
            Protocol::<Request<()>, Response, Infallible>::refuse(
                &http,
                HttpDialect::Problem,
                rejection,
            );
        let Ok(response) = refused;
        response.map(Body::new)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = NoCaller;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoCaller> {
        parts.extensions.get().cloned().map(Self).ok_or(NoCaller)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned().map(Self))
    }
}
