//! The `Cache-Status` field (RFC 9211).

use std::fmt::Write;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request went on to the service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Forward {
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    Request,
    Stale,
}

impl Forward {
    const ALL: [Self; 6] =
        [Self::Bypass, Self::Method, Self::UriMiss, Self::VaryMiss, Self::Request, Self::Stale];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

/// Writes the field in one cache's name.
#[derive(Debug)]
pub(crate) struct CacheStatus {
    name: String,
    /// By reason; without and with `stored`. A pass costs no allocation.
    forwarded: [[HeaderValue; 2]; Forward::ALL.len()],
}

impl CacheStatus {
    pub(crate) fn new(name: &str) -> Self {
        let name = item(name);
        let forwarded = Forward::ALL.map(|reason| {
            let line = format!("{name}; fwd={}", reason.as_str());
            let stored = format!("{line}; stored");
            [value(line), value(stored)]
        });
        Self { name, forwarded }
    }

    pub(crate) fn hit(&self, headers: &mut HeaderMap, ttl: i64) {
        let mut line = String::with_capacity(self.name.len() + 24);
        // Writing to a string cannot fail.
        let _ = write!(line, "{}; hit; ttl={ttl}", self.name);
        append(headers, value(line));
    }

    pub(crate) fn forwarded(&self, headers: &mut HeaderMap, reason: Forward, stored: bool) {
        append(headers, self.forwarded[reason as usize][usize::from(stored)].clone());
    }

    /// The service was asked, and confirmed what was stored.
    pub(crate) fn validated(&self, headers: &mut HeaderMap, reason: Forward, stored: bool) {
        let stored = if stored { "; stored" } else { "" };
        let reason = reason.as_str();
        append(headers, value(format!("{}; fwd={reason}; fwd-status=304{stored}", self.name)));
    }

    /// The request was answered by neither store nor service.
    pub(crate) fn refused(&self, headers: &mut HeaderMap) {
        append(headers, value(format!("{}; detail=only-if-cached", self.name)));
    }
}

/// Other caches stand before: the list is in the order that the response passed them.
fn append(headers: &mut HeaderMap, line: HeaderValue) {
    headers.append(CACHE_STATUS, line);
}

fn value(line: String) -> HeaderValue {
    HeaderValue::try_from(line).expect("made of visible ASCII")
}

/// A name as a structured field's token, or string where it is none (RFC 9651).
fn item(name: &str) -> String {
    let is_token = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c));
    if is_token {
        return name.to_owned();
    }
    let mut quoted = String::from('"');
    for c in name.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push('_'),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, write: impl FnOnce(&CacheStatus, &mut HeaderMap)) -> String {
        let mut headers = HeaderMap::new();
        write(&CacheStatus::new(name), &mut headers);
        headers[CACHE_STATUS].to_str().unwrap().to_owned()
    }

    #[test]
    fn each_answer_has_its_line() {
        assert_eq!(line("api", |s, h| s.hit(h, -3)), "api; hit; ttl=-3");
        let miss = line("api", |s, h| s.forwarded(h, Forward::UriMiss, true));
        assert_eq!(miss, "api; fwd=uri-miss; stored");
        let stale = line("api", |s, h| s.validated(h, Forward::Stale, true));
        assert_eq!(stale, "api; fwd=stale; fwd-status=304; stored");
        assert_eq!(line("api", CacheStatus::refused), "api; detail=only-if-cached");
        for reason in Forward::ALL {
            let line = line("a", |s, h| s.forwarded(h, reason, false));
            assert_eq!(line, format!("a; fwd={}", reason.as_str()));
        }
    }

    #[test]
    fn any_name_is_a_valid_item() {
        assert_eq!(item("edge.1:a/b"), "edge.1:a/b");
        assert_eq!(item("1st"), "\"1st\"");
        assert_eq!(item("für \"a\\b\"\n"), "\"f_r \\\"a\\\\b\\\"_\"");
        assert_eq!(item(""), "\"\"");
    }
}
