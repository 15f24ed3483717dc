//! The head of a stored response.

use std::sync::{Arc, RwLock};

use bartizan_core::{Key, Timestamp};
use http::header::{AGE, CONTENT_LENGTH, DATE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::fields::{end_to_end, set_date, set_length, without_part};
use crate::key::Vary;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::state::{self, Answer, Freshness, Policy, Received};
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
    /// What the last hit was answered with, and the last hit that was a `304 Not Modified`.
    said: [Said; 2],
}

/// The fields of the last hit: another one in the same second is answered with the same.
#[derive(Debug, Default)]
struct Said(RwLock<Option<Told>>);

#[derive(Debug)]
struct Told {
    age: u64,
    ttl: i64,
    fields: HeaderMap,
}

impl Clone for Said {
    /// A copy has said nothing yet.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Said {
    /// The fields as they were told with this age and time to live; else as `make` makes them.
    #[inline]
    fn again(&self, age: u64, ttl: i64, make: impl FnOnce() -> HeaderMap) -> HeaderMap {
        // Nobody waits here: who comes to a closed door makes them.
        if let Ok(told) = self.0.try_read()
            && let Some(told) = &*told
            && (told.age, told.ttl) == (age, ttl)
        {
            return told.fields.clone();
        }
        let fields = make();
        if let Ok(mut told) = self.0.try_write() {
            *told = Some(Told { age, ttl, fields: fields.clone() });
        }
        fields
    }
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
    /// The length of the whole body, where it is known.
    pub(crate) length: Option<u64>,
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
        let Context { rules, settings, request, credentials, received, uri, resource, .. } =
            context;
        let answer = Answer { credentials, status, headers, received };
        let (policy, withheld) = state::assess(answer, rules, settings)?;
        let vary = Vary::of(headers, request, rules.languages)?;
        let labels = tags::labels(resource, uri, headers)?;
        let (mut headers, mut text) = end_to_end(headers);
        for name in withheld {
            headers.remove(name);
        }
        // RFC 9110 §6.6.1: who stores a response without a date gives it one.
        if state::date(&headers, DATE).is_none() {
            set_date(&mut headers, received.unix, &mut text);
        }
        if let Some(length) = context.length
            && status != StatusCode::NO_CONTENT
            && !headers.contains_key(CONTENT_LENGTH)
        {
            set_length(&mut headers, length, &mut text);
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
        // Each answer says anew how old it is.
        headers.remove(AGE);
        let said = Default::default();
        Self { status, headers, policy, vary, uri, labels, own_etag, said }
    }

    /// The head of a part, now that the whole is there.
    pub(crate) fn become_whole(&mut self) {
        self.status = StatusCode::OK;
        self.headers = without_part(std::mem::take(&mut self.headers));
        self.forget_answers();
    }

    /// It is about to change: answers made of it are no longer its.
    pub(crate) fn forget_answers(&mut self) {
        self.said = Default::default();
    }

    /// The head of an answer to a request that came just now. Costs the same for every body.
    #[inline]
    pub(crate) fn respond(&self, now: Timestamp, line: Line<'_>) -> Response<()> {
        let [said, _] = &self.said;
        self.answer(self.status, said, now, line, || self.headers.clone())
    }

    /// The head of a `304 Not Modified` (RFC 9110 §15.4.5).
    pub(crate) fn not_modified(&self, now: Timestamp, line: Line<'_>) -> Response<()> {
        let [_, said] = &self.said;
        self.answer(StatusCode::NOT_MODIFIED, said, now, line, || {
            let mut headers = self.headers.clone();
            validate::without_content(&mut headers);
            headers
        })
    }

    #[inline]
    fn answer(
        &self,
        status: StatusCode,
        said: &Said,
        now: Timestamp,
        line: Line<'_>,
        fields: impl FnOnce() -> HeaderMap,
    ) -> Response<()> {
        let age = self.policy.freshness.age(now).as_secs();
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = match line {
            Line::None => self.telling(fields(), age, None),
            Line::Some(line) => self.telling(fields(), age, Some(line.clone())),
            Line::Hit(status) => {
                let ttl = self.policy.freshness.ttl(now);
                said.again(age, ttl, || self.telling(fields(), age, Some(status.hit(ttl))))
            }
        };
        response
    }

    /// The fields with what they say of the time.
    fn telling(&self, mut fields: HeaderMap, age: u64, line: Option<HeaderValue>) -> HeaderMap {
        fields.insert(AGE, age.into());
        if let Some(line) = line {
            fields.append(CACHE_STATUS, line);
        }
        fields
    }

    /// The fields as the service would have sent them had it not said `304 Not Modified`
    /// (RFC 9111 §3.2).
    pub(crate) fn freshened(&self, not_modified: &HeaderMap, received: Received) -> HeaderMap {
        let mut headers = self.headers.clone();
        if self.own_etag {
            headers.remove(ETAG);
        }
        // If it has none, the stored response is as new as this moment.
        let (new, mut text) = end_to_end(not_modified);
        set_date(&mut headers, received.unix, &mut text);
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
        headers
    }

    /// The head with these fields, for one client.
    pub(crate) fn told(&self, headers: HeaderMap, received: Received) -> Self {
        let mut head = Self { headers, ..self.clone() };
        head.policy.freshness = Freshness::aged(&head.headers, received);
        head.headers.remove(AGE);
        head
    }

    pub(crate) fn weight(&self) -> usize {
        let fields = self.headers.iter().map(|(name, value)| {
            // Three times the table: hits have one of their own, and 304s another.
            3 * size_of::<(HeaderName, HeaderValue)>() + name.as_str().len() + value.len()
        });
        fields.sum::<usize>() + self.vary.weight() + self.uri.len() + size_of_val(&*self.labels)
    }
}
