use bartizan_core::Http;
use tower_layer::Layer;

use crate::{Auth, Authenticator};

/// [`Layer`] that applies [`Auth`].
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct AuthLayer {
    authenticator: Authenticator,
    http: Http,
    strip: bool,
}

impl AuthLayer {
    /// Creates a layer for HTTP and gRPC that asks `authenticator`.
    pub const fn new(authenticator: Authenticator) -> Self {
        Self { authenticator, http: Http::new(), strip: false }
    }

    /// Sets how refusals are rendered.
    pub fn http(mut self, http: Http) -> Self {
        self.http = http;
        self
    }

    /// Keeps credentials from the service: the fields that could hold one are removed from every
    /// request that passes.
    pub const fn strip_credentials(mut self) -> Self {
        self.strip = true;
        self
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth {
            inner,
            authenticator: self.authenticator.clone(),
            http: self.http.clone(),
            strip: self.strip,
        }
    }
}
