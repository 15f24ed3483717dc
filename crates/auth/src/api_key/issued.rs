use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{Key, Principal};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};

use super::{KeyRecord, Peppers, form};
use crate::scheme::Later;
use crate::{Fault, Scheme, Verdict, bearer};

/// Longer ones than this are not read.
const MAX_BYTES: usize = 128;

/// Where records of keys are kept, by the identifiers of the keys.
pub trait ApiKeyStore: fmt::Debug + Send + Sync + 'static {
    /// The record of `id`, which has the form of an identifier: letters and digits.
    ///
    /// A store that is slow or away must say so within a deadline of its own.
    fn find(&self, id: &str) -> Found;
}

/// What a store has for an identifier.
#[allow(clippy::exhaustive_enums, reason = "there is no third time to answer at")]
pub enum Found {
    /// It knows.
    Now(Option<Arc<KeyRecord>>),
    /// It has to ask.
    Later(Later<Result<Option<Arc<KeyRecord>>, StoreAway>>),
}

/// A store that cannot say what it has.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "stores of one's own make it")]
pub struct StoreAway;

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Now(_)) { "Now" } else { "Later" })
    }
}

/// API keys in the form of [`IssuedKey`](crate::IssuedKey), whose records are in a store. Clones
/// share them.
///
/// What has not the form, or fails its checksum, is refused without asking the store. An unknown
/// identifier and a wrong secret get the same answer after the same work. While the store is away,
/// the answer is 503.
#[derive(Clone)]
#[must_use]
pub struct IssuedKeys {
    store: Arc<dyn ApiKeyStore>,
    /// What its keys begin with: prefix and environment.
    beginning: String,
    peppers: Arc<Peppers>,
    field: HeaderName,
    bearer: bool,
}

impl IssuedKeys {
    /// Takes keys `<prefix>_<environment>_…` with records in `store`, and looks for them in
    /// `x-api-key`.
    pub fn new(store: impl ApiKeyStore, prefix: &str, environment: &str) -> Self {
        Self {
            store: Arc::new(store),
            beginning: format!("{prefix}_{environment}_"),
            peppers: Arc::default(),
            field: HeaderName::from_static("x-api-key"),
            bearer: false,
        }
    }

    /// Sets the peppers that records were made with.
    pub fn peppers(mut self, peppers: Peppers) -> Self {
        self.peppers = Arc::new(peppers);
        self
    }

    /// Looks for keys in this field.
    pub fn header(mut self, field: HeaderName) -> Self {
        self.field = field;
        self.bearer = false;
        self
    }

    /// Looks for keys in `Authorization: Bearer`. Tokens of other schemes may stand there too; they
    /// are not shown what begins as these keys do.
    pub fn bearer(mut self) -> Self {
        self.field = AUTHORIZATION;
        self.bearer = true;
        self
    }
}

/// Whose `key` is, by what the store has for its identifier.
fn judge(
    peppers: &Peppers,
    key: &[u8],
    record: Option<&KeyRecord>,
    now: Duration,
) -> Result<Principal, Fault> {
    let fits = peppers.is_one(record.map_or([None, None], KeyRecord::secrets), key);
    match record {
        Some(record) if fits && record.has_expired(now) => Err(Fault::Expired),
        Some(record) if fits => Ok(record.principal().clone()),
        _ => Err(Fault::UnknownKey),
    }
}

impl Scheme for IssuedKeys {
    fn field(&self) -> &HeaderName {
        &self.field
    }

    fn credential<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]> {
        if self.bearer { bearer::token(value.as_bytes()) } else { Some(value.as_bytes()) }
    }

    fn prefix(&self) -> Option<&str> {
        Some(&self.beginning)
    }

    fn id(&self, credential: &[u8]) -> Option<Key> {
        form::id(credential, &self.beginning).map(Key::of)
    }

    fn verify(&self, credential: &[u8], now: Duration) -> Verdict {
        if credential.len() > MAX_BYTES {
            return Verdict::Now(Err(Fault::TooLarge));
        }
        let Some(id) = form::id(credential, &self.beginning) else {
            return Verdict::Now(Err(Fault::Malformed));
        };
        match self.store.find(id) {
            Found::Now(record) => {
                Verdict::Now(judge(&self.peppers, credential, record.as_deref(), now))
            }
            Found::Later(answer) => {
                let (peppers, key) = (Arc::clone(&self.peppers), credential.to_vec());
                Verdict::later(async move {
                    let record = answer.await.map_err(|StoreAway| Fault::Unavailable)?;
                    judge(&peppers, &key, record.as_deref(), now)
                })
            }
        }
    }

    fn name(&self) -> &'static str {
        if self.bearer { "Bearer" } else { "ApiKey" }
    }
}

impl fmt::Debug for IssuedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedKeys")
            .field("store", &self.store)
            .field("beginning", &self.beginning)
            .field("field", &self.field)
            .field("bearer", &self.bearer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;
    use crate::{IssuedKey, KeyTable};

    fn record(key: &IssuedKey, peppers: &Peppers) -> KeyRecord {
        KeyRecord::new(key, peppers, Principal::new("billing"))
    }

    fn ask(keys: &IssuedKeys, key: &str, now: u64) -> Result<String, Fault> {
        match keys.verify(key.as_bytes(), Duration::from_secs(now)) {
            Verdict::Now(found) => found.map(|principal| principal.subject().to_owned()),
            Verdict::Later(_) => panic!("it is all in memory"),
        }
    }

    #[test]
    fn keys_are_rotated_expire_and_are_revoked() {
        let peppers = Peppers::none().with("a", &[1; 32]).unwrap();
        let (table, key) = (KeyTable::new(), IssuedKey::generate("bz", "live").unwrap());
        let keys = IssuedKeys::new(table.clone(), "bz", "live").peppers(peppers.clone());
        assert_eq!(ask(&keys, key.reveal(), 0), Err(Fault::UnknownKey));
        let first = record(&key, &peppers).expires_at(Duration::from_secs(100));
        table.put(key.id(), first.clone());
        assert_eq!(ask(&keys, key.reveal(), 99).as_deref(), Ok("billing"));
        assert_eq!(ask(&keys, key.reveal(), 100), Err(Fault::Expired));

        let next = key.again().unwrap();
        assert_eq!(ask(&keys, next.reveal(), 0), Err(Fault::UnknownKey), "as an unknown id");
        let both = first.rotate(&next, &peppers);
        table.put(key.id(), both.clone());
        assert!(ask(&keys, key.reveal(), 0).is_ok() && ask(&keys, next.reveal(), 0).is_ok());
        table.put(key.id(), both.settle());
        assert!(ask(&keys, key.reveal(), 0).is_err() && ask(&keys, next.reveal(), 0).is_ok());
        assert!(table.remove(key.id()) && !table.remove(key.id()));
        assert_eq!(ask(&keys, next.reveal(), 0), Err(Fault::UnknownKey));
        assert_eq!(ask(&keys, &"x".repeat(200), 0), Err(Fault::TooLarge));
    }

    #[derive(Clone, Debug, Default)]
    struct Away(Arc<AtomicU64>);

    impl ApiKeyStore for Away {
        fn find(&self, _: &str) -> Found {
            self.0.fetch_add(1, Relaxed);
            Found::Later(Box::pin(std::future::ready(Err(StoreAway))))
        }
    }

    #[tokio::test]
    async fn only_what_has_the_form_is_asked_for_and_a_store_may_be_away() {
        let away = Away::default();
        let keys = IssuedKeys::new(away.clone(), "bz", "live").bearer();
        let good = IssuedKey::generate("bz", "live").unwrap();
        let other = IssuedKey::generate("bz", "test").unwrap();
        let typo = good.reveal().replace(&good.reveal()[30..31], "-");
        for key in ["", "bz_live", "bz_live_", other.reveal(), &typo, "' OR 1=1 --"] {
            let verdict = keys.verify(key.as_bytes(), Duration::ZERO);
            assert_eq!(verdict.settled().await.unwrap_err(), Fault::Malformed, "{key}");
        }
        assert_eq!(away.0.load(Relaxed), 0);
        let verdict = keys.verify(good.reveal().as_bytes(), Duration::ZERO);
        assert_eq!(verdict.settled().await.unwrap_err(), Fault::Unavailable);
        assert_eq!(away.0.load(Relaxed), 1);
    }
}
