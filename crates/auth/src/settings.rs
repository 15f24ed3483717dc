use serde::{Deserialize, Serialize};

/// What an [`Authenticator`](crate::Authenticator) can be told, also while it runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Settings {
    /// Requests without a credential pass, without a principal.
    optional: bool,
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

    /// Lets CORS preflights pass, which browsers send without credentials: `OPTIONS` with `Origin`
    /// and `Access-Control-Request-Method`. Something further in, as tower-http's `CorsLayer`,
    /// must answer them; a handler of `OPTIONS` must do nothing that needs a caller.
    pub const fn preflight(mut self, pass: bool) -> Self {
        self.preflight = pass;
        self
    }

    pub(crate) const fn is_optional(self) -> bool {
        self.optional
    }

    pub(crate) const fn passes_preflight(self) -> bool {
        self.preflight
    }
}
