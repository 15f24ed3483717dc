use std::collections::BTreeMap;
use std::time::Duration;

use bartizan_core::ConfigError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What can be changed while the cache runs.
///
/// Fields of the same names make up its JSON, with times in milliseconds. What a document leaves out
/// has its default:
///
/// ```
/// use bartizan_cache::{Engine, ResponseCache};
///
/// let cache = ResponseCache::new("pages");
/// cache.apply(serde_json::json!({
///     "max_bytes": 268_435_456,
///     "max_body_bytes": 4_194_304,
///     "default_ttl_ms": 1000,
///     "status_ttl_ms": {"404": 60_000},
///     "stale_if_error_ms": 60_000,
/// }))?;
/// # Ok::<(), bartizan_cache::ConfigError>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Settings {
    /// What all stored responses may take, in bytes.
    max_bytes: u64,
    /// The longest body that is stored, in bytes.
    max_body_bytes: u64,
    /// How many variants of a resource are stored.
    max_variants: usize,
    /// Whether clients may ask for more, or less, than a fresh response.
    request_directives: bool,
    /// How long a response is fresh that says nothing of it, in milliseconds; 0 for not at all.
    default_ttl_ms: u64,
    /// The same by status, for errors too, in milliseconds.
    status_ttl_ms: BTreeMap<u16, u64>,
    /// How long a stale response is served while a fresh one is fetched, in milliseconds.
    stale_while_revalidate_ms: u64,
    /// How long a stale response stands in for an error, in milliseconds.
    stale_if_error_ms: u64,
    /// How long a request waits for another one's answer, in milliseconds.
    follow_wait_ms: u64,
    /// How long a resource that could not be shared is fetched by each for itself, in milliseconds.
    hit_for_miss_ms: u64,
    /// Whether responses without an `ETag` are stored with one.
    etags: bool,
    /// How long the store behind memory is waited for, in milliseconds.
    store_deadline_ms: u64,
}

impl Default for Settings {
    /// 64 MiB in all, 1 MiB for a body, 16 variants; clients may ask; freshness and grace only as
    /// responses state them; 5 s of waiting for another one's answer, 10 s of hit-for-miss,
    /// 50 ms for a store behind memory.
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_body_bytes: 1 << 20,
            max_variants: 16,
            request_directives: true,
            default_ttl_ms: 0,
            status_ttl_ms: BTreeMap::new(),
            stale_while_revalidate_ms: 0,
            stale_if_error_ms: 0,
            follow_wait_ms: 5_000,
            hit_for_miss_ms: 10_000,
            etags: false,
            store_deadline_ms: 50,
        }
    }
}

impl Settings {
    /// Sets what all stored responses may take, heads and tables included, in bytes. Changing it
    /// while the cache runs empties the cache.
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the longest body that is stored, in bytes. A longer one is passed on. What is stored is
    /// divided into parts that have room for sixteen of that length at least, as long as there are
    /// several; raising it while the cache runs empties the cache where that takes fewer parts.
    pub const fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Sets how many variants (by `Vary`) of a resource are stored; the newest are kept, and no more
    /// than fit into one part of the store.
    pub const fn max_variants(mut self, count: usize) -> Self {
        self.max_variants = count;
        self
    }

    /// Sets whether `no-cache`, `max-age`, `min-fresh` and `max-stale` in requests are obeyed, on
    /// by default. If not, clients cannot force requests through to the service. `no-store` and
    /// `only-if-cached` are always obeyed, but an answer from the store is then no longer refused
    /// to a request with `no-store`.
    pub const fn request_directives(mut self, on: bool) -> Self {
        self.request_directives = on;
        self
    }

    /// Sets how long a response is fresh that says nothing of its freshness, in whole
    /// milliseconds. It holds for the statuses that may be cached by heuristics (RFC 9110 §15.1)
    /// below 400. The default is zero: only explicit freshness counts.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl_ms = millis(ttl);
        self
    }

    /// Sets how long a response of this status is fresh that says nothing of its freshness, in
    /// whole milliseconds: negative caching, as of 404 for a minute.
    pub fn status_ttl(mut self, status: u16, ttl: Duration) -> Self {
        self.status_ttl_ms.insert(status, millis(ttl));
        self
    }

    /// Sets how long a stale response is served while one request fetches a fresh one, in whole
    /// milliseconds; for responses that neither say it (RFC 5861) nor forbid it.
    pub fn stale_while_revalidate(mut self, grace: Duration) -> Self {
        self.stale_while_revalidate_ms = millis(grace);
        self
    }

    /// Sets how long a stale response stands in for a 5xx or an error, in whole milliseconds; for
    /// responses that neither say it (RFC 5861) nor forbid it.
    pub fn stale_if_error(mut self, grace: Duration) -> Self {
        self.stale_if_error_ms = millis(grace);
        self
    }

    /// Sets how long a request waits for the answer to another one, in whole milliseconds, before
    /// it asks the service itself. Zero turns collapsing off.
    pub fn follow_wait(mut self, wait: Duration) -> Self {
        self.follow_wait_ms = millis(wait);
        self
    }

    /// Sets how long requests do not wait for each other on a resource whose last answer could not
    /// be shared, in whole milliseconds.
    pub fn hit_for_miss(mut self, span: Duration) -> Self {
        self.hit_for_miss_ms = millis(span);
        self
    }

    /// Sets whether a response without an `ETag` is stored with a weak one, made of its body. The
    /// client that is answered by the service does not see it; those answered from the store do.
    pub const fn etags(mut self, on: bool) -> Self {
        self.etags = on;
        self
    }

    /// Sets how long a [`Store`](crate::Store) behind memory is waited for, to the end of the body,
    /// in whole milliseconds. What comes later is a miss. The default is 50 ms.
    pub fn store_deadline(mut self, deadline: Duration) -> Self {
        self.store_deadline_ms = millis(deadline);
        self
    }

    pub(crate) const fn deadline(&self) -> Duration {
        Duration::from_millis(self.store_deadline_ms)
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.max_bytes
    }

    pub(crate) const fn body_bytes(&self) -> u64 {
        self.max_body_bytes
    }

    pub(crate) const fn variants(&self) -> usize {
        self.max_variants
    }

    pub(crate) const fn obeys_requests(&self) -> bool {
        self.request_directives
    }

    /// What stands in for the freshness that a response does not state.
    pub(crate) fn ttl(&self, status: u16) -> Option<Duration> {
        let ttl = self.status_ttl_ms.get(&status).copied().unwrap_or(match status {
            200 | 203 | 204 | 300 | 301 | 308 => self.default_ttl_ms,
            _ => 0,
        });
        (ttl > 0).then(|| Duration::from_millis(ttl))
    }

    pub(crate) const fn grace_to_revalidate(&self) -> Duration {
        Duration::from_millis(self.stale_while_revalidate_ms)
    }

    pub(crate) const fn grace_on_error(&self) -> Duration {
        Duration::from_millis(self.stale_if_error_ms)
    }

    pub(crate) const fn wait(&self) -> Duration {
        Duration::from_millis(self.follow_wait_ms)
    }

    pub(crate) const fn unshared_span(&self) -> Duration {
        Duration::from_millis(self.hit_for_miss_ms)
    }

    pub(crate) const fn makes_etags(&self) -> bool {
        self.etags
    }

    /// Reads settings as an operator sends them.
    pub(crate) fn from_json(value: Value) -> Result<Self, ConfigError> {
        let settings: Self = serde_json::from_value(value).map_err(|error| {
            ConfigError::new("settings", error.to_string(), "see `bartizan_cache::Settings`")
        })?;
        settings.validated()
    }

    /// Checks that the settings can be lived by.
    pub(crate) fn validated(self) -> Result<Self, ConfigError> {
        let error = |field, problem, fix| Err(ConfigError::new(field, problem, fix));
        if self.max_bytes == 0 {
            return error("max_bytes", "nothing could be stored", "turn the mode off instead");
        }
        if self.max_body_bytes > self.max_bytes {
            return error("max_body_bytes", "more than `max_bytes`", "lower it, or raise that");
        }
        if self.max_variants == 0 {
            return error("max_variants", "nothing could be stored", "use 1 or more");
        }
        if self.status_ttl_ms.keys().any(|status| !(200..=599).contains(status)) {
            return error("status_ttl_ms", "not a final status", "use 200 to 599");
        }
        Ok(self)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_name_the_field() {
        let field = |value| Settings::from_json(value).unwrap_err().field().to_owned();
        assert_eq!(field(json!({"max_bytes": 0})), "max_bytes");
        assert_eq!(field(json!({"max_bytes": 9, "max_body_bytes": 10})), "max_body_bytes");
        assert_eq!(field(json!({"max_variants": 0})), "max_variants");
        assert_eq!(field(json!({"status_ttl_ms": {"100": 1}})), "status_ttl_ms");
        assert_eq!(field(json!({"max_byte": 1})), "settings");
        assert_eq!(Settings::from_json(json!({})).unwrap(), Settings::default());
    }

    #[test]
    fn a_status_goes_before_the_default_and_errors_have_none() {
        let minute = Duration::from_secs(60);
        let settings = Settings::default().default_ttl(minute).status_ttl(404, minute * 2);
        assert_eq!(settings.ttl(200), Some(minute));
        assert_eq!(settings.ttl(404), Some(minute * 2));
        assert_eq!(settings.ttl(500), None);
        assert_eq!(Settings::default().ttl(200), None);
    }
}
