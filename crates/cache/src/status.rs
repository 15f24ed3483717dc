//! The `Cache-Status` field (RFC 9211).

use std::fmt::Write;

use bytes::BytesMut;
use http::HeaderValue;
use http::header::HeaderName;

pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request went on to the service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Forward {
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    Request,
    Stale,
    Partial,
}

impl Forward {
    pub(crate) const ALL: [Self; 7] = [
        Self::Bypass,
        Self::Method,
        Self::UriMiss,
        Self::VaryMiss,
        Self::Request,
        Self::Stale,
        Self::Partial,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// What else is to be said of a request that went on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Notes {
    /// The service's own answer, where the client is given another.
    pub(crate) fwd_status: Option<u16>,
    pub(crate) stored: bool,
    /// Whether it waited for another request's answer.
    pub(crate) collapsed: bool,
    pub(crate) detail: Option<&'static str>,
}

/// Writes the field in one cache's name.
#[derive(Debug)]
pub(crate) struct CacheStatus {
    name: String,
    /// What the line of a hit begins with.
    hit: String,
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
        let hit = format!("{name}; hit; ttl=");
        Self { name, hit, forwarded }
    }

    #[inline]
    pub(crate) fn hit(&self, ttl: i64) -> HeaderValue {
        // The longest number has 20 characters.
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        // More than that is no integer of a structured field.
        let ttl = ttl.clamp(-999_999_999_999_999, 999_999_999_999_999);
        let mut rest = ttl.unsigned_abs();
        while at == digits.len() || rest > 0 {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let sign: &[u8] = if ttl < 0 { b"-" } else { b"" };
        let mut line = BytesMut::with_capacity(self.hit.len() + digits.len() + 1);
        for part in [self.hit.as_bytes(), sign, &digits[at..]] {
            line.extend_from_slice(part);
        }
        HeaderValue::from_maybe_shared(line.freeze()).expect("made of visible ASCII")
    }

    /// Stale, because the service failed.
    pub(crate) fn stood_in(&self, ttl: i64, fwd_status: Option<u16>) -> HeaderValue {
        let mut line = format!("{}; hit; fwd=stale", self.name);
        if let Some(status) = fwd_status {
            let _ = write!(line, "; fwd-status={status}");
        }
        let _ = write!(line, "; ttl={ttl}; detail=stale-if-error");
        value(line)
    }

    pub(crate) fn forwarded(&self, reason: Forward, notes: Notes) -> HeaderValue {
        let plain = Notes { stored: notes.stored, ..Notes::default() };
        if notes == plain {
            return self.forwarded[reason as usize][usize::from(notes.stored)].clone();
        }
        let mut line = format!("{}; fwd={}", self.name, reason.as_str());
        if let Some(status) = notes.fwd_status {
            let _ = write!(line, "; fwd-status={status}");
        }
        if notes.stored {
            line.push_str("; stored");
        }
        if notes.collapsed {
            line.push_str("; collapsed");
        }
        if let Some(detail) = notes.detail {
            let _ = write!(line, "; detail={detail}");
        }
        value(line)
    }

    /// The request was answered by neither store nor service.
    pub(crate) fn refused(&self) -> HeaderValue {
        value(format!("{}; detail=only-if-cached", self.name))
    }
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
    use sfv::{List, Parser};

    use super::*;

    #[test]
    fn each_answer_has_its_line_and_each_is_a_structured_list() {
        let status = CacheStatus::new("api");
        let notes = |set: fn(&mut Notes)| {
            let mut notes = Notes::default();
            set(&mut notes);
            status.forwarded(Forward::Stale, notes)
        };
        let lines = [
            (status.hit(-3), "api; hit; ttl=-3"),
            (status.hit(0), "api; hit; ttl=0"),
            (status.hit(i64::MIN), "api; hit; ttl=-999999999999999"),
            (status.refused(), "api; detail=only-if-cached"),
            (
                status.stood_in(-1, Some(503)),
                "api; hit; fwd=stale; fwd-status=503; ttl=-1; detail=stale-if-error",
            ),
            (notes(|notes| notes.stored = true), "api; fwd=stale; stored"),
            (
                notes(|notes| (notes.fwd_status, notes.stored) = (Some(304), true)),
                "api; fwd=stale; fwd-status=304; stored",
            ),
            (notes(|notes| notes.collapsed = true), "api; fwd=stale; collapsed"),
            (
                notes(|notes| notes.detail = Some("steering-field")),
                "api; fwd=stale; detail=steering-field",
            ),
        ];
        for (line, expected) in &lines {
            assert_eq!(line, expected);
            assert!(Parser::new(line.as_bytes()).parse::<List>().is_ok(), "{expected}");
        }
        for reason in Forward::ALL {
            let line = status.forwarded(reason, Notes::default());
            assert_eq!(line, format!("api; fwd={}", reason.as_str()));
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
