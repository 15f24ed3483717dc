//! Whom a flag is evaluated for.

use bartizan_core::Principal;
use http::Request;
use http::header::{HOST, HeaderName};
use serde_json::{Map, Value};

const TARGETING_KEY: &str = "targetingKey";

/// Whom or what a flag is evaluated for: a targeting key and attributes that rules may read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvaluationContext {
    attributes: Map<String, Value>,
}

impl EvaluationContext {
    /// Creates an empty context.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Describes a request: `method`, `path`, `host`, and from its [`Principal`], if an
    /// authentication layer further out has put one in the extensions, `tenant`, `tier` and the
    /// subject as targeting key.
    ///
    /// Headers are taken only by [`header`](Self::header): anyone can send any of them.
    #[must_use]
    pub fn from_request<B>(request: &Request<B>) -> Self {
        let host = request.uri().host().or_else(|| request.headers().get(HOST)?.to_str().ok());
        let mut context = Self::new()
            .attribute("method", request.method().as_str())
            .attribute("path", request.uri().path());
        if let Some(host) = host {
            context = context.attribute("host", host);
        }
        if let Some(principal) = request.extensions().get::<Principal>() {
            context = context.targeting_key(principal.subject());
            if let Some(tenant) = principal.tenant() {
                context = context.attribute("tenant", tenant);
            }
            if let Some(tier) = principal.tier() {
                context = context.attribute("tier", tier);
            }
        }
        context
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
        if let Some(value) = request.headers().get(name).and_then(|value| value.to_str().ok()) {
            let headers =
                self.attributes.entry("headers").or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(headers) = headers {
                headers.insert(name.as_str().to_owned(), Value::from(value));
            }
        }
        self
    }

    pub(crate) fn attributes(&self) -> &Map<String, Value> {
        &self.attributes
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
