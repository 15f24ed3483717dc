//! A stored response.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use crate::head::Head;
use crate::range::Part;

/// What an entry takes beyond its bytes: the tables that it is held in, generously.
const OVERHEAD: usize = 1024;

/// A response, or a part of one.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) head: Arc<Head>,
    pub(crate) body: Bytes,
    /// Which part of the whole the body is; `None` if it is the whole.
    pub(crate) part: Option<Part>,
    /// Up to where the purges were looked through.
    pub(crate) checked: AtomicU64,
    /// Whether a purge declared it stale.
    pub(crate) softened: AtomicBool,
}

impl Entry {
    /// A response whose body is there. `position` is where the purges stood when it was asked for.
    pub(crate) fn new(head: Arc<Head>, body: Bytes, part: Option<Part>, position: u64) -> Self {
        let checked = AtomicU64::new(position);
        Self { head, body, part, checked, softened: AtomicBool::new(false) }
    }

    /// The same entry.
    pub(crate) fn twin(&self) -> Self {
        Self {
            head: Arc::clone(&self.head),
            body: self.body.clone(),
            part: self.part,
            checked: self.checked.load(Relaxed).into(),
            softened: self.is_softened().into(),
        }
    }

    /// A whole response, with its length and, if asked, an entity tag of its own.
    pub(crate) fn whole(head: Arc<Head>, body: Bytes, position: u64, etags: bool) -> Self {
        let mut head = head;
        let wants_length =
            head.status != StatusCode::NO_CONTENT && !has_length(&head.headers, body.len());
        let wants_etag = etags && head.status == StatusCode::OK && !head.headers.contains_key(ETAG);
        if wants_length || wants_etag {
            let changed = Arc::make_mut(&mut head);
            changed.forget_answers();
            if wants_length {
                changed.headers.insert(CONTENT_LENGTH, body.len().into());
            }
            if wants_etag {
                changed.headers.insert(ETAG, etag(&body));
                changed.own_etag = true;
            }
        }
        Self::new(head, body, None, position)
    }

    pub(crate) fn is_softened(&self) -> bool {
        self.softened.load(Relaxed)
    }

    /// About the bytes that it takes.
    pub(crate) fn weight(&self) -> u64 {
        (OVERHEAD + self.head.weight() + self.body.len()) as u64
    }
}

fn has_length(headers: &HeaderMap, len: usize) -> bool {
    let said = headers.get(CONTENT_LENGTH).and_then(|said| said.to_str().ok());
    said.is_some_and(|said| said.parse() == Ok(len) && !said.starts_with('+'))
}

/// Weak: it is made of these bytes, but says nothing of other codings of them.
pub(crate) fn etag(body: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(body);
    let text: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("W/\"{text}\"")).expect("made of visible ASCII")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use bartizan_core::{Key, Timestamp};
    use http::header::{AGE, DATE};
    use http::{HeaderName, Response};

    use super::*;
    use crate::Settings;
    use crate::head::{Context, Line};
    use crate::rules::Rules;
    use crate::state::Received;
    use crate::status::{CACHE_STATUS, CacheStatus};

    pub(crate) const RECEIVED: Received = Received {
        now: Timestamp::from_nanos(0),
        unix: Duration::from_secs(784_111_777),
        delay: Duration::ZERO,
    };

    pub(crate) fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    /// A stored response of this status with these fields.
    pub(crate) fn entry(
        status: u16,
        fields: &[(&'static str, &'static str)],
        body: &'static str,
    ) -> Entry {
        let uri = Arc::from("https://a.test/");
        let (rules, settings) = (Rules::rfc(), Settings::default());
        let context = Context {
            rules: &rules,
            settings: &settings,
            request: &HeaderMap::new(),
            credentials: false,
            received: RECEIVED,
            length: None,
            uri: &uri,
            resource: Key::of("resource"),
        };
        let status = StatusCode::from_u16(status).unwrap();
        let head = Head::of(context, status, &headers(fields)).unwrap();
        Entry::whole(Arc::new(head), Bytes::from_static(body.as_bytes()), 0, false)
    }

    #[test]
    fn what_concerns_the_connection_is_not_stored() {
        let entry = entry(
            200,
            &[
                ("cache-control", "max-age=60"),
                ("connection", "close, X-Hop"),
                ("x-hop", "1"),
                ("transfer-encoding", "chunked"),
                ("keep-alive", "timeout=5"),
                ("link", "<a>"),
                ("link", "<b>"),
            ],
            "hello",
        );
        let now = Timestamp::from_nanos(7_000_000_000);
        let response = entry.head.respond(now, Line::None);
        let mut names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["age", "cache-control", "content-length", "date", "link"]);
        assert_eq!(response.headers().get_all("link").iter().count(), 2);
        assert_eq!(response.headers()[CONTENT_LENGTH], "5");
        assert_eq!(response.headers()[DATE], "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(response.headers()[AGE], "7");
    }

    #[test]
    fn fields_that_are_withheld_are_not_stored() {
        let entry = entry(
            200,
            &[
                ("cache-control", "max-age=60, private=\"x-a\", no-cache=\"x-b\""),
                ("x-a", "1"),
                ("x-b", "1"),
                ("x-c", "1"),
            ],
            "",
        );
        let headers = &entry.head.headers;
        assert!(!headers.contains_key("x-a") && !headers.contains_key("x-b"));
        assert!(headers.contains_key("x-c"));
    }

    #[test]
    fn a_304_replaces_and_adds_fields_but_keeps_the_bodys_own() {
        let entry = entry(
            200,
            &[
                ("cache-control", "max-age=60"),
                ("etag", "\"1\""),
                ("content-encoding", "gzip"),
                ("link", "<a>"),
                ("link", "<b>"),
            ],
            "hello",
        );
        let new = headers(&[
            ("link", "<c>"),
            ("x-new", "1"),
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("cache-control", "max-age=120"),
            ("etag", "\"2\""),
        ]);
        let merged = entry.head.freshened(&new, RECEIVED);
        let links: Vec<_> = merged.get_all("link").iter().collect();
        assert_eq!(links, ["<c>"]);
        assert_eq!(merged["x-new"], "1");
        assert_eq!(merged[CONTENT_LENGTH], "5");
        assert_eq!(merged["content-encoding"], "gzip");
        assert_eq!(merged["etag"], "\"1\"");
        assert_eq!(merged["cache-control"], "max-age=120");
        assert!(!merged.contains_key(AGE) && !merged.contains_key(CACHE_STATUS));
    }

    #[test]
    fn the_lines_of_caches_further_in_stay() {
        let entry =
            entry(200, &[("cache-control", "max-age=60"), ("cache-status", "cdn; hit")], "");
        let response = entry.head.respond(RECEIVED.now, Line::Hit(&CacheStatus::new("us")));
        let lines: Vec<_> = response.headers().get_all(CACHE_STATUS).iter().collect();
        assert_eq!(lines, ["cdn; hit", "us; hit; ttl=60"]);
    }

    #[test]
    fn each_second_is_told_anew_and_a_304_apart() {
        let entry = entry(200, &[("cache-control", "max-age=60"), ("etag", "\"1\"")], "hello");
        let status = CacheStatus::new("us");
        let said = |response: Response<()>| {
            let headers = response.headers();
            let text =
                |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            (text("age"), text("cache-status"), text("content-length"))
        };
        let told = |age: u64, length: Option<&str>| {
            let line = format!("us; hit; ttl={}", 60 - age);
            (Some(age.to_string()), Some(line), length.map(str::to_owned))
        };
        for age in [0, 0, 1, 1, 0, 59] {
            let now = Timestamp::from_nanos(age * 1_000_000_000);
            let line = || Line::Hit(&status);
            assert_eq!(said(entry.head.respond(now, line())), told(age, Some("5")));
            assert_eq!(said(entry.head.not_modified(now, line())), told(age, None));
            let plain = said(entry.head.respond(now, Line::None));
            assert_eq!(plain, (Some(age.to_string()), None, Some("5".to_owned())));
        }
    }

    #[test]
    fn a_tag_of_our_own_is_weak_and_of_the_body() {
        let plain = entry(200, &[("cache-control", "max-age=60")], "hello");
        let tag = |body: &'static str| {
            let body = Bytes::from_static(body.as_bytes());
            Entry::whole(Arc::clone(&plain.head), body, 0, true).head.headers[ETAG].clone()
        };
        assert_eq!(tag("hello"), "W/\"2cf24dba5fb0a30e26e83b2a\"");
        assert_ne!(tag("hello"), tag("hullo"));
    }
}
