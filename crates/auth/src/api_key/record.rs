use std::time::Duration;

use bartizan_core::{ConfigError, Principal};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::{IssuedKey, Peppers};

/// What is kept of a key: whose it is, until when, and hashes of one or two secrets. Two while one
/// takes the place of the other.
///
/// In JSON, for stores: `{"secrets": ["sha256:…"], "subject": "billing", "scopes": ["read"]}`, and if
/// there are any `roles`, `tenant`, `tier`, and `expires` in seconds since 1970.
#[derive(Clone, Debug)]
#[must_use]
pub struct KeyRecord {
    secrets: [Option<Digest>; 2],
    principal: Principal,
    expires: Option<u64>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    secrets: Vec<String>,
    subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

impl KeyRecord {
    /// Gives `key` to `principal`.
    pub fn new(key: &IssuedKey, peppers: &Peppers, principal: Principal) -> Self {
        let digest = peppers.digest(key.reveal().as_bytes());
        Self { secrets: [Some(digest), None], principal, expires: None }
    }

    /// Ends at this time since 1970.
    pub fn expires_at(mut self, time: Duration) -> Self {
        self.expires = Some(time.as_secs());
        self
    }

    /// Reads what [`KeyRecord::to_json`] wrote.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn from_json(json: &str) -> Result<Self, ConfigError> {
        // What serde says could hold a part of the record.
        serde_json::from_str(json)
            .ok()
            .and_then(Self::read)
            .ok_or_else(|| ConfigError::new("record", "not of an API key", "see `KeyRecord`"))
    }

    /// The record in JSON. Claims of the principal are not kept.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.document()).unwrap_or_default()
    }

    fn document(&self) -> Document {
        let principal = &self.principal;
        Document {
            secrets: self.secrets.iter().flatten().map(ToString::to_string).collect(),
            subject: principal.subject().to_owned(),
            issuer: principal.issuer().map(str::to_owned),
            scopes: principal.scopes().to_vec(),
            roles: principal.roles().to_vec(),
            tenant: principal.tenant().map(str::to_owned),
            tier: principal.tier().map(str::to_owned),
            expires: self.expires,
        }
    }

    fn read(document: Document) -> Option<Self> {
        let Document { secrets, subject, issuer, scopes, roles, tenant, tier, expires } = document;
        let mut secrets = secrets.iter();
        let mut secret = || secrets.next().map(|text| Digest::parse(text).ok_or(())).transpose();
        let kept = [secret().ok()?, secret().ok()?];
        if secrets.next().is_some() || kept[0].is_none() || subject.is_empty() {
            return None;
        }
        let mut principal = Principal::new(subject).with_scopes(scopes).with_roles(roles);
        if let Some(issuer) = issuer {
            principal = principal.with_issuer(issuer);
        }
        if let Some(tenant) = tenant {
            principal = principal.with_tenant(tenant);
        }
        if let Some(tier) = tier {
            principal = principal.with_tier(tier);
        }
        Some(Self { secrets: kept, principal, expires })
    }

    /// Takes another key of the same identifier ([`IssuedKey::again`]) beside the newest one, so that
    /// both work until [`KeyRecord::settle`].
    pub fn rotate(mut self, key: &IssuedKey, peppers: &Peppers) -> Self {
        let [first, second] = self.secrets;
        self.secrets = [second.or(first), Some(peppers.digest(key.reveal().as_bytes()))];
        self
    }

    /// Keeps the newest key only.
    pub fn settle(mut self) -> Self {
        let [first, second] = self.secrets;
        self.secrets = [second.or(first), None];
        self
    }

    pub(super) fn secrets(&self) -> [Option<&Digest>; 2] {
        [self.secrets[0].as_ref(), self.secrets[1].as_ref()]
    }

    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    pub(super) fn has_expired(&self, now: Duration) -> bool {
        self.expires.is_some_and(|expires| now.as_secs() >= expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_written_and_read() {
        let key = IssuedKey::generate("bz", "live").unwrap();
        let principal = Principal::new("billing")
            .with_scopes(["read"])
            .with_tenant("acme")
            .with_issuer("https://keys.test")
            .with_tier("gold");
        let record = KeyRecord::new(&key, &Peppers::none(), principal)
            .expires_at(Duration::from_secs(100))
            .rotate(&key.again().unwrap(), &Peppers::none());
        let json = record.to_json();
        assert!(!json.contains(&key.reveal()[30..]));
        let read = KeyRecord::from_json(&json).unwrap();
        assert_eq!(read.to_json(), json);
        let whose = read.principal();
        assert_eq!((whose.tenant(), whose.tier()), (Some("acme"), Some("gold")));
        // Without it, a revocation by issuer would not be of this key.
        assert_eq!(whose.issuer(), Some("https://keys.test"));
        assert!(read.secrets()[1].is_some());
        assert!(read.has_expired(Duration::from_secs(100)));
        assert!(!read.has_expired(Duration::from_secs(99)));
        assert!(read.settle().secrets()[1].is_none());
        let secret = format!("sha256:{}", "0".repeat(64));
        let broken = [
            String::new(),
            "{}".to_owned(),
            r#"{"secrets":[],"subject":"a"}"#.to_owned(),
            format!(r#"{{"secrets":["{secret}","{secret}","{secret}"],"subject":"a"}}"#),
            format!(r#"{{"secrets":["{secret}"],"subject":""}}"#),
            r#"{"secrets":["plain"],"subject":"a"}"#.to_owned(),
            format!(r#"{{"secrets":["{secret}"],"subject":"a","admin":true}}"#),
        ];
        for json in broken {
            assert!(KeyRecord::from_json(&json).is_err(), "{json}");
        }
    }
}
