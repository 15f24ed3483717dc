use std::time::Duration;

use bartizan_core::{Key, Principal, Snapshot};
use http::{HeaderMap, HeaderName};

use crate::hooks::{Asked, Hooks};
use crate::scheme::{Failure, Later, Trial, Tried, Way};
use crate::{Denial, Fault};

/// The ways to be let in, of which one is enough.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schemes {
    ways: Vec<Way>,
    /// Every field that any of them takes, once.
    fields: Vec<HeaderName>,
    /// Every name that challenges are to hold, once.
    names: Vec<&'static str>,
    /// What is for one scheme only, by field.
    prefixes: Vec<(HeaderName, String)>,
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
    /// The parts that are no secrets of credentials that may have been guesses, if nobody is known.
    pub(crate) guessed: Vec<Key>,
}

impl Found {
    /// What is said without a look at a credential.
    const fn at_once(caller: Result<Option<Principal>, Denial>) -> Self {
        Self { caller, scheme: None, guessed: Vec::new() }
    }

    const fn known(principal: Principal, scheme: &'static str) -> Self {
        Self { caller: Ok(Some(principal)), scheme: Some(scheme), guessed: Vec::new() }
    }
}

/// What was tried in vain.
#[derive(Default)]
struct Failures {
    furthest: Option<(Fault, &'static str)>,
    guessed: Vec<Key>,
}

impl Failures {
    /// False if nothing else is to be tried: what is revoked is good, and whose it is was said. Another
    /// scheme may know it by another name, which nobody has revoked.
    fn add(&mut self, Failure { fault, id }: Failure, scheme: &'static str) -> bool {
        if fault == Fault::Revoked {
            *self = Self { furthest: Some((fault, scheme)), guessed: Vec::new() };
            return false;
        }
        self.furthest = self.furthest.max(Some((fault, scheme)));
        let id = id.filter(|id| fault.is_guess() && !self.guessed.contains(id));
        self.guessed.extend(id);
        true
    }

    /// Nothing if nothing was tried.
    fn denied(self) -> Option<Found> {
        let Self { furthest, guessed } = self;
        let (fault, scheme) = furthest?;
        Some(Found { caller: Err(Denial::Invalid(fault)), scheme: Some(scheme), guessed })
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
            if let Some(prefix) = scheme.prefix().filter(|prefix| !prefix.is_empty()) {
                self.prefixes.push((scheme.field().clone(), prefix.to_owned()));
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
        let mut failures = Failures::default();
        // Nothing that came may be left unlooked at: a second opinion would be a second identity.
        let open = |way: &&Way| {
            way.fields() == presented
                && way.is_open(headers)
                && (self.prefixes.is_empty() || !way.is_for_others(headers, &self.prefixes))
        };
        let mut ways = self.ways.iter().filter(open);
        while let Some(way) = ways.next() {
            if let Err(denial) = hooks.admit_all(asked, way) {
                return Identified::Now(Found::at_once(Err(denial)));
            }
            match way.verify(headers, now, hooks) {
                Tried::Now(Ok(principal)) => {
                    return Identified::Now(Found::known(principal, way.name()));
                }
                Tried::Now(Err(failure)) => {
                    if !failures.add(failure, way.name()) {
                        break;
                    }
                }
                Tried::Later(trial) => {
                    // Whether they may be tried is said now, when the request is at hand.
                    let may = |way: &Way| hooks.admit_all(asked, way).map(|()| way.trial(headers));
                    let rest = ways.map(|way| (way.name(), may(way)));
                    let trials = std::iter::once((way.name(), Ok(trial))).chain(rest).collect();
                    let found = later(failures, trials, now, hooks.clone());
                    return Identified::Later(Box::pin(found));
                }
            }
        }
        Identified::Now(failures.denied().unwrap_or_else(|| {
            let falls_short = self.falls_short(headers);
            Found::at_once(Err(if falls_short { Denial::Missing } else { Denial::Ambiguous }))
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

/// Tries ways in turn, as long as nobody is known.
async fn later(
    mut failures: Failures,
    trials: Vec<(&'static str, Result<Trial, Denial>)>,
    now: Duration,
    hooks: Hooks,
) -> Found {
    for (name, trial) in trials {
        let trial = match trial {
            Ok(trial) => trial,
            Err(denial) => return Found::at_once(Err(denial)),
        };
        match trial.settled(now, &hooks).await {
            Ok(principal) => return Found::known(principal, name),
            Err(failure) => {
                if !failures.add(failure, name) {
                    break;
                }
            }
        }
    }
    // Something was tried.
    failures.denied().unwrap_or_else(|| Found::at_once(Err(Denial::Missing)))
}
