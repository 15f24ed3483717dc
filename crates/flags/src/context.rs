//! Whom a flag is evaluated for.

use std::fmt;

use bartizan_core::{ClientAddr, Principal};
use http::header::{HOST, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use serde_json::{Map, Value};

use crate::rule::Mentions;

pub(crate) const TARGETING_KEY: &str = "targetingKey";

/// Whom or what a flag is evaluated for: a targeting key and attributes that rules may read.
#[derive(Clone, Default, PartialEq)]
pub struct EvaluationContext {
    attributes: Map<String, Value>,
}

impl EvaluationContext {
    /// Creates an empty context.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Describes a request: `method`, `path`, `host`, and what layers further out have put in its
    /// extensions: `clientIp`, and from the [`Principal`] `issuer`, `tenant`, `tier`, `roles`,
    /// `scopes` and the subject as targeting key; with the feature `axum` also `route`.
    ///
    /// Headers are taken only by [`header`](Self::header): anyone can send any of them.
    #[must_use]
    pub fn from_request<B>(request: &Request<B>) -> Self {
        let everything = Mentions { anything: true, ..Mentions::default() };
        Parts::of(request, &everything, &[]).context(&everything)
    }

    /// Sets the key by which `fractional` places the caller.
    #[must_use]
    pub fn targeting_key(self, key: impl Into<String>) -> Self {
        self.attribute(TARGETING_KEY, key.into())
    }

    /// Sets an attribute, as `{"var": name}` reads it.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Takes a request's header as `headers.<name>`, if it is there and is text.
    #[must_use]
    pub fn header<B>(mut self, request: &Request<B>, name: &HeaderName) -> Self {
        if let Some(value) = request.headers().get(name) {
            self.add_header(name, value);
        }
        self
    }

    fn add_header(&mut self, name: &HeaderName, value: &HeaderValue) {
        let headers = self.attributes.entry("headers").or_insert_with(|| Value::Object(Map::new()));
        if let (Value::Object(headers), Ok(value)) = (headers, value.to_str()) {
            headers.insert(name.as_str().to_owned(), Value::from(value));
        }
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.attributes.get(TARGETING_KEY).and_then(Value::as_str)
    }

    #[inline]
    pub(crate) fn attributes(&self) -> &Map<String, Value> {
        &self.attributes
    }
}

/// Shows which attributes are set, but not to what: they may be about persons.
impl fmt::Debug for EvaluationContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.attributes.keys().collect();
        f.debug_struct("EvaluationContext").field("attributes", &names).finish()
    }
}

/// What of a request the rules may ask for, kept until the first of them does. Everything in it is
/// shared with the request or small.
#[derive(Clone, Default)]
pub(crate) struct Parts {
    method: Option<Method>,
    uri: Option<Uri>,
    host: Option<HeaderValue>,
    headers: Vec<(HeaderName, HeaderValue)>,
    client: Option<ClientAddr>,
    #[cfg(feature = "axum")]
    route: Option<axum::extract::MatchedPath>,
    pub(crate) principal: Option<Principal>,
}

const OF_PRINCIPAL: [&str; 6] = [TARGETING_KEY, "issuer", "roles", "scopes", "tenant", "tier"];

impl Parts {
    /// Takes what `mentions` may ask for, and of the headers only `headers`.
    pub(crate) fn of<B>(request: &Request<B>, mentions: &Mentions, headers: &[HeaderName]) -> Self {
        if !mentions.anything && mentions.names.is_empty() {
            return Self::default();
        }
        let asked = |name| mentions.contains(name);
        let given = |name: &HeaderName| Some((name.clone(), request.headers().get(name)?.clone()));
        let extensions = request.extensions();
        Self {
            method: asked("method").then(|| request.method().clone()),
            uri: (asked("path") || asked("host")).then(|| request.uri().clone()),
            host: asked("host").then(|| request.headers().get(HOST).cloned()).flatten(),
            headers: match asked("headers") {
                true => headers.iter().filter_map(given).collect(),
                false => Vec::new(),
            },
            client: extensions.get::<ClientAddr>().copied().filter(|_| asked("clientIp")),
            #[cfg(feature = "axum")]
            route: extensions.get().filter(|_| asked("route")).cloned(),
            principal: match OF_PRINCIPAL.into_iter().any(asked) {
                true => extensions.get::<Principal>().cloned(),
                false => None,
            },
        }
    }

    /// Builds the context out of what `mentions` may ask for.
    pub(crate) fn context(&self, mentions: &Mentions) -> EvaluationContext {
        let mut context = EvaluationContext::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value
                && mentions.contains(name)
            {
                context.attributes.insert(name.to_owned(), value);
            }
        };
        set("method", self.method.as_ref().map(|method| Value::from(method.as_str())));
        set("path", self.uri.as_ref().map(|uri| Value::from(uri.path())));
        let host = self.uri.as_ref().and_then(Uri::host);
        let host = host.or_else(|| self.host.as_ref()?.to_str().ok());
        set("host", host.map(Value::from));
        set("clientIp", self.client.map(|client| Value::from(client.ip().to_string())));
        #[cfg(feature = "axum")]
        set("route", self.route.as_ref().map(|route| Value::from(route.as_str())));
        if let Some(principal) = &self.principal {
            set(TARGETING_KEY, Some(Value::from(principal.subject())));
            set("issuer", principal.issuer().map(Value::from));
            set("tenant", principal.tenant().map(Value::from));
            set("tier", principal.tier().map(Value::from));
            set("roles", Some(Value::from(principal.roles())));
            set("scopes", Some(Value::from(principal.scopes())));
        }
        for (name, value) in &self.headers {
            context.add_header(name, value);
        }
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_described() {
        let mut request = Request::get("/cart?x=1").header(HOST, "shop").header("x-beta", "1");
        let principal = Principal::new("ann");
        request = request.extension(principal);
        let request = request.body(()).unwrap();
        let context = EvaluationContext::from_request(&request)
            .header(&request, &HeaderName::from_static("x-beta"));
        let json = Value::Object(context.attributes);
        assert_eq!(json["path"], "/cart");
        assert_eq!(json["host"], "shop");
        assert_eq!(json["targetingKey"], "ann");
        assert_eq!(json["headers"]["x-beta"], "1");
    }
}
