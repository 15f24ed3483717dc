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

/// Who calls, if it is known who.
pub(crate) type Found = Result<Option<Principal>, Denial>;

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
                return Identified::Now(if optional() { Ok(None) } else { Err(Denial::Missing) });
            }
            Ok(presented) => presented,
            Err(denial) => return Identified::Now(Err(denial)),
        };
        let mut furthest = None;
        // Nothing that came may be left unlooked at: a second opinion would be a second identity.
        let open = |way: &&Way| way.fields() == presented && way.is_open(headers);
        let mut ways = self.ways.iter().filter(open);
        while let Some(way) = ways.next() {
            if let Err(denial) = hooks.admit_all(asked, way) {
                return Identified::Now(Err(denial));
            }
            let verdict = match way.verify(headers, now) {
                Verdict::Now(found) => found.and_then(|found| hooks.check(found, now)),
                Verdict::Later(answer) => {
                    let rest = ways.map(|way| way.steps(headers)).collect();
                    let found = later(furthest, answer, rest, now, hooks.clone());
                    return Identified::Later(Box::pin(found));
                }
            };
            match verdict {
                Ok(principal) => return Identified::Now(Ok(Some(principal))),
                Err(fault) => furthest = furthest.max(Some(fault)),
            }
        }
        Identified::Now(Err(match furthest {
            Some(fault) => Denial::Invalid(fault),
            None if self.falls_short(headers) => Denial::Missing,
            None => Denial::Ambiguous,
        }))
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
    mut furthest: Option<Fault>,
    answer: Later<Result<Principal, Fault>>,
    rest: Vec<Vec<Step>>,
    now: Duration,
    hooks: Hooks,
) -> Found {
    let mut found = answer.await;
    for steps in rest {
        match found.and_then(|found| hooks.check(found, now)) {
            Ok(principal) => return Ok(Some(principal)),
            Err(fault) => furthest = furthest.max(Some(fault)),
        }
        found = Step::all(steps, now).await;
    }
    match found.and_then(|found| hooks.check(found, now)) {
        Ok(principal) => Ok(Some(principal)),
        Err(fault) => Err(Denial::Invalid(furthest.unwrap_or(fault).max(fault))),
    }
}
