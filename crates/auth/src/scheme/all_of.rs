use std::sync::Arc;
use std::time::Duration;

use bartizan_core::Principal;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Fault, Scheme, Verdict};

/// Schemes that must all be satisfied, each by a credential in a field of its own: as a token of
/// the user and a key of the application.
///
/// The principal is that of the first.
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
    pub(crate) fn ids<'a>(&self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a [u8]> {
        self.schemes.iter().filter_map(|scheme| scheme.id(credential(&**scheme, headers)?))
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
    pub(crate) fn verify(&self, headers: &HeaderMap, now: Duration) -> Verdict {
        let verify = |scheme: &Arc<dyn Scheme>| match credential(&**scheme, headers) {
            Some(credential) => scheme.verify(credential, now),
            None => Verdict::Now(Err(Fault::Malformed)),
        };
        let [only] = &*self.schemes else { return self.verify_all(headers, now) };
        verify(only)
    }

    fn verify_all(&self, headers: &HeaderMap, now: Duration) -> Verdict {
        let steps = self.steps(headers);
        let mut principal = None;
        for (place, step) in steps.iter().enumerate() {
            match step.verify(now) {
                Verdict::Now(Ok(found)) => {
                    let _ = principal.get_or_insert(found);
                }
                Verdict::Now(Err(fault)) => return Verdict::Now(Err(fault)),
                Verdict::Later(answer) => {
                    let rest = steps[place + 1..].to_vec();
                    return Verdict::later(async move {
                        let found = answer.await?;
                        in_turn(Some(principal.unwrap_or(found)), rest, now).await
                    });
                }
            }
        }
        Verdict::Now(principal.ok_or(Fault::Malformed))
    }

    /// The schemes with their credentials, to be taken along.
    pub(crate) fn steps(&self, headers: &HeaderMap) -> Vec<Step> {
        let step = |scheme: &Arc<dyn Scheme>| {
            let value = headers.get(scheme.field())?.clone();
            Some(Step { scheme: Arc::clone(scheme), value })
        };
        self.schemes.iter().filter_map(step).collect()
    }
}

/// A scheme that is still to be asked, and the field with its credential.
#[derive(Clone)]
pub(crate) struct Step {
    scheme: Arc<dyn Scheme>,
    value: HeaderValue,
}

impl Step {
    fn verify(&self, now: Duration) -> Verdict {
        match self.scheme.credential(&self.value) {
            Some(credential) => self.scheme.verify(credential, now),
            None => Verdict::Now(Err(Fault::Malformed)),
        }
    }

    /// Asks all of `steps`.
    pub(crate) async fn all(steps: Vec<Self>, now: Duration) -> Result<Principal, Fault> {
        in_turn(None, steps, now).await
    }
}

/// Asks `steps` in turn. The first principal counts.
async fn in_turn(
    mut principal: Option<Principal>,
    steps: Vec<Step>,
    now: Duration,
) -> Result<Principal, Fault> {
    for step in steps {
        let found = step.verify(now).settled().await?;
        let _ = principal.get_or_insert(found);
    }
    principal.ok_or(Fault::Malformed)
}
