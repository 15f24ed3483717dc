//! The head of a stored response.

use std::sync::{Arc, OnceLock};

use bartizan_core::{Key, Live, Timestamp};
use http::header::{AGE, DATE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::fields::{end_to_end, set_date, without_part};
use crate::key::Vary;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::state::{self, Answer, Policy, Received};
use crate::status::{CACHE_STATUS, CacheStatus};
use crate::{tags, validate};

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
        self.forget_answers();
    }

    /// It is about to change: answers made of it are no longer its.
    pub(crate) fn forget_answers(&mut self) {
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

    pub(crate) fn weight(&self) -> usize {
        let fields = self.headers.iter().map(|(name, value)| {
            // Twice the table: a 304 has one of its own.
            2 * size_of::<(HeaderName, HeaderValue)>() + name.as_str().len() + value.len()
        });
        fields.sum::<usize>() + self.vary.weight() + self.uri.len() + size_of_val(&*self.labels)
    }
}
