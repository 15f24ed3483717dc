use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{Key, Principal};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Later;
use crate::hooks::Hooks;
use crate::{Fault, Scheme, Verdict};

/// Schemes that must all be satisfied, each by a credential in a field of its own: as a token of
/// the user and a key of the application.
///
/// The principal is that of the first. Whether it is revoked is asked of each.
#[derive(Clone, Debug)]
#[must_use]
pub struct AllOf(Vec<Arc<dyn Scheme>>);

impl AllOf {
    /// Starts with the scheme that says who calls.
    pub fn new(scheme: impl Scheme) -> Self {
        Self(vec![Arc::new(scheme)])
    }

    /// Wants this one too.
    pub fn and(mut self, scheme: impl Scheme) -> Self {
        self.0.push(Arc::new(scheme));
        self
    }
}

/// One of the ways to be let in: one scheme, or several at once.
#[derive(Clone, Debug)]
#[must_use]
pub struct Way {
    schemes: Vec<Arc<dyn Scheme>>,
    /// How many different fields it takes.
    fields: usize,
}

impl<T: Scheme> From<T> for Way {
    fn from(scheme: T) -> Self {
        Self { schemes: vec![Arc::new(scheme)], fields: 1 }
    }
}

impl From<AllOf> for Way {
    fn from(AllOf(schemes): AllOf) -> Self {
        let is_first = |place: usize| {
            schemes[..place].iter().all(|other| other.field() != schemes[place].field())
        };
        let fields = (0..schemes.len()).filter(|place| is_first(*place)).count();
        Self { schemes, fields }
    }
}

/// The credential for a scheme, if there is one.
fn credential<'a>(scheme: &dyn Scheme, headers: &'a HeaderMap) -> Option<&'a [u8]> {
    headers.get(scheme.field()).and_then(|value| scheme.credential(value))
}

impl Way {
    pub(crate) fn schemes(&self) -> impl Iterator<Item = &Arc<dyn Scheme>> {
        self.schemes.iter()
    }

    /// The name of the scheme that says who calls.
    pub(crate) fn name(&self) -> &'static str {
        self.schemes.first().map_or("", |scheme| scheme.name())
    }

    pub(crate) fn fields(&self) -> usize {
        self.fields
    }

    /// The parts of the credentials that are no secrets.
    pub(crate) fn ids(&self, headers: &HeaderMap) -> impl Iterator<Item = Key> {
        self.schemes.iter().filter_map(|scheme| scheme.id(credential(&**scheme, headers)?))
    }

    /// True if a credential for it is another scheme's, by one of these prefixes.
    pub(crate) fn is_for_others(
        &self,
        headers: &HeaderMap,
        prefixes: &[(HeaderName, String)],
    ) -> bool {
        self.schemes.iter().any(|scheme| {
            let Some(credential) = credential(&**scheme, headers) else { return false };
            let begins = |prefix: &str| credential.starts_with(prefix.as_bytes());
            !scheme.prefix().is_some_and(begins)
                && prefixes.iter().any(|(field, prefix)| field == scheme.field() && begins(prefix))
        })
    }

    /// True if there is a credential for each scheme.
    pub(crate) fn is_open(&self, headers: &HeaderMap) -> bool {
        self.schemes.iter().all(|scheme| credential(&**scheme, headers).is_some())
    }

    /// True if this field is one of those that it takes.
    pub(crate) fn takes(&self, field: &HeaderName) -> bool {
        self.schemes.iter().any(|scheme| scheme.field() == field)
    }

    /// Asks the schemes, of which each has a credential.
    pub(crate) fn verify(&self, headers: &HeaderMap, now: Duration, hooks: &Hooks) -> Tried {
        let mut principal = None;
        for (place, scheme) in self.schemes.iter().enumerate() {
            let Some(credential) = credential(&**scheme, headers) else {
                return Tried::Now(Err(Failure::NOTHING));
            };
            match scheme.verify(credential, now) {
                Verdict::Now(found) => match found.and_then(|found| hooks.check(found, now)) {
                    Ok(found) if self.schemes.len() == 1 => return Tried::Now(Ok(found)),
                    Ok(found) => {
                        let _ = principal.get_or_insert(found);
                    }
                    Err(fault) => {
                        return Tried::Now(Err(Failure { fault, id: scheme.id(credential) }));
                    }
                },
                Verdict::Later(answer) => {
                    let steps = self.steps(headers).split_off(place);
                    return Tried::Later(Trial { principal, answer: Some(answer), steps });
                }
            }
        }
        Tried::Now(principal.ok_or(Failure::NOTHING))
    }

    /// All of it, to be taken along and tried later.
    pub(crate) fn trial(&self, headers: &HeaderMap) -> Trial {
        Trial { principal: None, answer: None, steps: self.steps(headers) }
    }

    fn steps(&self, headers: &HeaderMap) -> Vec<Step> {
        let step = |scheme: &Arc<dyn Scheme>| {
            let value = headers.get(scheme.field())?.clone();
            Some(Step { scheme: Arc::clone(scheme), value })
        };
        self.schemes.iter().filter_map(step).collect()
    }
}

/// What came of a way: who calls, or why not, or that it has to wait.
pub(crate) enum Tried {
    Now(Result<Principal, Failure>),
    Later(Trial),
}

/// A credential that proves nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    /// The part of it that is no secret.
    pub(crate) id: Option<Key>,
}

impl Failure {
    /// There was none.
    const NOTHING: Self = Self { fault: Fault::Malformed, id: None };
}

/// A way that is being tried.
pub(crate) struct Trial {
    /// Who calls, by the schemes that were asked.
    principal: Option<Principal>,
    /// What the first step waits for, if it was asked.
    answer: Option<Later<Result<Principal, Fault>>>,
    steps: Vec<Step>,
}

/// A scheme, and the field with its credential.
struct Step {
    scheme: Arc<dyn Scheme>,
    value: HeaderValue,
}

impl Trial {
    /// Asks the steps in turn. The first principal counts, and each is checked.
    pub(crate) async fn settled(self, now: Duration, hooks: &Hooks) -> Result<Principal, Failure> {
        let Self { mut principal, mut answer, steps } = self;
        for Step { scheme, value } in steps {
            let credential = || scheme.credential(&value);
            let found = match (answer.take(), credential()) {
                (Some(answer), _) => answer.await,
                (None, Some(credential)) => scheme.verify(credential, now).settled().await,
                (None, None) => Err(Fault::Malformed),
            };
            match found.and_then(|found| hooks.check(found, now)) {
                Ok(found) => {
                    let _ = principal.get_or_insert(found);
                }
                Err(fault) => {
                    let id = credential().and_then(|credential| scheme.id(credential));
                    return Err(Failure { fault, id });
                }
            }
        }
        principal.ok_or(Failure::NOTHING)
    }
}
