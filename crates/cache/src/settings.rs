use bartizan_core::ConfigError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What can be changed while the cache runs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
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
}

impl Default for Settings {
    /// 64 MiB in all, 1 MiB for a body, 16 variants, and clients may ask.
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_body_bytes: 1 << 20,
            max_variants: 16,
            request_directives: true,
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

    /// Sets the longest body that is stored, in bytes. A longer one is passed on.
    pub const fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Sets how many variants (by `Vary`) of a resource are stored; the newest are kept.
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
        if self.max_body_bytes > u64::from(u32::MAX) {
            return error("max_body_bytes", "more than can be weighed", "stay below 4 GiB");
        }
        if self.max_variants == 0 {
            return error("max_variants", "nothing could be stored", "use 1 or more");
        }
        Ok(self)
    }
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
        assert_eq!(field(json!({"max_byte": 1})), "settings");
        assert_eq!(Settings::from_json(json!({})).unwrap(), Settings::default());
    }
}
