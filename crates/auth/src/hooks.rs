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
        let keys = way.ids(asked.headers).map(by_id).chain(asked.address.map(by_address));
        let wait = keys.filter_map(|key| attempts.wait(key)).max();
        wait.map_or(Ok(()), |wait| Err(Denial::Throttled(wait)))
    }

    /// Takes note of a request by which nothing was proven, and of the parts that are no secrets of
    /// the credentials that may have been guesses.
    pub(crate) fn failed(&self, asked: &Asked<'_>, guessed: &[Key], fault: Fault) {
        let Some(attempts) = &self.attempts else { return };
        let address = asked.address.filter(|_| fault.is_guess()).map(by_address);
        guessed.iter().copied().map(by_id).chain(address).for_each(|key| attempts.failed(key));
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

/// What failures are counted under: an address and an id are never the same.
fn by_address(address: Key) -> Key {
    Key::of("address").and(address)
}

fn by_id(id: Key) -> Key {
    Key::of("credential").and(id)
}
