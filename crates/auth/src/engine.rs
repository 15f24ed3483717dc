use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{
    Clock, ConfigError, Engine, Live, Mode, Principal, Rejection, Snapshot, Switch,
};
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};

use crate::challenge::challenge;
use crate::identify::{Identified, Schemes};
use crate::observe::{self, Counts};
use crate::scheme::{Later, Way};
use crate::{Denial, Fault, Settings};

/// Finds out who calls. Cheap to clone; clones are one authenticator.
///
/// Its switch is for everyone: a mode that is given to a fraction of the keys holds for all, since
/// chance must not decide whether a door is locked. In [`Mode::Shadow`] and [`Mode::Off`] nobody is
/// turned away, neither here nor by the guards ([`RequireLayer`](crate::RequireLayer)) of the same
/// authenticator.
#[derive(Clone, Debug)]
#[must_use]
pub struct Authenticator {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    schemes: Schemes,
    clock: Clock,
    switch: Switch,
    settings: Live<Settings>,
    counts: Counts,
}

/// A decision that was made, or takes its time.
pub(crate) enum Deciding {
    Now(Decision),
    Later(Later<Decision>),
}

/// What to do with a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Decision {
    /// Let it pass without a principal.
    Anonymous,
    /// Let it pass: this is who calls.
    Known(Principal),
    /// Leave it as it is: the authenticator is off.
    Off,
    /// Turn it away.
    Refused(Denial),
}

impl Authenticator {
    /// Creates an authenticator without schemes, which lets nobody in. Operators and challenges
    /// (as the realm) know it as `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self::build(
            name.into(),
            Schemes::default(),
            Clock::system(),
            Switch::default(),
            Settings::default(),
        )
    }

    fn build(
        name: String,
        schemes: Schemes,
        clock: Clock,
        switch: Switch,
        settings: Settings,
    ) -> Self {
        let (settings, counts) = (Live::new(settings), Counts::default());
        Self { shared: Arc::new(Shared { name, schemes, clock, switch, settings, counts }) }
    }

    /// Starts over with another way to be let in: a [`Scheme`](crate::Scheme), or several at once
    /// ([`AllOf`](crate::AllOf)). One way is enough; they are asked in the order in which they were
    /// added.
    pub fn scheme(self, scheme: impl Into<Way>) -> Self {
        let Shared { name, schemes, clock, switch, settings, .. } = &*self.shared;
        let schemes = schemes.clone().with(scheme.into());
        Self::build(name.clone(), schemes, clock.clone(), switch.clone(), **settings.load())
    }

    /// Starts over with these settings.
    pub fn settings(self, settings: Settings) -> Self {
        let Shared { name, schemes, clock, switch, .. } = &*self.shared;
        Self::build(name.clone(), schemes.clone(), clock.clone(), switch.clone(), settings)
    }

    /// Starts over with this clock.
    pub fn clock(self, clock: Clock) -> Self {
        let Shared { name, schemes, switch, settings, .. } = &*self.shared;
        Self::build(name.clone(), schemes.clone(), clock, switch.clone(), **settings.load())
    }

    /// Starts over with this switch, as one that a flag turns.
    pub fn switched_by(self, switch: Switch) -> Self {
        let Shared { name, schemes, clock, settings, .. } = &*self.shared;
        Self::build(name.clone(), schemes.clone(), clock.clone(), switch, **settings.load())
    }

    /// Decides on a request by its method and fields, and counts it. Waits only if a scheme does.
    pub async fn decide(&self, method: &Method, headers: &HeaderMap) -> Decision {
        match self.start(method, headers) {
            Deciding::Now(decision) => decision,
            Deciding::Later(deciding) => deciding.await,
        }
    }

    /// Decides if that can be done at once.
    pub(crate) fn start(&self, method: &Method, headers: &HeaderMap) -> Deciding {
        let Shared { schemes, counts, clock, settings, .. } = &*self.shared;
        let mode = self.mode();
        if mode == Mode::Off {
            return Deciding::Now(Decision::Off);
        }
        if self.passes_preflight(method, headers) {
            counts.preflight.add(1);
            return Deciding::Now(Decision::Anonymous);
        }
        match schemes.identify(headers, clock.unix(), settings.load().is_optional()) {
            Identified::Now(found) => Deciding::Now(self.conclude(found, mode)),
            Identified::Later(answer) => {
                let this = self.clone();
                Deciding::Later(Box::pin(async move { this.conclude(answer.await, mode) }))
            }
        }
    }

    /// Counts what was found out.
    fn conclude(&self, found: Result<Option<Principal>, Denial>, mode: Mode) -> Decision {
        let Shared { name, counts, settings, .. } = &*self.shared;
        match found {
            Ok(Some(principal)) => {
                counts.authenticated.add(1);
                Decision::Known(principal)
            }
            Ok(None) => {
                counts.anonymous.add(1);
                Decision::Anonymous
            }
            Err(denial) => {
                counts.denied(denial);
                if settings.load().forgives(denial) {
                    counts.anonymous.add(1);
                    return Decision::Anonymous;
                }
                if mode == Mode::Shadow {
                    counts.shadow_refused.add(1);
                    return Decision::Anonymous;
                }
                counts.refused.add(1);
                observe::refused(name, denial);
                Decision::Refused(denial)
            }
        }
    }

    /// Says to a caller why it was turned away, and how to prove who it is.
    #[must_use]
    pub fn rejection(&self, denial: Denial) -> Rejection {
        let (status, code) = match denial {
            Denial::Ambiguous => (StatusCode::BAD_REQUEST, "invalid_request"),
            Denial::Invalid(Fault::Unavailable) => {
                return Rejection::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "auth_unavailable",
                    Fault::Unavailable.description(),
                )
                .retry_after(Duration::from_secs(5));
            }
            Denial::Invalid(_) => (StatusCode::UNAUTHORIZED, "invalid_token"),
            Denial::Missing => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        };
        let detail = match denial {
            Denial::Ambiguous => "credentials in more than one place",
            Denial::Invalid(fault) => fault.description(),
            Denial::Missing => "a credential is required",
        };
        // Who sent none is told no error (RFC 6750 §3.1).
        let parameters = [("error", code), ("error_description", detail)];
        let shown = if denial == Denial::Missing { &[][..] } else { &parameters };
        self.challenged(Rejection::new(status, code, detail), shown)
    }

    /// Adds a challenge by each scheme; what is wrong is said in the terms of Bearer only.
    fn challenged(&self, mut rejection: Rejection, parameters: &[(&str, &str)]) -> Rejection {
        let Shared { name: realm, schemes, .. } = &*self.shared;
        for &scheme in schemes.names() {
            let shown = if scheme == "Bearer" { parameters } else { &[] };
            rejection = rejection.field(WWW_AUTHENTICATE, challenge(scheme, realm, shown));
        }
        rejection
    }

    /// Decides at a guard, and counts it. `allowed` is asked only if there is a principal.
    pub(crate) fn guard(
        &self,
        principal: Option<&Principal>,
        allowed: impl FnOnce(&Principal) -> bool,
        scopes: &str,
    ) -> Result<(), Box<Rejection>> {
        let Shared { name, counts, .. } = &*self.shared;
        let mode = self.mode();
        if mode == Mode::Off {
            return Ok(());
        }
        let known = principal.is_some();
        if principal.is_some_and(allowed) {
            counts.guard_allowed.add(1);
            return Ok(());
        }
        if mode == Mode::Shadow {
            counts.guard_shadow_refused.add(1);
            return Ok(());
        }
        counts.guard_refused.add(1);
        if !known {
            observe::refused(name, Denial::Missing);
            return Err(Box::new(self.rejection(Denial::Missing)));
        }
        observe::forbidden(name);
        let (code, detail) = ("insufficient_scope", "the caller may not do this");
        let parameters = [("error", code), ("scope", scopes)];
        let shown = if scopes.is_empty() { &parameters[..1] } else { &parameters };
        Err(Box::new(self.challenged(Rejection::new(StatusCode::FORBIDDEN, code, detail), shown)))
    }

    /// True for a CORS preflight, if those pass.
    pub(crate) fn passes_preflight(&self, method: &Method, headers: &HeaderMap) -> bool {
        method == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            && self.shared.settings.load().passes_preflight()
    }

    /// Removes the fields that hold credentials.
    pub(crate) fn strip(&self, headers: &mut HeaderMap) {
        for field in self.shared.schemes.fields() {
            headers.remove(field);
        }
    }

    fn mode(&self) -> Mode {
        self.shared.switch.setting().0
    }
}

impl Engine for Authenticator {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn kind(&self) -> &'static str {
        "auth"
    }

    fn switch(&self) -> &Switch {
        &self.shared.switch
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot::new(self.name(), self.kind(), self.mode());
        self.shared.schemes.describe(self.shared.counts.describe(snapshot))
    }

    fn apply(&self, settings: serde_json::Value) -> Result<(), ConfigError> {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| {
            ConfigError::new("auth", error.to_string(), "see `bartizan_auth::Settings`")
        })?;
        self.shared.settings.store(settings);
        observe::settings_changed(&self.shared.name);
        Ok(())
    }
}
