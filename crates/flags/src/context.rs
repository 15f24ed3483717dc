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
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq)]
struct Attribute {
    head: u64,
    name: String,
    value: Value,
}

/// The first bytes of a name, by which most names are told apart without a look at them.
const fn head(name: &str) -> u64 {
    let mut head = 0;
    let mut at = 0;
    while at < name.len() && at < size_of::<u64>() {
        head = head << 8 | name.as_bytes()[at] as u64;
        at += 1;
    }
    head
}

impl Attribute {
    #[inline]
    fn is(&self, name: &str, head: u64) -> bool {
        // Of a name that is no longer than its head, that and the length say all.
        self.head == head
            && self.name.len() == name.len()
            && (name.len() <= size_of::<u64>() || self.name == name)
    }
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
            let mut headers = match self.value("headers", const { head("headers") }) {
                Some(Value::Object(headers)) => headers.clone(),
                _ => Map::new(),
            };
            headers.insert(name.as_str().to_owned(), Value::from(value));
            self.set("headers".to_owned(), Value::Object(headers));
        }
        self
    }

    pub(crate) fn set(&mut self, name: String, value: Value) {
        match self.attributes.binary_search_by(|own| own.name.cmp(&name)) {
            Ok(at) => {
                if let Some(attribute) = self.attributes.get_mut(at) {
                    attribute.value = value;
                }
            }
            Err(at) => self.attributes.insert(at, Attribute { head: head(&name), name, value }),
        }
    }

    /// Forgets everything, but keeps the room for it, unless that is much.
    pub(crate) fn clear(&mut self) {
        self.attributes.clear();
        self.attributes.shrink_to(4 * FEW);
    }

    #[inline]
    fn value(&self, name: &str, head: u64) -> Option<&Value> {
        if self.attributes.len() <= FEW {
            return self.attributes.iter().find(|own| own.is(name, head)).map(|own| &own.value);
        }
        self.value_among_many(name)
    }

    #[inline(never)]
    fn value_among_many(&self, name: &str) -> Option<&Value> {
        let at = self.attributes.binary_search_by(|own| own.name.as_str().cmp(name)).ok()?;
        self.attributes.get(at).map(|own| &own.value)
    }
}

/// Shows which attributes are set, but not to what: they may be about persons.
impl fmt::Debug for EvaluationContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.attributes.iter().map(|own| &own.name).collect();
        f.debug_struct("EvaluationContext").field("attributes", &names).finish()
    }
}

/// The name of an attribute, as a rule has it.
#[derive(Debug)]
pub(crate) struct Name {
    text: Box<str>,
    head: u64,
    /// Where it stands in a request, so that nobody searches for it.
    known: Option<Known>,
}

impl Name {
    pub(crate) fn new(text: impl Into<Box<str>>) -> Self {
        let text = text.into();
        Self { head: head(&text), known: Known::parse(&text), text }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// What a rule reads: a context that was built, or a request that is described only as far as rules
/// ask. Two words, so that they are handed on in registers: as an enum of both they went by memory,
/// which took as long as a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    /// Comes before what the request says.
    context: &'a EvaluationContext,
    request: Option<&'a Parts>,
}

impl<'a> Attributes<'a> {
    pub(crate) const fn of(context: &'a EvaluationContext) -> Self {
        Self { context, request: None }
    }

    /// Those of a request, and what was set besides.
    pub(crate) const fn of_request(request: &'a Parts, besides: &'a EvaluationContext) -> Self {
        Self { context: besides, request: Some(request) }
    }

    #[inline]
    pub(crate) fn get(self, name: &Name) -> Option<Val<'a>> {
        match self.context.value(&name.text, name.head) {
            Some(value) => Some(Val::of(value)),
            None => self.request?.get(name.known?),
        }
    }

    /// The attribute, if it is text, as most are that rules compare.
    #[inline]
    pub(crate) fn text(self, name: &Name) -> Option<&'a str> {
        match self.context.value(&name.text, name.head) {
            Some(value) => value.as_str(),
            None => self.text_of_request(name),
        }
    }

    #[inline(never)]
    fn text_of_request(self, name: &Name) -> Option<&'a str> {
        match self.request?.get(name.known?)? {
            Val::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The targeting key.
    #[inline]
    pub(crate) fn key(self) -> Option<&'a str> {
        match self.context.value(TARGETING_KEY, const { head(TARGETING_KEY) }) {
            Some(value) => value.as_str(),
            None => self.request?.key(),
        }
    }

    pub(crate) fn to_json(self) -> Value {
        let mut all = self.request.map(Parts::to_context).unwrap_or_default();
        for own in &self.context.attributes {
            all.set(own.name.clone(), own.value.clone());
        }
        Value::Object(all.attributes.into_iter().map(|own| (own.name, own.value)).collect())
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
        let json = Attributes::of(&context).to_json();
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
                let read = context.value("host", head("host"));
                assert_eq!(read, Some(&Value::from(host)), "{authority}");
            }
        }
    }

    #[test]
    fn names_that_begin_alike_are_told_apart() {
        let names =
            ["", "a", "a\0", "b", "planning", "planning ", "planning!", "planning !", "plan"];
        let context = names
            .iter()
            .enumerate()
            .fold(EvaluationContext::new(), |context, (n, name)| context.attribute(*name, n));
        for (n, name) in names.iter().enumerate() {
            assert_eq!(context.value(name, head(name)), Some(&Value::from(n)), "{name:?}");
        }
        assert_eq!(context.value("planning?", head("planning?")), None);
    }

    #[test]
    fn many_attributes_are_found_as_well_as_few() {
        fn value<'a>(context: &'a EvaluationContext, name: &str) -> Option<&'a Value> {
            context.value(name, head(name))
        }
        for count in [3, 100] {
            let context = (0..count).rev().fold(EvaluationContext::new(), |context, n| {
                context.attribute(n.to_string(), n).attribute("same", n)
            });
            assert_eq!(context.attributes.len(), count + 1);
            for n in 0..count {
                assert_eq!(value(&context, &n.to_string()), Some(&Value::from(n)));
            }
            assert_eq!(value(&context, "same"), Some(&Value::from(0)));
            assert_eq!(value(&context, "x"), None);
        }
    }
}
