use std::time::Duration;

use bartizan_core::{Principal, Snapshot};
use http::{HeaderMap, HeaderName};

use crate::hooks::{Asked, Hooks};
use crate::scheme::{Later, Step, Way};
use crate::{Denial, Fault, Verdict};

/// The ways to be let in, of which one is enough.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schemes {
    ways: Vec<Way>,
    /// Every field that any of them takes, once.
    fields: Vec<HeaderName>,
    /// Every name that challenges are to hold, once.
    names: Vec<&'static str>,
}

/// Who calls, or nobody, or why it is refused; known, or still to be found out.
pub(crate) enum Identified {
    Now(Found),
    Later(Later<Found>),
}

/// Who calls, if it is known who, and the name of the scheme that says so.
pub(crate) struct Found {
    pub(crate) caller: Result<Option<Principal>, Denial>,
    pub(crate) scheme: Option<&'static str>,
}

impl Found {
    /// What is said without a look at a credential.
    const fn at_once(caller: Result<Option<Principal>, Denial>) -> Self {
        Self { caller, scheme: None }
    }

    fn known(principal: Principal, scheme: &'static str) -> Self {
        Self { caller: Ok(Some(principal)), scheme: Some(scheme) }
    }

    fn denied((fault, scheme): (Fault, &'static str)) -> Self {
        Self { caller: Err(Denial::Invalid(fault)), scheme: Some(scheme) }
    }
}

impl Schemes {
    pub(crate) fn add(&mut self, way: Way) {
        for scheme in way.schemes() {
            if !self.fields.contains(scheme.field()) {
                self.fields.push(scheme.field().clone());
            }
            if !self.names.contains(&scheme.name()) {
                self.names.push(scheme.name());
            }
        }
        self.ways.push(way);
    }

    pub(crate) fn fields(&self) -> &[HeaderName] {
        &self.fields
    }

    pub(crate) fn names(&self) -> &[&'static str] {
        &self.names
    }

    pub(crate) fn describe(&self, snapshot: Snapshot) -> Snapshot {
        let schemes = self.ways.iter().flat_map(Way::schemes).enumerate();
        schemes.fold(snapshot, |snapshot, (place, scheme)| {
            scheme.describe(&place.to_string(), snapshot)
        })
    }

    /// The part of a credential that is no secret, of the last scheme that knows one.
    pub(crate) fn id<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        self.ways.iter().rev().find_map(|way| way.ids(headers).last())
    }

    /// Who proves to be who at `now`; nobody if that is allowed.
    pub(crate) fn identify(
        &self,
        asked: &Asked<'_>,
        now: Duration,
        optional: impl FnOnce() -> bool,
        hooks: &Hooks,
    ) -> Identified {
        let headers = asked.headers;
        let presented = match self.presented(headers) {
            Ok(0) => {
                let caller = if optional() { Ok(None) } else { Err(Denial::Missing) };
                return Identified::Now(Found::at_once(caller));
            }
            Ok(presented) => presented,
            Err(denial) => return Identified::Now(Found::at_once(Err(denial))),
        };
        let mut furthest = None;
        // Nothing that came may be left unlooked at: a second opinion would be a second identity.
        let open = |way: &&Way| way.fields() == presented && way.is_open(headers);
        let mut ways = self.ways.iter().filter(open);
        while let Some(way) = ways.next() {
            if let Err(denial) = hooks.admit_all(asked, way) {
                return Identified::Now(Found::at_once(Err(denial)));
            }
            let verdict = match way.verify(headers, now) {
                Verdict::Now(found) => found.and_then(|found| hooks.check(found, now)),
                Verdict::Later(answer) => {
                    let rest = ways.map(|way| (way.name(), way.steps(headers))).collect();
                    let found = later(furthest, (way.name(), answer), rest, now, hooks.clone());
                    return Identified::Later(Box::pin(found));
                }
            };
            match verdict {
                Ok(principal) => return Identified::Now(Found::known(principal, way.name())),
                Err(fault) => furthest = furthest.max(Some((fault, way.name()))),
            }
        }
        Identified::Now(match furthest {
            Some(furthest) => Found::denied(furthest),
            None if self.falls_short(headers) => Found::at_once(Err(Denial::Missing)),
            None => Found::at_once(Err(Denial::Ambiguous)),
        })
    }

    /// In how many fields there is a credential. Two in one are one too many (RFC 6750 §2).
    fn presented(&self, headers: &HeaderMap) -> Result<usize, Denial> {
        let mut presented = 0;
        for field in &self.fields {
            let mut values = headers.get_all(field).iter();
            let Some(value) = values.next() else { continue };
            if values.next().is_some() {
                return Err(Denial::Ambiguous);
            }
            let mut schemes = self.ways.iter().flat_map(Way::schemes);
            let fits =
                schemes.any(|scheme| scheme.field() == field && scheme.credential(value).is_some());
            presented += usize::from(fits);
        }
        Ok(presented)
    }

    /// True if what came would do as a part of one of the ways.
    fn falls_short(&self, headers: &HeaderMap) -> bool {
        let came = || self.fields.iter().filter(|field| headers.contains_key(*field));
        self.ways.iter().any(|way| came().all(|field| way.takes(field)))
    }
}

/// Waits for `answer`, and asks the `rest` as long as nobody is known.
async fn later(
    mut furthest: Option<(Fault, &'static str)>,
    (mut name, answer): (&'static str, Later<Result<Principal, Fault>>),
    rest: Vec<(&'static str, Vec<Step>)>,
    now: Duration,
    hooks: Hooks,
) -> Found {
    let mut found = answer.await;
    for (next, steps) in rest {
        match found.and_then(|found| hooks.check(found, now)) {
            Ok(principal) => return Found::known(principal, name),
            Err(fault) => furthest = furthest.max(Some((fault, name))),
        }
        found = Step::all(steps, now).await;
        name = next;
    }
    match found.and_then(|found| hooks.check(found, now)) {
        Ok(principal) => Found::known(principal, name),
        Err(fault) => Found::denied(furthest.unwrap_or((fault, name)).max((fault, name))),
    }
}
