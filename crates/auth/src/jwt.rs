use std::time::Duration;

use bartizan_core::Principal;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::claims::Rules;
use crate::members::Members;
use crate::{Fault, Keys, Scheme, bearer};

/// Leeway beyond this hides a broken clock.
const MAX_LEEWAY: Duration = Duration::from_secs(300);

/// Tokens of one issuer in `Authorization: Bearer` (RFC 7519, RFC 6750), checked as RFC 8725 says.
///
/// A token must be signed by a key of the set with that key's own algorithm, be from the issuer,
/// for the audience, hold `exp` and a subject, and be within `nbf`, `iat` and `exp` by the leeway.
/// For several issuers add a scheme for each: keys are looked up within the issuer.
#[derive(Clone, Debug)]
#[must_use]
pub struct Jwt {
    keys: Keys,
    rules: Rules,
    typ: Option<String>,
    max_bytes: usize,
}

/// Whom tokens must be from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Issuer {
    /// One of these, compared character by character.
    OneOf(Vec<String>),
    /// Anyone who holds a key of the set.
    Unchecked,
}

/// Whom tokens must be for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Audience {
    /// At least one of these.
    OneOf(Vec<String>),
    /// Anyone. A token for another service is then good for this one too (RFC 8725 §3.9).
    Unchecked,
}

impl Issuer {
    pub(crate) fn accepts(&self, claim: Option<&Value>) -> bool {
        match (self, claim) {
            (Self::Unchecked, _) => true,
            (Self::OneOf(known), Some(Value::String(issuer))) => known.contains(issuer),
            _ => false,
        }
    }
}

impl From<&str> for Issuer {
    fn from(issuer: &str) -> Self {
        Self::OneOf(vec![issuer.to_owned()])
    }
}

impl Audience {
    pub(crate) fn accepts(&self, claim: Option<&Value>) -> bool {
        match (self, claim) {
            (Self::Unchecked, _) => true,
            (Self::OneOf(known), Some(Value::String(audience))) => known.contains(audience),
            (Self::OneOf(known), Some(Value::Array(audiences))) => {
                audiences.iter().all(Value::is_string)
                    && audiences
                        .iter()
                        .filter_map(Value::as_str)
                        .any(|audience| known.iter().any(|one| one == audience))
            }
            _ => false,
        }
    }
}

impl From<&str> for Audience {
    fn from(audience: &str) -> Self {
        Self::OneOf(vec![audience.to_owned()])
    }
}

impl Jwt {
    /// Accepts tokens by `keys`, from `issuer`, for `audience`. What is not to be checked is
    /// [`Issuer::Unchecked`] or [`Audience::Unchecked`] by name.
    pub fn new(
        keys: impl Into<Keys>,
        issuer: impl Into<Issuer>,
        audience: impl Into<Audience>,
    ) -> Self {
        Self {
            keys: keys.into(),
            rules: Rules {
                issuer: issuer.into(),
                audience: audience.into(),
                leeway: Duration::from_secs(30),
                max_lifetime: None,
                subject: "sub".to_owned(),
                roles: vec!["/roles".to_owned()],
                tenant: None,
                tier: None,
            },
            typ: None,
            max_bytes: 8192,
        }
    }

    /// Sets by how much clocks may differ: 30 seconds by default, 5 minutes at most.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.rules.leeway = leeway.min(MAX_LEEWAY);
        self
    }

    /// Refuses tokens that are valid for longer than this from now. By default there is no limit.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.rules.max_lifetime = Some(lifetime);
        self
    }

    /// Sets the longest token that is looked at, in bytes: 8192 by default.
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Requires this `typ`, as `"at+jwt"` (RFC 9068), with or without `application/`.
    ///
    /// By default it may be missing, `JWT` or `at+jwt`; tokens of other types are refused.
    pub fn token_type(mut self, typ: impl Into<String>) -> Self {
        self.typ = Some(typ.into());
        self
    }

    /// Takes the subject from this claim instead of `sub`, as `client_id`.
    pub fn subject_claim(mut self, name: impl Into<String>) -> Self {
        self.rules.subject = name.into();
        self
    }

    /// Also takes roles from where this JSON pointer leads, as `"/realm_access/roles"`. `/roles`
    /// is always looked at.
    pub fn roles_at(mut self, pointer: impl Into<String>) -> Self {
        self.rules.roles.push(pointer.into());
        self
    }

    /// Takes the tenant from where this JSON pointer leads.
    pub fn tenant_at(mut self, pointer: impl Into<String>) -> Self {
        self.rules.tenant = Some(pointer.into());
        self
    }

    /// Takes the tier from where this JSON pointer leads.
    pub fn tier_at(mut self, pointer: impl Into<String>) -> Self {
        self.rules.tier = Some(pointer.into());
        self
    }

    fn accepts_type(&self, typ: Option<&str>) -> bool {
        let bare = |typ: &str| match typ.split_at_checked("application/".len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => {
                rest.to_ascii_lowercase()
            }
            _ => typ.to_ascii_lowercase(),
        };
        match (&self.typ, typ) {
            (Some(required), Some(typ)) => bare(required) == bare(typ),
            (Some(_), None) => false,
            (None, Some(typ)) => matches!(&*bare(typ), "jwt" | "at+jwt"),
            (None, None) => true,
        }
    }
}

impl Scheme for Jwt {
    fn field(&self) -> &HeaderName {
        const { &AUTHORIZATION }
    }

    fn credential<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]> {
        bearer::token(value.as_bytes())
    }

    fn verify(&self, credential: &[u8], now: Duration) -> Result<Principal, Fault> {
        if credential.len() > self.max_bytes {
            return Err(Fault::TooLarge);
        }
        let verified = self.keys.verify(credential)?;
        if !self.accepts_type(verified.typ.as_deref()) {
            return Err(Fault::Header);
        }
        let Members(claims) =
            serde_json::from_slice(&verified.payload).map_err(|_| Fault::Claims)?;
        self.rules.judge(&claims, now)?;
        self.rules.principal(claims)
    }

    fn name(&self) -> &'static str {
        "Bearer"
    }
}
