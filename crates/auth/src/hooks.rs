use std::time::Duration;

use bartizan_core::{Key, Principal};
use http::{HeaderMap, Method, Request, Uri, request};

use crate::audit::{Audit, AuditDecision, AuditEvent, AuditStage};
use crate::scheme::Way;
use crate::{Attempts, Denial, Denylist, Fault};

/// What an authenticator asks and tells beside its schemes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hooks {
    pub(crate) attempts: Option<Attempts>,
    pub(crate) audit: Option<Audit>,
    pub(crate) denylist: Option<Denylist>,
}

/// What the hooks are told of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: Option<&'a Uri>,
    pub(crate) headers: &'a HeaderMap,
    /// The client's address, as a key.
    pub(crate) address: Option<Key>,
}

impl<'a> Asked<'a> {
    pub(crate) fn of<B>(request: &'a Request<B>) -> Self {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        Self { method, uri: Some(uri), headers, address: None }
    }

    pub(crate) const fn parts(parts: &'a request::Parts) -> Self {
        let request::Parts { method, uri, headers, .. } = parts;
        Self { method, uri: Some(uri), headers, address: None }
    }

    pub(crate) const fn at_address(mut self, address: Option<Key>) -> Self {
        self.address = address;
        self
    }
}

impl Hooks {
    /// Whether the credentials for this way may be tried at all.
    pub(crate) fn admit_all(&self, asked: &Asked<'_>, way: &Way) -> Result<(), Denial> {
        let Some(attempts) = &self.attempts else { return Ok(()) };
        let by_id = way.ids(asked.headers).map(|id| attempts.wait(None, Some(id)));
        let wait = by_id.chain([attempts.wait(asked.address, None)]).flatten().max();
        wait.map_or(Ok(()), |wait| Err(Denial::Throttled(wait)))
    }

    /// Takes note of a credential that proved nothing.
    pub(crate) fn failed(&self, asked: &Asked<'_>, id: Option<&[u8]>, fault: Fault) {
        if let Some(attempts) = self.attempts.as_ref().filter(|_| fault.is_guess()) {
            attempts.failed(asked.address, id);
        }
    }

    /// Whether a credential that proved something still counts.
    pub(crate) fn check(&self, found: Principal, now: Duration) -> Result<Principal, Fault> {
        match &self.denylist {
            Some(denylist) => denylist.check(&found, now).map(|()| found),
            None => Ok(found),
        }
    }

    pub(crate) fn record(
        &self,
        engine: &str,
        (at, stage): (Duration, AuditStage),
        asked: &Asked<'_>,
        (decision, reason): (AuditDecision, &'static str),
        (principal, scheme): (Option<&Principal>, Option<&'static str>),
        requirement: Option<&str>,
    ) {
        let Some(audit) = &self.audit else { return };
        if !audit.wants(decision) {
            return;
        }
        audit.record(AuditEvent {
            at,
            engine: engine.to_owned(),
            stage,
            decision,
            reason,
            scheme,
            principal: principal.cloned(),
            requirement: requirement.map(str::to_owned),
            method: asked.method.clone(),
            path: asked.uri.map_or("", Uri::path).to_owned(),
            request_id: audit.request_id(asked.headers),
        });
    }
}
