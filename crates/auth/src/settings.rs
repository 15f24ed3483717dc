use serde::{Deserialize, Serialize};

use crate::{Denial, Fault};

/// What an [`Authenticator`](crate::Authenticator) can be told, also while it runs.
///
/// As JSON, what is left out is false:
///
/// ```
/// use bartizan_auth::{Authenticator, Engine};
///
/// let auth = Authenticator::new("api");
/// auth.apply(serde_json::json!({"optional": true, "preflight": true}))?;
/// # Ok::<(), bartizan_auth::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Settings {
    /// Requests without a credential pass, without a principal.
    optional: bool,
    /// So do requests whose credential is not valid.
    optional_or_failed: bool,
    /// CORS preflights pass.
    preflight: bool,
}

impl Settings {
    /// Lets requests without a credential pass, without a principal. One whose credential is not
    /// valid is still turned away.
    pub const fn optional(mut self, optional: bool) -> Self {
        self.optional = optional;
        self
    }

    /// Lets requests pass, without a principal, even if their credential is not valid: for what
    /// everyone may see, and some see more of. What cannot be checked at the moment is still
    /// answered with 503, and credentials in two places with 400.
    pub const fn optional_or_failed(mut self, pass: bool) -> Self {
        self.optional_or_failed = pass;
        self
    }

    /// Lets CORS preflights pass, which browsers send without credentials: `OPTIONS` with `Origin`
    /// and `Access-Control-Request-Method`. Something further in, as tower-http's `CorsLayer`,
    /// must answer them; a handler of `OPTIONS` must do nothing that needs a caller.
    pub const fn preflight(mut self, pass: bool) -> Self {
        self.preflight = pass;
        self
    }

    pub(crate) const fn is_optional(self) -> bool {
        self.optional || self.optional_or_failed
    }

    /// True if a request passes in spite of this.
    pub(crate) fn forgives(self, denial: Denial) -> bool {
        self.optional_or_failed
            && matches!(denial, Denial::Invalid(fault) if fault != Fault::Unavailable)
    }

    pub(crate) const fn passes_preflight(self) -> bool {
        self.preflight
    }
}
