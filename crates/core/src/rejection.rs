use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serializer;
use serde::ser::SerializeMap;
use serde_json::Value;

use crate::grpc;

/// Why a layer turned a request away, in words that every protocol can render.
///
/// HTTP callers receive problem details (RFC 9457) with the stable code as the member `code`; gRPC
/// callers a trailers-only status, with `google.rpc.RetryInfo` if a wait is known.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Rejection {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    problem_type: Option<&'static str>,
    retry_after: Option<Duration>,
    fields: Vec<(HeaderName, HeaderValue)>,
    members: Option<Arc<Members>>,
    document: Option<Bytes>,
}

/// Shared, since a rejection that is kept for a reason is cloned for each refusal.
type Members = Vec<(&'static str, Value)>;

/// Marks a response as a refusal by a layer, so that layers further out do not take it for the
/// service's own failure. Found in the response's extensions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Refused {
    /// The stable code of the [`Rejection`].
    pub code: &'static str,
}

impl Rejection {
    /// Creates a rejection that HTTP callers see as `status` and programs recognise by `code`.
    #[must_use]
    pub const fn new(status: StatusCode, code: &'static str, detail: &'static str) -> Self {
        Self {
            status,
            code,
            detail: Cow::Borrowed(detail),
            problem_type: None,
            retry_after: None,
            fields: Vec::new(),
            members: None,
            document: None,
        }
    }

    /// Renders the problem details now, so that every clone shares them: a layer that refuses for
    /// few reasons keeps one for each. A type that is named afterwards no longer shows.
    #[must_use]
    pub fn prepared(mut self) -> Self {
        self.document = Some(self.document().into());
        self
    }

    /// Explains this occurrence to a person.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self.document = None;
        self
    }

    /// Names the problem's type by a URI. The default is none, which means `about:blank`.
    #[must_use]
    pub const fn problem_type(mut self, uri: &'static str) -> Self {
        self.problem_type = Some(uri);
        self
    }

    /// Says when another try makes sense. Rendered in whole seconds, rounded up, never 0.
    #[must_use]
    pub const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds a response field.
    #[must_use]
    pub fn field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }

    /// Adds an extension member to the problem details.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: Value) -> Self {
        Arc::make_mut(self.members.get_or_insert_default()).push((name, value));
        self.document = None;
        self
    }

    /// The status that HTTP callers see.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code that programs recognise.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// The wait in whole seconds, rounded up and at least 1, as `Retry-After` wants it
    /// (RFC 9110 §10.2.3).
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after
            .map(|wait| wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1))
    }

    /// Renders problem details in JSON (RFC 9457).
    pub(crate) fn into_problem(mut self) -> Response<Bytes> {
        let seconds = self.retry_after_secs();
        let document = self.document.take().unwrap_or_else(|| self.document().into());
        let mut response = Response::new(document);
        *response.status_mut() = self.status;
        response.extensions_mut().insert(Refused { code: self.code });
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        add_common(headers, seconds, self.fields);
        response
    }

    /// The problem details, in the order of RFC 9457 §3.1.
    fn document(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut write = || -> serde_json::Result<()> {
            let mut serializer = serde_json::Serializer::new(&mut out);
            let mut document = serializer.serialize_map(None)?;
            if let Some(uri) = self.problem_type {
                document.serialize_entry("type", uri)?;
            }
            document.serialize_entry("title", self.status.canonical_reason().unwrap_or(""))?;
            document.serialize_entry("status", &self.status.as_u16())?;
            document.serialize_entry("detail", &self.detail)?;
            document.serialize_entry("code", self.code)?;
            for (name, value) in self.members.iter().flat_map(|members| &**members) {
                document.serialize_entry(name, value)?;
            }
            document.end()
        };
        // Nothing here has a form that JSON lacks, and writing to memory cannot fail.
        let _ = write();
        out
    }

    /// Renders a trailers-only gRPC status.
    pub(crate) fn into_grpc(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        response.extensions_mut().insert(Refused { code: self.code });
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        grpc::write_status(headers, self.status, &self.detail, self.retry_after);
        add_common(headers, self.retry_after_secs(), self.fields);
        response
    }
}

fn add_common(
    headers: &mut HeaderMap,
    retry_after: Option<u64>,
    fields: Vec<(HeaderName, HeaderValue)>,
) {
    if let Some(value) = retry_after.and_then(whole) {
        headers.insert(RETRY_AFTER, value);
    }
    for (name, value) in fields {
        headers.append(name, value);
    }
}

/// Most waits are of a few seconds: these are not allocated.
const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

fn whole(seconds: u64) -> Option<HeaderValue> {
    match usize::try_from(seconds).ok().and_then(|seconds| DIGITS.get(seconds)) {
        Some(digit) => Some(HeaderValue::from_static(digit)),
        // By way of a slice: as a number, it would be allocated twice.
        None => HeaderValue::from_str(itoa::Buffer::new().format(seconds)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Rejection =
        Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "too many requests");

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        let secs = |wait| BUSY.retry_after(wait).retry_after_secs();
        assert_eq!(secs(Duration::ZERO), Some(1));
        assert_eq!(secs(Duration::from_millis(10)), Some(1));
        assert_eq!(secs(Duration::from_millis(1001)), Some(2));
        assert_eq!(secs(Duration::MAX), Some(u64::MAX));
        assert_eq!(BUSY.retry_after_secs(), None);
        for seconds in [1, 9, 10, 3600] {
            let response = BUSY.retry_after(Duration::from_secs(seconds)).into_problem();
            assert_eq!(response.headers()[RETRY_AFTER], seconds.to_string().as_str());
        }
    }

    #[test]
    fn what_is_prepared_is_what_is_rendered() {
        let prepared = BUSY.member("policies", Value::from(vec!["a"])).prepared();
        let body = |rejection: Rejection| rejection.into_problem().into_body();
        assert_eq!(body(prepared.clone()), body(BUSY.member("policies", vec!["a"].into())));
        assert_eq!(prepared.clone().retry_after(Duration::ZERO).into_problem().headers().len(), 2);
        // What is changed afterwards shows.
        assert!(body(prepared.detail("otherwise")).windows(9).any(|part| part == b"otherwise"));
    }

    #[test]
    fn problem_details_carry_type_code_members_and_fields() {
        let response = BUSY
            .problem_type("https://example.test/busy")
            .member("policies", Value::from(vec!["a"]))
            .field(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            .field(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"))
            .into_problem();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers().get_all("www-authenticate").iter().count(), 2);
        let document: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(document["type"], "https://example.test/busy");
        assert_eq!(document["title"], "Service Unavailable");
        assert_eq!(document["status"], 503);
        assert_eq!(document["code"], "overloaded");
        assert_eq!(document["policies"][0], "a");
    }
}
