//! What services that know nothing of principals are told of the caller: request fields.

use std::sync::Arc;

use bartizan_core::Principal;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::pointer::Pointer;

/// The request fields that only this layer may write, and what each is to hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forward {
    /// Absent in the usual case, so that nobody else pays for it.
    fields: Option<Arc<Vec<Field>>>,
}

/// A field's name, and what it tells, if anything.
type Field = (HeaderName, Option<Told>);

/// What a field tells of the principal.
#[derive(Clone, Debug)]
enum Told {
    Claim(Pointer),
    Roles,
    Scopes,
    Subject,
    Tenant,
}

impl Forward {
    pub(crate) fn removed(self, field: HeaderName) -> Self {
        self.with(field, None)
    }

    /// `claim` is `sub`, `scope`, `roles`, `tenant`, or a claim's name or JSON pointer.
    pub(crate) fn told(self, claim: &str, field: HeaderName) -> Self {
        let told = match claim {
            "roles" => Told::Roles,
            "scope" => Told::Scopes,
            "sub" => Told::Subject,
            "tenant" => Told::Tenant,
            pointer if pointer.starts_with('/') => Told::Claim(Pointer::new(pointer)),
            name => {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                Told::Claim(Pointer::new(format!("/{escaped}")))
            }
        };
        self.with(field, Some(told))
    }

    fn with(mut self, field: HeaderName, told: Option<Told>) -> Self {
        let fields = Arc::make_mut(self.fields.get_or_insert_default());
        fields.retain(|(known, _)| *known != field);
        fields.push((field, told));
        self
    }

    /// Removes what came from outside, and writes what is known.
    pub(crate) fn write(&self, headers: &mut HeaderMap, principal: Option<&Principal>) {
        let Some(fields) = &self.fields else { return };
        for (field, told) in &**fields {
            headers.remove(field);
            let (Some(told), Some(principal)) = (told, principal) else { continue };
            if let Some(value) = told.value(principal) {
                headers.insert(field, value);
            }
        }
    }
}

impl Told {
    /// Nothing if the principal has none, or it cannot stand in a field.
    fn value(&self, principal: &Principal) -> Option<HeaderValue> {
        let text = match self {
            Self::Claim(pointer) => {
                return match pointer.find(principal.claims())? {
                    Value::String(text) => value(text),
                    Value::Number(number) => value(&number.to_string()),
                    Value::Bool(flag) => value(&flag.to_string()),
                    Value::Array(words) => {
                        let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
                        value(&words.join(" "))
                    }
                    Value::Null | Value::Object(_) => None,
                };
            }
            Self::Roles => principal.roles().join(" "),
            Self::Scopes => principal.scopes().join(" "),
            Self::Subject => return value(principal.subject()),
            Self::Tenant => return value(principal.tenant()?),
        };
        value(&text)
    }
}

/// Not shown by `Debug`: it is about a person.
fn value(text: &str) -> Option<HeaderValue> {
    if text.is_empty() {
        return None;
    }
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_written_by_the_layer_only() {
        let field = |name| HeaderName::from_static(name);
        let forward = Forward::default()
            .removed(field("x-internal"))
            .told("sub", field("x-user"))
            .told("tenant", field("x-tenant"))
            .told("scope", field("x-scopes"))
            .told("/org/id", field("x-org"))
            .told("https://acme.test/plan", field("x-plan"))
            .told("email", field("x-email"));
        let claims = json!({"org": {"id": 7}, "https://acme.test/plan": "gold", "email": "a\nb"});
        let alice = Principal::new("alice")
            .with_scopes(["a", "b"])
            .with_claims(claims.as_object().unwrap().clone());
        let mut headers = HeaderMap::new();
        for name in ["x-internal", "x-user", "x-tenant", "x-email", "x-other"] {
            headers.append(field(name), HeaderValue::from_static("root"));
            headers.append(field(name), HeaderValue::from_static("toor"));
        }
        let mut anonymous = headers.clone();
        forward.write(&mut headers, Some(&alice));
        for (name, expected) in
            [("x-user", "alice"), ("x-scopes", "a b"), ("x-org", "7"), ("x-plan", "gold")]
        {
            assert_eq!(headers[name], expected);
            assert_eq!(headers.get_all(name).iter().count(), 1);
        }
        for name in ["x-internal", "x-tenant", "x-email"] {
            assert!(!headers.contains_key(name), "{name}");
        }
        assert!(headers.contains_key("x-other"));
        assert!(!format!("{headers:?}").contains("alice"));
        forward.write(&mut anonymous, None);
        assert_eq!(anonymous.keys_len(), 1);
    }
}
