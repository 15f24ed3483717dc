//! Whom a flag is evaluated for.

mod parts;

use std::fmt;

use http::Request;
use http::header::HeaderName;
use serde_json::{Map, Value};

use self::parts::Known;
pub(crate) use self::parts::{Mentions, Parts};
use crate::rule::Val;

pub(crate) const TARGETING_KEY: &str = "targetingKey";

/// Whom or what a flag is evaluated for: a targeting key and attributes that rules may read.
#[derive(Clone, Default, PartialEq)]
pub struct EvaluationContext {
    /// Ordered by name. Few, so that one look at each beats a tree.
    attributes: Vec<(String, Value)>,
}

/// How many attributes are looked at one by one.
const FEW: usize = 16;

impl EvaluationContext {
    /// Creates an empty context.
    #[must_use]
    pub const fn new() -> Self {
        Self { attributes: Vec::new() }
    }

    /// Describes a request: `method`, `path`, `host`, and what layers further out have put in its
    /// extensions: `clientIp`, and from the [`Principal`](bartizan_core::Principal) `issuer`,
    /// `tenant`, `tier`, `roles`, `scopes` and the subject as targeting key; with the feature `axum`
    /// also `route`.
    ///
    /// Headers are taken only by [`header`](Self::header): anyone can send any of them.
    #[must_use]
    pub fn from_request<B>(request: &Request<B>) -> Self {
        let mut parts = Parts::default();
        parts.take(request, Mentions::ALL, &[]);
        parts.to_context()
    }

    /// Sets the key by which `fractional` places the caller.
    #[must_use]
    pub fn targeting_key(self, key: impl Into<String>) -> Self {
        self.attribute(TARGETING_KEY, key.into())
    }

    /// Sets an attribute, as `{"var": name}` reads it.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(name.into(), value.into());
        self
    }

    /// Takes a request's header as `headers.<name>`, if it is there and is text.
    #[must_use]
    pub fn header<B>(mut self, request: &Request<B>, name: &HeaderName) -> Self {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(value) = value {
            let mut headers = match self.value("headers") {
                Some(Value::Object(headers)) => headers.clone(),
                _ => Map::new(),
            };
            headers.insert(name.as_str().to_owned(), Value::from(value));
            self.set("headers".to_owned(), Value::Object(headers));
        }
        self
    }

    pub(crate) fn set(&mut self, name: String, value: Value) {
        match self.attributes.binary_search_by(|(own, _)| own.cmp(&name)) {
            Ok(at) => {
                if let Some(attribute) = self.attributes.get_mut(at) {
                    attribute.1 = value;
                }
            }
            Err(at) => self.attributes.insert(at, (name, value)),
        }
    }

    /// Forgets everything, but keeps the room for it, unless that is much.
    pub(crate) fn clear(&mut self) {
        self.attributes.clear();
        self.attributes.shrink_to(4 * FEW);
    }

    #[inline]
    fn value(&self, name: &str) -> Option<&Value> {
        if self.attributes.len() <= FEW {
            return self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value);
        }
        let at = self.attributes.binary_search_by(|(own, _)| own.as_str().cmp(name)).ok()?;
        self.attributes.get(at).map(|(_, value)| value)
    }
}

/// Shows which attributes are set, but not to what: they may be about persons.
impl fmt::Debug for EvaluationContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.attributes.iter().map(|(name, _)| name).collect();
        f.debug_struct("EvaluationContext").field("attributes", &names).finish()
    }
}

/// The name of an attribute, as a rule has it.
#[derive(Debug)]
pub(crate) struct Name {
    text: Box<str>,
    /// Where it stands in a request, so that nobody searches for it.
    known: Option<Known>,
}

impl Name {
    pub(crate) fn new(text: impl Into<Box<str>>) -> Self {
        let text = text.into();
        Self { known: Known::parse(&text), text }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// What a rule reads: a context that was built, or a request that is described only as far as rules
/// ask.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attributes<'a> {
    Context(&'a EvaluationContext),
    /// What was set besides comes before what the request says.
    Request(&'a Parts, &'a EvaluationContext),
}

impl<'a> Attributes<'a> {
    #[inline]
    pub(crate) fn get(self, name: &Name) -> Option<Val<'a>> {
        match self {
            Self::Context(context) => context.value(&name.text).map(Val::of),
            Self::Request(parts, besides) => match besides.value(&name.text) {
                Some(value) => Some(Val::of(value)),
                None => parts.get(name.known?),
            },
        }
    }

    /// The targeting key.
    #[inline]
    pub(crate) fn key(self) -> Option<&'a str> {
        match self {
            Self::Context(context) => context.value(TARGETING_KEY)?.as_str(),
            Self::Request(parts, besides) => match besides.value(TARGETING_KEY) {
                Some(value) => value.as_str(),
                None => parts.key(),
            },
        }
    }

    pub(crate) fn to_json(self) -> Value {
        let context = match self {
            Self::Context(context) => context.clone(),
            Self::Request(parts, besides) => {
                let mut context = parts.to_context();
                for (name, value) in &besides.attributes {
                    context.set(name.clone(), value.clone());
                }
                context
            }
        };
        Value::Object(context.attributes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use bartizan_core::Principal;
    use http::header::HOST;

    use super::*;

    #[test]
    fn a_request_is_described() {
        let mut request = Request::get("/cart?x=1").header(HOST, "shop").header("x-beta", "1");
        let principal = Principal::new("ann");
        request = request.extension(principal);
        let request = request.body(()).unwrap();
        let context = EvaluationContext::from_request(&request)
            .header(&request, &HeaderName::from_static("x-beta"));
        let json = Attributes::Context(&context).to_json();
        assert_eq!(json["path"], "/cart");
        assert_eq!(json["host"], "shop");
        assert_eq!(json["targetingKey"], "ann");
        assert_eq!(json["headers"]["x-beta"], "1");
    }

    /// HTTP/1 names it in a field, HTTP/2 in the target.
    #[test]
    fn a_host_is_the_same_by_either_protocol() {
        for (authority, host) in [
            ("shop", "shop"),
            ("shop:8080", "shop"),
            ("[::1]:8080", "[::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
        ] {
            let by_field = Request::get("/cart").header(HOST, authority).body(()).unwrap();
            let target = format!("http://{authority}/cart");
            let by_target = Request::get(target).body(()).unwrap();
            for request in [by_field, by_target] {
                let context = EvaluationContext::from_request(&request);
                assert_eq!(context.value("host"), Some(&Value::from(host)), "{authority}");
            }
        }
    }

    #[test]
    fn many_attributes_are_found_as_well_as_few() {
        for count in [3, 100] {
            let context = (0..count).rev().fold(EvaluationContext::new(), |context, n| {
                context.attribute(n.to_string(), n).attribute("same", n)
            });
            assert_eq!(context.attributes.len(), count + 1);
            for n in 0..count {
                assert_eq!(context.value(&n.to_string()), Some(&Value::from(n)));
            }
            assert_eq!((context.value("same"), context.value("x")), (Some(&Value::from(0)), None));
        }
    }
}
