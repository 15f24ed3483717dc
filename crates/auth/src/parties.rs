use serde_json::Value;

use crate::members::{Member, Members};

/// Whom tokens must be from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Issuer {
    /// One of these, compared character by character.
    OneOf(Vec<String>),
    /// The one whose name this is once `{tenantid}` is replaced by the claim `tid`, as Microsoft's
    /// are for applications of several tenants. The key of a signed token must say that it is this
    /// issuer's, by a member `issuer` with the same replacement: some are for one tenant only.
    /// Whoever is not to be let in must be told apart by the principal's tenant.
    PerTenant(String),
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
    pub(crate) fn accepts(&self, claims: &Members<'_>) -> bool {
        match (self, claims.text("iss")) {
            (Self::Unchecked, _) => true,
            (Self::OneOf(known), Some(issuer)) => known.iter().any(|one| one == issuer),
            (Self::PerTenant(template), Some(issuer)) => is_of_tenant(issuer, template, claims),
            _ => false,
        }
    }

    /// True if claims that were accepted may be signed by a key that says so of its issuer.
    pub(crate) fn accepts_key(&self, key_issuer: Option<&str>, claims: &Members<'_>) -> bool {
        match (self, key_issuer, claims.text("iss")) {
            (Self::PerTenant(_), Some(template), Some(issuer)) => {
                is_of_tenant(issuer, template, claims)
            }
            (Self::PerTenant(_), ..) => false,
            _ => true,
        }
    }
}

/// True if `issuer` is what `template` says of the tenant in the claims.
fn is_of_tenant(issuer: &str, template: &str, claims: &Members<'_>) -> bool {
    let tenant = claims.text("tid").filter(|id| is_id(id));
    tenant.is_some_and(|id| issuer == template.replace("{tenantid}", id))
}

/// What stands for one path segment, and no more.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl From<&str> for Issuer {
    fn from(issuer: &str) -> Self {
        Self::OneOf(vec![issuer.to_owned()])
    }
}

impl Audience {
    pub(crate) fn accepts(&self, claim: Option<&Member<'_>>) -> bool {
        match (self, claim) {
            (Self::Unchecked, _) => true,
            (Self::OneOf(known), Some(Member::Text(audience))) => {
                known.iter().any(|one| one == audience)
            }
            (Self::OneOf(known), Some(Member::Other(Value::Array(audiences)))) => {
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
