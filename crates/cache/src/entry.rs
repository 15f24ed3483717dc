//! A stored response.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{
    AGE, CONNECTION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, DATE,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::key::Vary;
use crate::list;
use crate::state::{self, Policy, Received};

/// What an entry takes beyond its bytes: the tables that it is held in, generously.
const OVERHEAD: usize = 512;

/// These describe the stored body: a response without one cannot change them.
const OF_THE_BODY: [&str; 5] =
    ["content-digest", "content-encoding", "content-length", "content-md5", "content-range"];

/// A response's head as it will be stored.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    status: StatusCode,
    headers: HeaderMap,
    policy: Policy,
    vary: Vary,
}

/// A complete response, as it was received and without what concerned the connection only.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) policy: Policy,
    pub(crate) vary: Vary,
    body: Bytes,
}

impl Draft {
    /// The head of a response to a GET; `None` if it must not be stored, or never serves.
    pub(crate) fn of(
        request: &HeaderMap,
        credentials: bool,
        status: StatusCode,
        headers: &HeaderMap,
        received: Received,
    ) -> Option<Self> {
        let policy = Policy::of(headers, received);
        if !state::is_storable(credentials, status, headers, &policy, received) {
            return None;
        }
        let vary = Vary::of(headers, request)?;
        let mut headers = end_to_end(headers);
        // RFC 9110 §6.6.1: who stores a response without a date gives it one.
        if state::date(&headers, DATE).is_none() {
            set_date(&mut headers, received.unix);
        }
        // The policy knows it.
        headers.remove(AGE);
        Some(Self { status, headers, policy, vary })
    }

    /// The entry, now that its body is there.
    pub(crate) fn complete(mut self, body: Bytes) -> Entry {
        // Else the answer to a HEAD could not say it.
        if self.status != StatusCode::NO_CONTENT {
            self.headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let Self { status, headers, policy, vary } = self;
        Entry { status, headers, policy, vary, body }
    }
}

impl Entry {
    /// The response with this age. Costs the same for every size of the body.
    pub(crate) fn respond(&self, age: Duration) -> Response<Bytes> {
        let mut response = Response::new(self.body.clone());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response.headers_mut().insert(AGE, age.as_secs().into());
        response
    }

    /// The head that a `304 Not Modified` brought up to date (RFC 9111 §3.2), stored or not.
    pub(crate) fn freshened(&self, not_modified: &HeaderMap, received: Received) -> HeaderMap {
        let mut headers = self.headers.clone();
        // If it has none, the stored response is as new as this moment.
        set_date(&mut headers, received.unix);
        let new = end_to_end(not_modified);
        for name in new.keys() {
            if OF_THE_BODY.contains(&name.as_str()) {
                continue;
            }
            headers.remove(name);
            new.get_all(name).iter().for_each(|value| {
                headers.append(name.clone(), value.clone());
            });
        }
        headers
    }

    pub(crate) fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// About the bytes that it takes.
    pub(crate) fn weight(&self) -> u32 {
        let fields = self.headers.iter().map(|(name, value)| {
            size_of::<(HeaderName, HeaderValue)>() + name.as_str().len() + value.len()
        });
        let weight = OVERHEAD + fields.sum::<usize>() + self.vary.weight() + self.body.len();
        u32::try_from(weight).unwrap_or(u32::MAX)
    }
}

/// Makes a full response into the `304 Not Modified` for it (RFC 9110 §15.4.5).
pub(crate) fn into_not_modified(response: &mut Response<Bytes>) {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.body_mut() = Bytes::new();
    for name in [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE] {
        response.headers_mut().remove(name);
    }
}

/// The fields that are not about the connection (RFC 9111 §3.1).
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in list::members(headers, CONNECTION) {
        if let Ok(name) = HeaderName::from_bytes(name) {
            kept.remove(name);
        }
    }
    for name in [
        CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        kept.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "proxy-authentication-info"] {
        kept.remove(name);
    }
    kept
}

/// The cookies that a `304 Not Modified` sets: for this client, never for the store.
pub(crate) fn take_cookies(headers: &mut HeaderMap) -> Vec<HeaderValue> {
    let cookies = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    cookies
}

fn set_date(headers: &mut HeaderMap, unix: Duration) {
    // The format ends with the year 9999, long before the clock does.
    let last = Duration::from_secs(253_402_300_799);
    let date = httpdate::fmt_http_date(UNIX_EPOCH + unix.min(last));
    if let Ok(date) = HeaderValue::try_from(date) {
        headers.insert(DATE, date);
    }
}

#[cfg(test)]
mod tests {
    use bartizan_core::Timestamp;

    use super::*;

    const RECEIVED: Received = Received {
        now: Timestamp::from_nanos(0),
        unix: Duration::from_secs(784_111_777),
        delay: Duration::ZERO,
    };

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn draft(fields: &[(&'static str, &'static str)]) -> Draft {
        Draft::of(&HeaderMap::new(), false, StatusCode::OK, &headers(fields), RECEIVED).unwrap()
    }

    #[test]
    fn what_concerns_the_connection_is_not_stored() {
        let entry = draft(&[
            ("cache-control", "max-age=60"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("link", "<a>"),
            ("link", "<b>"),
        ])
        .complete(Bytes::from_static(b"hello"));
        let response = entry.respond(Duration::from_secs(7));
        let names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, ["age", "cache-control", "content-length", "date", "link"]);
        assert_eq!(response.headers().get_all("link").iter().count(), 2);
        assert_eq!(response.headers()[CONTENT_LENGTH], "5");
        assert_eq!(response.headers()[DATE], "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(response.headers()[AGE], "7");
    }

    #[test]
    fn a_304_replaces_and_adds_fields_but_keeps_the_bodys_own() {
        let entry = draft(&[
            ("cache-control", "max-age=60"),
            ("etag", "\"1\""),
            ("content-encoding", "gzip"),
            ("link", "<a>"),
            ("link", "<b>"),
        ])
        .complete(Bytes::from_static(b"hello"));
        let new = headers(&[
            ("link", "<c>"),
            ("x-new", "1"),
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("cache-control", "max-age=120"),
        ]);
        let merged = entry.freshened(&new, RECEIVED);
        let links: Vec<_> = merged.get_all("link").iter().collect();
        assert_eq!(links, ["<c>"]);
        assert_eq!(merged["x-new"], "1");
        assert_eq!(merged[CONTENT_LENGTH], "5");
        assert_eq!(merged[CONTENT_ENCODING], "gzip");
        assert_eq!(merged["cache-control"], "max-age=120");
    }

    #[test]
    fn a_clock_beyond_all_dates_does_not_panic() {
        let mut headers = HeaderMap::new();
        set_date(&mut headers, Duration::MAX);
        assert_eq!(headers[DATE], "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
