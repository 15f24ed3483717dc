use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{
    Clock, ConfigError, Engine, Live, Mode, Principal, Rejection, Snapshot, Switch,
};
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::audit::{AuditDecision, AuditStage};
use crate::challenge::challenge;
use crate::hooks::{Asked, Hooks};
use crate::identify::{Found, Identified, Schemes};
use crate::observe::{self, Counts, Passed};
use crate::scheme::{Later, Way};
use crate::{Attempts, Audit, Denial, Denylist, Fault, Settings};

/// Finds out who calls. Cheap to clone; clones are one authenticator.
///
/// Its switch is for everyone: a mode that is given to a fraction of the keys holds for all, since
/// chance must not decide whether a door is locked. Who [decides](Switch::decide) for each request is
/// asked, here and by the guards, which may stand where more is known of it. In [`Mode::Shadow`] and [`Mode::Off`] nobody is
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
    hooks: Hooks,
    /// Where this resource says which issuers it trusts (RFC 9728).
    metadata: Option<String>,
    counts: Counts,
}

/// A decision that was made, or what it waits for.
pub(crate) enum Deciding {
    Now(Decision),
    Later(Later<Found>),
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
        Self::build(Shared {
            name: name.into(),
            schemes: Schemes::default(),
            clock: Clock::system(),
            switch: Switch::default(),
            settings: Live::new(Settings::default()),
            hooks: Hooks::default(),
            metadata: None,
            counts: Counts::default(),
        })
    }

    fn build(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// The same with a change, and counts of its own.
    fn changed(self, change: impl FnOnce(&mut Shared)) -> Self {
        let Shared { name, schemes, clock, switch, settings, hooks, metadata, .. } = &*self.shared;
        let mut shared = Shared {
            name: name.clone(),
            schemes: schemes.clone(),
            clock: clock.clone(),
            switch: switch.clone(),
            settings: Live::new(**settings.load()),
            hooks: hooks.clone(),
            metadata: metadata.clone(),
            counts: Counts::default(),
        };
        change(&mut shared);
        Self::build(shared)
    }

    /// Starts over with another way to be let in: a [`Scheme`](crate::Scheme), or several at once
    /// ([`AllOf`](crate::AllOf)). One way is enough; they are asked in the order in which they were
    /// added.
    pub fn scheme(self, scheme: impl Into<Way>) -> Self {
        self.changed(|shared| shared.schemes.add(scheme.into()))
    }

    /// Starts over with these settings.
    pub fn settings(self, settings: Settings) -> Self {
        self.changed(|shared| shared.settings = Live::new(settings))
    }

    /// Starts over with this clock.
    pub fn clock(self, clock: Clock) -> Self {
        self.changed(|shared| shared.clock = clock)
    }

    /// Starts over with this switch, as one that a flag turns.
    pub fn switched_by(self, switch: Switch) -> Self {
        self.changed(|shared| shared.switch = switch)
    }

    /// Starts over with challenges by Bearer that say where to learn which issuers are trusted: the
    /// address of this resource's metadata (RFC 9728 §5.1).
    pub fn resource_metadata(self, url: impl Into<String>) -> Self {
        self.changed(|shared| shared.metadata = Some(url.into()))
    }

    /// Starts over with attempts counted, lest somebody guess.
    pub fn attempts(self, attempts: Attempts) -> Self {
        self.changed(|shared| shared.hooks.attempts = Some(attempts))
    }

    /// Starts over with a trail of who was let in and turned away, by guards too.
    pub fn audit(self, audit: Audit) -> Self {
        self.changed(|shared| shared.hooks.audit = Some(audit))
    }

    /// Starts over with a list of what is good no longer.
    pub fn denylist(self, denylist: Denylist) -> Self {
        self.changed(|shared| shared.hooks.denylist = Some(denylist))
    }

    /// Decides on a request by its method and fields, and counts it. Waits only if a scheme does.
    pub async fn decide(&self, method: &Method, headers: &HeaderMap) -> Decision {
        let asked = Asked { method, uri: None, headers, address: None };
        match self.start(&asked) {
            Deciding::Now(decision) => decision,
            Deciding::Later(found) => self.settle(&asked, found.await),
        }
    }

    /// Decides if that can be done at once.
    pub(crate) fn start(&self, asked: &Asked<'_>) -> Deciding {
        let Shared { schemes, counts, clock, settings, hooks, .. } = &*self.shared;
        let mode = self.mode();
        if mode == Mode::Off {
            return Deciding::Now(Decision::Off);
        }
        if self.passes_preflight(asked.method, asked.headers) {
            counts.preflight.add(1);
            return Deciding::Now(Decision::Anonymous);
        }
        let now = clock.unix();
        let optional = || settings.load().is_optional();
        match schemes.identify(asked, now, optional, hooks) {
            Identified::Now(found) => Deciding::Now(self.judge(asked, found, mode, now)),
            Identified::Later(found) => Deciding::Later(found),
        }
    }

    /// Decides by what was found out later.
    pub(crate) fn settle(&self, asked: &Asked<'_>, found: Found) -> Decision {
        self.judge(asked, found, self.mode(), self.unix())
    }

    /// Counts what was found out.
    fn judge(&self, asked: &Asked<'_>, found: Found, mode: Mode, now: Duration) -> Decision {
        let Shared { name, counts, settings, hooks, .. } = &*self.shared;
        let record = |decision, reason, principal| {
            let stage = (now, AuditStage::Authenticate);
            hooks.record(name, stage, asked, (decision, reason), (principal, found.scheme), None);
        };
        match found.caller {
            Ok(Some(principal)) => {
                counts.passed(Passed::Authenticated);
                record(AuditDecision::Allowed, "authenticated", Some(&principal));
                Decision::Known(principal)
            }
            Ok(None) => {
                counts.passed(Passed::Anonymous);
                record(AuditDecision::Allowed, "anonymous", None);
                Decision::Anonymous
            }
            Err(denial) => {
                counts.denied(denial);
                if let Denial::Invalid(fault) = denial {
                    hooks.failed(asked, &found.guessed, fault);
                }
                if settings.load().forgives(denial) {
                    counts.passed(Passed::Anonymous);
                    record(AuditDecision::Allowed, denial.as_str(), None);
                    return Decision::Anonymous;
                }
                if mode == Mode::Shadow {
                    counts.shadow_refused.add(1);
                    record(AuditDecision::ShadowRefused, denial.as_str(), None);
                    return Decision::Anonymous;
                }
                counts.refused.add(1);
                observe::refused(name, denial);
                record(AuditDecision::Refused, denial.as_str(), None);
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
            Denial::Throttled(wait) => {
                return Rejection::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too_many_attempts",
                    "too many credentials that are not valid",
                )
                .retry_after(wait);
            }
            Denial::Invalid(_) => (StatusCode::UNAUTHORIZED, "invalid_token"),
            Denial::Missing => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        };
        let detail = match denial {
            Denial::Ambiguous => "credentials in more than one place",
            Denial::Invalid(fault) => fault.description(),
            Denial::Missing | Denial::Throttled(_) => "a credential is required",
        };
        // Who sent none is told no error (RFC 6750 §3.1).
        let parameters = [("error", code), ("error_description", detail)];
        let shown = if denial == Denial::Missing { &[][..] } else { &parameters };
        self.challenged(Rejection::new(status, code, detail), shown)
    }

    /// Adds a challenge by each scheme; what is wrong is said in the terms of Bearer only.
    pub(crate) fn challenged(
        &self,
        mut rejection: Rejection,
        parameters: &[(&str, &str)],
    ) -> Rejection {
        for challenge in self.challenges(parameters) {
            rejection = rejection.field(WWW_AUTHENTICATE, challenge);
        }
        rejection
    }

    /// Adds the challenges to an answer of the service's own that lacks them, though 401 must have
    /// one (RFC 9110 §15.5.2).
    pub(crate) fn complete<B>(&self, response: &mut Response<B>) {
        let status = response.status();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED && !headers.contains_key(WWW_AUTHENTICATE) {
            for challenge in self.challenges(&[]) {
                headers.append(WWW_AUTHENTICATE, challenge);
            }
        }
    }

    fn challenges(&self, parameters: &[(&str, &str)]) -> Vec<HeaderValue> {
        let Shared { name: realm, schemes, metadata, .. } = &*self.shared;
        let metadata = metadata.as_deref().map(|url| ("resource_metadata", url));
        let told: Vec<_> = parameters.iter().copied().chain(metadata).collect();
        let of = |scheme: &&'static str| {
            let shown = if *scheme == "Bearer" { &*told } else { &[] };
            challenge(scheme, realm, shown)
        };
        schemes.names().iter().map(of).collect()
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

    /// The mode for the request at hand.
    pub(crate) fn mode(&self) -> Mode {
        self.shared.switch.mode_for_all()
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// True if it matters where a request comes from.
    pub(crate) fn wants_addresses(&self) -> bool {
        self.shared.hooks.attempts.is_some()
    }

    pub(crate) fn unix(&self) -> Duration {
        self.shared.clock.unix()
    }

    /// Leaves a trail of what a guard decided.
    pub(crate) fn record(
        &self,
        stage: AuditStage,
        asked: &Asked<'_>,
        (decision, reason): (AuditDecision, &'static str),
        principal: Option<&Principal>,
        requirement: impl FnOnce() -> String,
    ) {
        let Shared { name, hooks, .. } = &*self.shared;
        if hooks.audit.as_ref().is_some_and(|audit| audit.wants(decision)) {
            let stage = (self.unix(), stage);
            let requirement = requirement();
            let what = (decision, reason);
            hooks.record(name, stage, asked, what, (principal, None), Some(&requirement));
        }
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
        let Shared { schemes, counts, hooks, clock, .. } = &*self.shared;
        let snapshot = Snapshot::new(self.name(), self.kind(), self.shared.switch.setting().0);
        let snapshot = observe::hooks(hooks, clock.unix(), counts.describe(snapshot));
        schemes.describe(snapshot)
    }

    fn current_settings(&self) -> serde_json::Value {
        serde_json::to_value(**self.shared.settings.load()).unwrap_or_default()
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
