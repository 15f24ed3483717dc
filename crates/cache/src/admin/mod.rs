//! Purges over HTTP.

mod future;
mod order;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bartizan_core::{ConfigError, Principal};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tower_service::Service;

pub use self::future::{PurgeBody, PurgeFuture};
use crate::ResponseCache;

/// A token that is shorter can be guessed.
const MIN_TOKEN: usize = 16;

/// A service that purges a cache, for operators and for the systems that change what is cached.
///
/// It takes POST requests with one of these documents, each with `"soft": true` if it shall be
/// soft, and answers `204 No Content`:
///
/// ```json
/// {"uri": "https://example.test/prices"}
/// {"prefix": "https://example.test/products/"}
/// {"tag": "prices", "soft": true}
/// {"group": {"origin": "https://example.test", "name": "prices"}}
/// {"all": true}
/// ```
///
/// Put it where clients do not get to by chance, beside the metrics. On an axum router:
///
/// ```
/// use axum::Router;
/// use bartizan_cache::{PurgeAdmin, ResponseCache};
///
/// # fn main() -> Result<(), bartizan_cache::ConfigError> {
/// let cache = ResponseCache::new("pages");
/// # let token = "c0ffee-c0ffee-c0ffee";
/// let admin = PurgeAdmin::with_token(cache, token)?;
/// let app: Router = Router::new().route_service("/admin/purge", admin);
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PurgeAdmin {
    cache: ResponseCache,
    guard: Arc<Guard>,
}

enum Guard {
    Scope(String),
    /// The token's digest: comparing takes as long for any guess.
    Token([u8; 32]),
}

impl PurgeAdmin {
    /// Lets in who presents this token: `Authorization: Bearer <token>`.
    ///
    /// # Errors
    ///
    /// If the token has fewer than 16 characters.
    pub fn with_token(cache: ResponseCache, token: &str) -> Result<Self, ConfigError> {
        if token.len() < MIN_TOKEN {
            let fix = "draw 16 or more characters at random";
            return Err(ConfigError::new("token", "too short to be a secret", fix));
        }
        let guard = Arc::new(Guard::Token(Sha256::digest(token).into()));
        Ok(Self { cache, guard })
    }

    /// Lets in callers whose [`Principal`], as an auth layer around this service found it, has this
    /// scope.
    pub fn with_scope(cache: ResponseCache, scope: impl Into<String>) -> Self {
        Self { cache, guard: Arc::new(Guard::Scope(scope.into())) }
    }

    fn admits<R>(&self, request: &Request<R>) -> bool {
        match &*self.guard {
            Guard::Scope(scope) => {
                request.extensions().get::<Principal>().is_some_and(|who| who.has_scope(scope))
            }
            Guard::Token(digest) => {
                let mut values = request.headers().get_all(AUTHORIZATION).iter();
                let (Some(value), None) = (values.next(), values.next()) else { return false };
                let Some((scheme, token)) = value.as_bytes().split_at_checked(7) else {
                    return false;
                };
                let presented: [u8; 32] = Sha256::digest(token).into();
                scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(presented.ct_eq(digest))
            }
        }
    }
}

impl<R> Service<Request<R>> for PurgeAdmin
where
    R: Body<Data = Bytes>,
{
    type Response = Response<PurgeBody>;
    type Error = Infallible;
    type Future = PurgeFuture<R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        if !self.admits(&request) {
            return PurgeFuture::refused(StatusCode::UNAUTHORIZED);
        }
        if request.method() != Method::POST {
            return PurgeFuture::refused(StatusCode::METHOD_NOT_ALLOWED);
        }
        PurgeFuture::reading(self.cache.clone(), request.into_body())
    }
}

impl fmt::Debug for PurgeAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PurgeAdmin").field("cache", &self.cache).finish_non_exhaustive()
    }
}
