use std::time::Duration;

use bartizan_core::{Http, HttpDialect, Mode, Principal, Rejection};
use http::{Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::{Finding, Requirement, Ruling};
use crate::audit::{AuditDecision, AuditStage};
use crate::hooks::Asked;
use crate::observe::Passed;
use crate::{Authenticator, Denial, Fault, ResponseFuture, observe};

/// Calls `inner` if the caller is as `wanted`, or refuses.
#[inline]
pub(super) fn pass<S, B, R>(
    inner: &mut S,
    request: Request<B>,
    authenticator: &Authenticator,
    http: &Http,
    wanted: &Requirement,
) -> ResponseFuture<S::Future, R>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    match authenticator.check(&request, wanted) {
        Ok(()) => ResponseFuture::admitted(inner.call(request)),
        Err((dialect, rejection)) => ResponseFuture::refused(http, dialect, *rejection),
    }
}

impl Authenticator {
    fn check<B>(
        &self,
        request: &Request<B>,
        wanted: &Requirement,
    ) -> Result<(), (HttpDialect, Box<Rejection>)> {
        let principal = request.extensions().get::<Principal>();
        self.guard(&Asked::of(request), principal, wanted)
            .map_err(|rejection| (HttpDialect::of(request.headers()), rejection))
    }

    /// Decides at a guard, counts it, and leaves a trail.
    pub(crate) fn guard(
        &self,
        asked: &Asked<'_>,
        principal: Option<&Principal>,
        wanted: &Requirement,
    ) -> Result<(), Box<Rejection>> {
        if self.mode() == Mode::Off || self.passes_preflight(asked.method, asked.headers) {
            return Ok(());
        }
        let now = if wanted.is_timed() { self.unix() } else { Duration::ZERO };
        let (reason, rejection) = match wanted.judge(principal, now) {
            Finding::Met => ("met", None),
            Finding::Unknown => ("missing", Some(self.unknown())),
            Finding::StepUp => ("insufficient_user_authentication", Some(self.step_up(wanted))),
            Finding::Lacking => ("insufficient_scope", Some(self.lacking(&wanted.terms().scopes))),
        };
        let requirement = || wanted.to_string();
        self.conclude(asked, principal, reason, requirement, rejection)
    }

    /// Does what a policy of one's own ruled.
    pub(crate) fn enact(
        &self,
        asked: &Asked<'_>,
        principal: Option<&Principal>,
        ruling: Ruling,
    ) -> Result<(), Box<Rejection>> {
        let (reason, rejection) = match ruling {
            Ruling::Allow => ("met", None),
            Ruling::Forbid if principal.is_none() => ("missing", Some(self.unknown())),
            Ruling::Forbid => ("policy", Some(self.lacking(""))),
            Ruling::Hide => ("hidden", Some(Box::new(hidden()))),
            Ruling::Unavailable => {
                let rejection = self.rejection(Denial::Invalid(Fault::Unavailable));
                ("unavailable", Some(Box::new(rejection)))
            }
        };
        self.conclude(asked, principal, reason, || "policy".to_owned(), rejection)
    }

    fn conclude(
        &self,
        asked: &Asked<'_>,
        principal: Option<&Principal>,
        reason: &'static str,
        requirement: impl FnOnce() -> String,
        rejection: Option<Box<Rejection>>,
    ) -> Result<(), Box<Rejection>> {
        let counts = self.counts();
        let (decision, result) = match rejection {
            None => {
                counts.passed(Passed::Guard);
                (AuditDecision::Allowed, Ok(()))
            }
            Some(_) if self.mode() == Mode::Shadow => {
                counts.guard_shadow_refused.add(1);
                (AuditDecision::ShadowRefused, Ok(()))
            }
            Some(rejection) => {
                counts.guard_refused.add(1);
                observe::forbidden(bartizan_core::Engine::name(self), reason);
                (AuditDecision::Refused, Err(rejection))
            }
        };
        let stage = AuditStage::Authorize;
        self.record(stage, asked, (decision, reason), principal, requirement);
        result
    }

    fn unknown(&self) -> Box<Rejection> {
        Box::new(self.rejection(Denial::Missing))
    }

    fn lacking(&self, scopes: &str) -> Box<Rejection> {
        let (code, detail) = ("insufficient_scope", "the caller may not do this");
        let parameters = [("error", code), ("scope", scopes)];
        let shown = if scopes.is_empty() { &parameters[..1] } else { &parameters };
        let rejection = Rejection::new(StatusCode::FORBIDDEN, code, detail);
        Box::new(self.challenged(rejection, shown))
    }

    /// Says which login would do (RFC 9470 §3).
    fn step_up(&self, wanted: &Requirement) -> Box<Rejection> {
        let code = "insufficient_user_authentication";
        let detail = "a stronger or more recent login is required";
        let terms = wanted.terms();
        let mut parameters = vec![("error", code), ("error_description", detail)];
        if !terms.acr_values.is_empty() {
            parameters.push(("acr_values", &terms.acr_values));
        }
        if let Some(age) = &terms.max_age {
            parameters.push(("max_age", age));
        }
        let rejection = Rejection::new(StatusCode::UNAUTHORIZED, code, detail);
        Box::new(self.challenged(rejection, &parameters))
    }
}

/// As if there were nothing, for what must not be told apart from it.
fn hidden() -> Rejection {
    Rejection::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
}
