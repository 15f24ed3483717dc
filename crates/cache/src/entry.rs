//! A stored response.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use bartizan_core::{Key, Live, Timestamp};
use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, DATE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};

use crate::fields::{end_to_end, set_date, without_part};
use crate::key::Vary;
use crate::range::Part;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::state::{self, Answer, Policy, Received};
use crate::status::{CACHE_STATUS, CacheStatus};
use crate::{tags, validate};

/// What an entry takes beyond its bytes: the tables that it is held in, generously.
const OVERHEAD: usize = 1024;

/// These describe the stored body: a response without one cannot change them.
const OF_THE_BODY: [&str; 5] =
    ["content-digest", "content-encoding", "content-length", "content-md5", "content-range"];

/// The head of a stored response, without what concerned the connection only.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) policy: Policy,
    pub(crate) vary: Vary,
    /// Where it was found, as text.
    pub(crate) uri: Arc<str>,
    /// What it is purged by: the resource, and its tags.
    pub(crate) labels: Box<[Key]>,
    /// Whether the entity tag is ours: the service would not know it.
    pub(crate) own_etag: bool,
    /// Whether caches further in have left their `Cache-Status`.
    annotated: bool,
    /// The fields of a `304 Not Modified`, made when the first one is sent.
    unchanged: OnceLock<Box<HeaderMap>>,
    /// What the last hit said of its age: another one in the same second says the same.
    said: OnceLock<Live<Said>>,
}

/// The fields of a hit that tell the time.
#[derive(Clone, Debug)]
struct Said {
    age: u64,
    ttl: i64,
    age_value: HeaderValue,
    line: HeaderValue,
}

/// What an answer says in `Cache-Status`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Line<'a> {
    /// That it is a hit, and for how long it is still fresh.
    Hit(&'a CacheStatus),
    None,
    Some(&'a HeaderValue),
}

impl<'a> From<Option<&'a HeaderValue>> for Line<'a> {
    fn from(line: Option<&'a HeaderValue>) -> Self {
        line.map_or(Self::None, Self::Some)
    }
}

/// What is known of a request when its response is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) settings: &'a Settings,
    pub(crate) request: &'a HeaderMap,
    pub(crate) credentials: bool,
    pub(crate) received: Received,
    pub(crate) uri: &'a Arc<str>,
    pub(crate) resource: Key,
}

impl Head {
    /// `None` if the response must not be stored, or is of no use.
    pub(crate) fn of(
        context: Context<'_>,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Self> {
        let Context { rules, settings, request, credentials, received, uri, resource } = context;
        let answer = Answer { credentials, status, headers, received };
        let (policy, withheld) = state::assess(answer, rules, settings)?;
        let vary = Vary::of(headers, request, rules.languages)?;
        let labels = tags::labels(resource, uri, headers);
        let mut headers = end_to_end(headers);
        for name in withheld {
            headers.remove(name);
        }
        // RFC 9110 §6.6.1: who stores a response without a date gives it one.
        if state::date(&headers, DATE).is_none() {
            set_date(&mut headers, received.unix);
        }
        Some(Self::resumed(status, headers, policy, vary, Arc::clone(uri), labels, false))
    }

    /// A head that another process kept.
    pub(crate) fn resumed(
        status: StatusCode,
        mut headers: HeaderMap,
        policy: Policy,
        vary: Vary,
        uri: Arc<str>,
        labels: Box<[Key]>,
        own_etag: bool,
    ) -> Self {
        // What each answer says anew has its place already: an answer then allocates none.
        let annotated = headers.contains_key(CACHE_STATUS);
        headers.insert(AGE, HeaderValue::from_static("0"));
        if !annotated {
            headers.insert(CACHE_STATUS, HeaderValue::from_static("-"));
        }
        let (unchanged, said) = (OnceLock::new(), OnceLock::new());
        Self { status, headers, policy, vary, uri, labels, own_etag, annotated, unchanged, said }
    }

    /// The head of a part, now that the whole is there.
    pub(crate) fn become_whole(&mut self) {
        self.status = StatusCode::OK;
        self.headers = without_part(std::mem::take(&mut self.headers));
        self.unchanged = OnceLock::new();
        self.said = OnceLock::new();
    }

    /// The fields without what each answer says anew.
    pub(crate) fn portable_headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.remove(AGE);
        if !self.annotated {
            headers.remove(CACHE_STATUS);
        }
        headers
    }

    /// The head of an answer to a request that came just now. Costs the same for every body.
    #[inline]
    pub(crate) fn respond(&self, now: Timestamp, line: Line<'_>) -> Response<()> {
        self.answer(self.status, &self.headers, now, line)
    }

    /// The head of a `304 Not Modified` (RFC 9110 §15.4.5).
    pub(crate) fn not_modified(&self, now: Timestamp, line: Line<'_>) -> Response<()> {
        let headers = self.unchanged.get_or_init(|| {
            let mut headers = self.headers.clone();
            validate::without_content(&mut headers);
            Box::new(headers)
        });
        self.answer(StatusCode::NOT_MODIFIED, headers, now, line)
    }

    #[inline]
    fn answer(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        now: Timestamp,
        line: Line<'_>,
    ) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = status;
        let fields = response.headers_mut();
        *fields = headers.clone();
        let age = self.policy.freshness.age(now).as_secs();
        let (age_value, line) = match line {
            Line::None => (age.into(), None),
            Line::Some(line) => (age.into(), Some(line.clone())),
            Line::Hit(status) => {
                let (age_value, line) = self.hit(status, age, self.policy.freshness.ttl(now));
                (age_value, Some(line))
            }
        };
        // In place of what was stored for it: nothing grows.
        if let Some(age) = fields.get_mut(AGE) {
            *age = age_value;
        }
        match line {
            Some(line) if self.annotated => {
                fields.append(CACHE_STATUS, line);
            }
            Some(line) => {
                if let Some(status) = fields.get_mut(CACHE_STATUS) {
                    *status = line;
                }
            }
            None if self.annotated => {}
            None => {
                fields.remove(CACHE_STATUS);
            }
        }
        response
    }

    #[inline]
    fn hit(&self, status: &CacheStatus, age: u64, ttl: i64) -> (HeaderValue, HeaderValue) {
        let make = || Said { age, ttl, age_value: age.into(), line: status.hit(ttl) };
        let said = self.said.get_or_init(|| Live::new(make()));
        let last = said.load();
        if last.age == age && last.ttl == ttl {
            return (last.age_value.clone(), last.line.clone());
        }
        let new = make();
        let values = (new.age_value.clone(), new.line.clone());
        said.store(new);
        values
    }

    /// The fields as the service would have sent them had it not said `304 Not Modified`
    /// (RFC 9111 §3.2).
    pub(crate) fn freshened(&self, not_modified: &HeaderMap, received: Received) -> HeaderMap {
        let mut headers = self.portable_headers();
        if self.own_etag {
            headers.remove(ETAG);
        }
        // If it has none, the stored response is as new as this moment.
        set_date(&mut headers, received.unix);
        let new = end_to_end(not_modified);
        for name in new.keys() {
            // It is an answer about the one response that was asked about: a tag that it tells
            // beside is not that response's.
            let is_other_tag = name == ETAG && headers.contains_key(ETAG);
            if OF_THE_BODY.contains(&name.as_str()) || is_other_tag {
                continue;
            }
            headers.remove(name);
            new.get_all(name).iter().for_each(|value| {
                headers.append(name.clone(), value.clone());
            });
        }
        if !not_modified.contains_key(AGE) {
            headers.remove(AGE);
        }
        headers
    }

    fn weight(&self) -> usize {
        let fields = self.headers.iter().map(|(name, value)| {
            // Twice the table: a 304 has one of its own.
            2 * size_of::<(HeaderName, HeaderValue)>() + name.as_str().len() + value.len()
        });
        fields.sum::<usize>() + self.vary.weight() + self.uri.len() + size_of_val(&*self.labels)
    }
}

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

    /// A whole response, with its length and, if asked, an entity tag of its own.
    pub(crate) fn whole(head: Arc<Head>, body: Bytes, position: u64, etags: bool) -> Self {
        let mut head = head;
        let wants_length =
            head.status != StatusCode::NO_CONTENT && !has_length(&head.headers, body.len());
        let wants_etag = etags && head.status == StatusCode::OK && !head.headers.contains_key(ETAG);
        if wants_length || wants_etag {
            let changed = Arc::make_mut(&mut head);
            changed.unchanged = OnceLock::new();
            changed.said = OnceLock::new();
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
    pub(crate) fn weight(&self) -> u32 {
        let weight = OVERHEAD + self.head.weight() + self.body.len();
        u32::try_from(weight).unwrap_or(u32::MAX)
    }
}

fn has_length(headers: &HeaderMap, len: usize) -> bool {
    headers.get(CONTENT_LENGTH).is_some_and(|said| said.as_bytes() == len.to_string().as_bytes())
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

    use super::*;

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
