use bartizan_core::Http;
use http::HeaderName;
use tower_layer::Layer;

use crate::admit::Admission;
use crate::forward::Forward;
use crate::{Auth, Authenticator};

/// [`Layer`] that applies [`Auth`].
///
/// If the service itself answers 401 to a request without a principal, and without a challenge, the
/// authenticator's are added, since one there must be (RFC 9110 §15.5.2).
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct AuthLayer {
    admission: Admission,
}

impl AuthLayer {
    /// Creates a layer for HTTP and gRPC that asks `authenticator`.
    pub fn new(authenticator: Authenticator) -> Self {
        let (http, forward) = (Http::new(), Forward::default());
        Self { admission: Admission { authenticator, http, strip: false, forward } }
    }

    /// Sets how refusals are rendered.
    pub fn http(mut self, http: Http) -> Self {
        self.admission.http = http;
        self
    }

    /// Keeps credentials from the service: the fields that could hold one are removed from every
    /// request that passes, also while the authenticator is off.
    pub fn strip_credentials(mut self) -> Self {
        self.admission.strip = true;
        self
    }

    /// Tells the service of the caller in a request field: what is in `claim`, which is `sub`,
    /// `scope`, `roles`, `tenant`, the name of a claim, or a JSON pointer as `/org/id`. Lists are
    /// joined by spaces, without items that hold white space, which would look like several.
    ///
    /// What came in that field from outside is removed in any case, also from requests without a
    /// principal, and what came under a name that differs only by `_` for `-`, which many a server
    /// takes for the same. A text that cannot stand in a field is not told: one that holds other
    /// characters than those of ASCII that can be seen, and spaces and tabs. The field is then missing,
    /// as without a principal: ask for a `sub` of that kind in the request's extensions instead.
    pub fn forward(mut self, claim: &str, field: HeaderName) -> Self {
        self.admission.forward = self.admission.forward.told(claim, field);
        self
    }

    /// Removes a request field that only those further in may write, as `x-user-id`, and those whose
    /// names differ from it only by `_` for `-`.
    pub fn remove(mut self, field: HeaderName) -> Self {
        self.admission.forward = self.admission.forward.removed(field);
        self
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth { inner, admission: self.admission.clone() }
    }
}
