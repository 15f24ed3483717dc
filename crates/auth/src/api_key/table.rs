use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bartizan_core::{ConfigError, Live};
use serde_json::{Map, Value};

use super::{ApiKeyStore, Found, KeyRecord};
use crate::observe;

/// Records of keys in memory, put there by hand or from a file. Clones share them.
#[derive(Clone, Default)]
#[must_use]
pub struct KeyTable(Live<HashMap<String, Arc<KeyRecord>>>);

impl KeyTable {
    /// Starts with none.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a JSON object of records ([`KeyRecord::to_json`]) by the identifiers of the keys.
    ///
    /// # Errors
    ///
    /// If it is none, or one of the records is not.
    pub fn from_json(json: &str) -> Result<Self, ConfigError> {
        Ok(Self(Live::new(read(json)?)))
    }

    /// Reads such a file. Blocks on I/O.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or [`KeyTable::from_json`] refuses it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Ok(Self(Live::new(read_file(path.as_ref())?)))
    }

    /// Looks for ever whether the file was changed, every `interval`, and replaces all records by
    /// its. A file that cannot be used changes nothing, and is told as an event.
    ///
    /// Nothing runs unless the future is polled: spawn it, and abort the task to stop.
    pub async fn watch(self, path: impl Into<PathBuf>, interval: Duration) -> Infallible {
        let path: Arc<Path> = path.into().into();
        let mut seen = None;
        loop {
            let (at, known) = (Arc::clone(&path), seen);
            let look = move || {
                let changed = changed(&at);
                (changed != known).then(|| (changed, read_file(&at)))
            };
            if let Ok(Some((changed, result))) = tokio::task::spawn_blocking(look).await {
                seen = changed;
                match result {
                    Ok(records) => self.0.store(records),
                    Err(error) => observe::keys_not_read(&error),
                }
            }
            tokio::time::sleep(interval.max(Duration::from_millis(100))).await;
        }
    }

    /// Adds the record of a key, or replaces it. Copies the table: for changes now and then.
    pub fn put(&self, id: &str, record: KeyRecord) {
        let record = Arc::new(record);
        self.0.update(|table| {
            let mut table = table.clone();
            table.insert(id.to_owned(), Arc::clone(&record));
            table
        });
    }

    /// Removes the record of a key; false if there was none.
    #[allow(clippy::must_use_candidate, reason = "mostly it is there")]
    pub fn remove(&self, id: &str) -> bool {
        let mut found = false;
        self.0.update(|table| {
            let mut table = table.clone();
            found = table.remove(id).is_some();
            table
        });
        found
    }

    /// The number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.load().len()
    }

    /// True if there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }
}

impl ApiKeyStore for KeyTable {
    fn find(&self, id: &str) -> Found {
        Found::Now(self.0.load().get(id).cloned())
    }
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTable").field("len", &self.len()).finish_non_exhaustive()
    }
}

fn read(json: &str) -> Result<HashMap<String, Arc<KeyRecord>>, ConfigError> {
    let records: Map<String, Value> = serde_json::from_str(json).map_err(|_| {
        ConfigError::new("keys", "not a JSON object of records", "see `KeyTable::from_json`")
    })?;
    let record = |(id, value): (String, Value)| {
        Ok((id, Arc::new(KeyRecord::from_json(&value.to_string())?)))
    };
    records.into_iter().map(record).collect()
}

fn read_file(path: &Path) -> Result<HashMap<String, Arc<KeyRecord>>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError::new("keys", format!("cannot be read: {}", error.kind()), "see its rights")
    })?;
    read(&text)
}

/// When the file was last changed, and how long it is.
fn changed(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use bartizan_core::Principal;

    use super::*;
    use crate::{IssuedKey, Peppers};

    #[tokio::test(start_paused = true)]
    async fn files_are_read_and_followed() {
        let key = IssuedKey::generate("bz", "live").unwrap();
        let record = KeyRecord::new(&key, &Peppers::none(), Principal::new("a")).to_json();
        let path = std::env::temp_dir().join(format!("bartizan-keys-{}", key.id()));
        assert!(KeyTable::from_file(&path).is_err());
        std::fs::write(&path, format!(r#"{{"{}": {record}}}"#, key.id())).unwrap();
        let table = KeyTable::from_file(&path).unwrap();
        assert_eq!(table.len(), 1);
        assert!(KeyTable::from_json("[]").is_err() && KeyTable::from_json(r#"{"a":{}}"#).is_err());

        let watch = tokio::spawn(table.clone().watch(path.clone(), Duration::ZERO));
        std::fs::write(&path, "broken").unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(table.len(), 1, "what is broken changes nothing");
        std::fs::write(&path, "{}").unwrap();
        while !table.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        watch.abort();
        std::fs::remove_file(&path).unwrap();
        assert!(!format!("{table:?}").contains(key.id()));
    }
}
