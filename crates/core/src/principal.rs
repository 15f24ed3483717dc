use std::fmt;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

/// Who calls: what auth found out, in the request's extensions for limits, flags and handlers.
///
/// Cheap to clone. `Debug` shows neither subject nor claims.
#[derive(Clone)]
pub struct Principal(Arc<Inner>);

#[derive(Clone, Default)]
struct Inner {
    subject: String,
    issuer: Option<String>,
    scopes: Vec<String>,
    roles: Vec<String>,
    tenant: Option<String>,
    tier: Option<String>,
    claims: Claims,
}

/// A JSON object that is read when it is first asked for: most requests ask for none of it.
#[derive(Clone, Default)]
struct Claims {
    text: String,
    read: OnceLock<Map<String, Value>>,
}

impl Principal {
    /// Creates a principal that is known by `subject`.
    #[must_use]
    pub fn new(subject: impl Into<String>) -> Self {
        Self(Arc::new(Inner { subject: subject.into(), ..Inner::default() }))
    }

    /// Sets who vouches for the subject.
    #[must_use]
    pub fn with_issuer(self, issuer: impl Into<String>) -> Self {
        self.change(|inner| inner.issuer = Some(issuer.into()))
    }

    /// Sets what the caller was granted.
    #[must_use]
    pub fn with_scopes<T: Into<String>>(self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.change(|inner| inner.scopes = scopes.into_iter().map(Into::into).collect())
    }

    /// Sets what the caller is.
    #[must_use]
    pub fn with_roles<T: Into<String>>(self, roles: impl IntoIterator<Item = T>) -> Self {
        self.change(|inner| inner.roles = roles.into_iter().map(Into::into).collect())
    }

    /// Sets whom the caller belongs to.
    #[must_use]
    pub fn with_tenant(self, tenant: impl Into<String>) -> Self {
        self.change(|inner| inner.tenant = Some(tenant.into()))
    }

    /// Sets the plan that the caller is on.
    #[must_use]
    pub fn with_tier(self, tier: impl Into<String>) -> Self {
        self.change(|inner| inner.tier = Some(tier.into()))
    }

    /// Sets everything else that the credential says.
    #[must_use]
    pub fn with_claims(self, claims: Map<String, Value>) -> Self {
        self.change(|inner| inner.claims = Claims { text: String::new(), read: claims.into() })
    }

    /// Sets everything else that the credential says, as a JSON object that is read when it is
    /// first asked for. Anything else is read as no claims.
    #[must_use]
    pub fn with_claims_text(self, json: impl Into<String>) -> Self {
        self.change(|inner| inner.claims = Claims { text: json.into(), read: OnceLock::new() })
    }

    fn change(mut self, set: impl FnOnce(&mut Inner)) -> Self {
        set(Arc::make_mut(&mut self.0));
        self
    }

    /// Who the caller is, unique within the issuer.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Who vouches for the subject.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.0.issuer.as_deref()
    }

    /// What the caller was granted.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.0.scopes
    }

    /// What the caller is.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.0.roles
    }

    /// Whom the caller belongs to.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.0.tenant.as_deref()
    }

    /// The plan that the caller is on.
    #[must_use]
    pub fn tier(&self) -> Option<&str> {
        self.0.tier.as_deref()
    }

    /// Everything else that the credential says.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        let Claims { text, read } = &self.0.claims;
        read.get_or_init(|| serde_json::from_str(text).unwrap_or_default())
    }

    /// True if `scope` was granted.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0.scopes.iter().any(|granted| granted == scope)
    }

    /// True if the caller is a `role`.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.0.roles.iter().any(|held| held == role)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("scopes", &self.0.scopes)
            .field("roles", &self.0.roles)
            .field("tier", &self.0.tier)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_when_they_are_asked_for() {
        let alice = Principal::new("alice");
        assert!(alice.claims().is_empty());
        let known = alice.clone().with_claims_text(r#"{"email":"alice@acme.test","level":2}"#);
        assert_eq!(known.clone().claims()["level"], 2);
        assert_eq!(known.claims()["email"], "alice@acme.test");
        for other in ["", "[1]", "{", "7"] {
            assert!(known.clone().with_claims_text(other).claims().is_empty());
        }
        let replaced = known.with_claims(Map::from_iter([("a".to_owned(), Value::Null)]));
        assert_eq!(replaced.claims().len(), 1);
        assert!(!format!("{replaced:?}").contains("alice"));
    }

    #[test]
    fn debug_tells_no_names() {
        let alice = Principal::new("alice")
            .with_tenant("acme")
            .with_scopes(["orders:read"])
            .with_claims(Map::from_iter([("email".to_owned(), Value::from("alice@acme.test"))]));
        let shown = format!("{alice:?}");
        assert!(shown.contains("orders:read"));
        assert!(!shown.contains("alice") && !shown.contains("acme"), "{shown}");
        assert!(alice.has_scope("orders:read") && !alice.has_scope("orders"));
        assert!(!alice.has_role("admin"));
    }
}
