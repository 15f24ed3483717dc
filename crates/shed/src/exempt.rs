use std::sync::Arc;

use http::Request;

/// Tells which requests are always served, and not counted.
pub trait Exempt<Req> {
    /// True if `request` is always served.
    fn is_exempt(&self, request: &Req) -> bool;
}

/// Requests to certain paths, compared whole, are exempt.
#[derive(Clone, Debug)]
pub struct ExemptPaths(pub(crate) Arc<[String]>);

impl<B> Exempt<Request<B>> for ExemptPaths {
    fn is_exempt(&self, request: &Request<B>) -> bool {
        self.0.iter().any(|path| path == request.uri().path())
    }
}

impl<F, Req> Exempt<Req> for F
where
    F: Fn(&Req) -> bool,
{
    fn is_exempt(&self, request: &Req) -> bool {
        self(request)
    }
}
