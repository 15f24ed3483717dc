//! What services that know nothing of principals are told of the caller: request fields.

use std::sync::Arc;

use bartizan_core::Principal;
use http::header::CONNECTION;
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
        remove_lookalikes(headers, fields);
        keep_end_to_end(headers, fields);
        for (field, told) in &**fields {
            headers.remove(field);
            let (Some(told), Some(principal)) = (told, principal) else { continue };
            if let Some(value) = told.value(principal) {
                headers.insert(field, value);
            }
        }
    }
}

/// Removes what servers further in could take for one of `fields`: CGI, WSGI and PHP tell `_` and `-`
/// in a name apart no longer (RFC 3875 §4.1.18).
fn remove_lookalikes(headers: &mut HeaderMap, fields: &[Field]) {
    let is_one = |name: &HeaderName| {
        fields.iter().any(|(field, _)| field != name && is_alike(field.as_str(), name.as_str()))
    };
    // Without any, nothing is allocated.
    let alike: Vec<_> = headers.keys().filter(|name| is_one(name)).cloned().collect();
    for name in alike {
        headers.remove(name);
    }
}

/// Takes the names of `fields` out of `Connection`: a proxy further in drops what is named there
/// (RFC 9110 §7.6.1), so that whoever calls could have it dropped.
fn keep_end_to_end(headers: &mut HeaderMap, fields: &[Field]) {
    let is_one = |option: &[u8]| {
        let option = option.trim_ascii();
        fields.iter().any(|(field, _)| option.eq_ignore_ascii_case(field.as_str().as_bytes()))
    };
    let names_one = |value: &HeaderValue| value.as_bytes().split(|byte| *byte == b',').any(is_one);
    if !headers.get_all(CONNECTION).iter().any(names_one) {
        return;
    }
    let without = |value: &HeaderValue| {
        if !names_one(value) {
            return Some(value.clone());
        }
        let left = value.as_bytes().split(|byte| *byte == b',').filter(|option| !is_one(option));
        let left = left.map(<[u8]>::trim_ascii).collect::<Vec<_>>().join(&b", "[..]);
        HeaderValue::from_bytes(&left).ok().filter(|value| !value.is_empty())
    };
    let left: Vec<_> = headers.get_all(CONNECTION).iter().filter_map(without).collect();
    headers.remove(CONNECTION);
    for value in left {
        headers.append(CONNECTION, value);
    }
}

fn is_alike(field: &str, name: &str) -> bool {
    let folded = |byte: u8| if byte == b'_' { b'-' } else { byte };
    field.len() == name.len() && field.bytes().map(folded).eq(name.bytes().map(folded))
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
                    Value::Array(words) => value(&list(words.iter().filter_map(Value::as_str))),
                    Value::Null | Value::Object(_) => None,
                };
            }
            Self::Roles => list(principal.roles().iter().map(|role| &**role)),
            Self::Scopes => list(principal.scopes().iter().map(|scope| &**scope)),
            Self::Subject => return value(principal.subject()),
            Self::Tenant => return value(principal.tenant()?),
        };
        value(&text)
    }
}

/// One after the other. What holds a space is left out: further in, it would be two others.
fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let whole = words.filter(|word| !word.contains(char::is_whitespace));
    whole.fold(
        String::new(),
        |list, word| {
            if list.is_empty() { word.to_owned() } else { list + " " + word }
        },
    )
}

/// Not shown by `Debug`: it is about a person. Nothing if the next parser would read another one: it
/// leaves out blanks at either end (RFC 9110 §5.5).
fn value(text: &str) -> Option<HeaderValue> {
    if text.is_empty() || text != text.trim() {
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

    #[test]
    fn rfc3875_4_1_18_no_field_passes_for_one_by_its_underscores() {
        let forward = Forward::default()
            .told("sub", HeaderName::from_static("x-user-id"))
            .removed(HeaderName::from_static("x_internal"));
        let mut headers = HeaderMap::new();
        let alike = ["x_user_id", "x-user_id", "x_user-id", "x-internal", "x_internal"];
        for name in alike.into_iter().chain(["x_user", "x_user_id_2", "x-user-ie"]) {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("root"));
        }
        forward.write(&mut headers, Some(&Principal::new("alice")));
        assert_eq!(headers["x-user-id"], "alice");
        for name in alike {
            assert!(!headers.contains_key(name), "{name}");
        }
        assert_eq!(headers.len(), 4, "{:?}", headers.keys());
    }

    #[test]
    fn no_two_items_are_made_of_one() {
        let claims = json!({"groups": ["x admin", "staff", "y\tadmin", 7, "audit"]});
        let alice = Principal::new("alice")
            .with_roles(["x admin", "clerk"])
            .with_scopes(["a\u{a0}b", "read", "write"])
            .with_claims(claims.as_object().unwrap().clone());
        let field = |name| HeaderName::from_static(name);
        let forward = Forward::default()
            .told("roles", field("x-roles"))
            .told("scope", field("x-scopes"))
            .told("groups", field("x-groups"));
        let mut headers = HeaderMap::new();
        forward.write(&mut headers, Some(&alice));
        assert_eq!(headers["x-roles"], "clerk");
        assert_eq!(headers["x-scopes"], "read write");
        assert_eq!(headers["x-groups"], "staff audit");
    }

    #[test]
    fn rfc9110_7_6_1_no_field_is_dropped_further_in_since_the_caller_says_so() {
        let forward = Forward::default()
            .told("sub", HeaderName::from_static("x-user-id"))
            .removed(HeaderName::from_static("x-internal"));
        let written = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONNECTION, HeaderValue::from_static(value));
            }
            forward.write(&mut headers, Some(&Principal::new("alice")));
            assert_eq!(headers["x-user-id"], "alice");
            let left = headers.get_all(CONNECTION).iter();
            left.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(written(&["close, X-User-Id"]), ["close"]);
        assert_eq!(written(&["x-user-id"]), [""; 0]);
        let several = ["keep-alive,x-other", " x-internal ,\tX-USER-ID", "x-user-id, upgrade"];
        assert_eq!(written(&several), ["keep-alive,x-other", "upgrade"]);
        assert_eq!(written(&["x-user-id-2,  close"]), ["x-user-id-2,  close"], "left as it is");
    }

    #[test]
    fn rfc9110_5_5_what_the_next_parser_would_read_otherwise_is_not_told() {
        let forward = Forward::default().told("sub", HeaderName::from_static("x-user"));
        for (subject, expected) in
            [("alice", Some("alice")), ("a b", Some("a b")), ("alice ", None), ("\talice", None)]
        {
            let mut headers = HeaderMap::new();
            forward.write(&mut headers, Some(&Principal::new(subject)));
            let told = headers.get("x-user").map(|value| value.to_str().unwrap());
            assert_eq!(told, expected, "{subject:?}");
        }
    }
}
