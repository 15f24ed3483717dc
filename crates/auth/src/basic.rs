use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params};
use bartizan_core::{ConfigError, Key, Live, Principal, Snapshot};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::flights::Flights;
use crate::verified::Verified;
use crate::{Fault, Scheme, Verdict, observe};

/// Longer ones than this are not looked at.
const MAX_BYTES: usize = 1024;
/// How many passwords are hashed at once, and how many more may wait.
const AT_ONCE: usize = 2;
const WAITING: usize = 64;
/// How long a password that was right is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);
const CACHE_BYTES: usize = 1 << 20;
/// The memory and time that a hash may ask for, in KiB and rounds.
const MAX_MEMORY: u32 = 64 * 1024;
const MAX_ROUNDS: u32 = 10;

/// A hash of nothing, by the parameters that OWASP names (19 MiB, two rounds).
const NOBODY: &str = concat!(
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGF0IGFsbA",
    "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
);

/// Users with passwords in `Authorization: Basic` (RFC 7617): argon2id, in memory. Clones share them.
///
/// A hash takes some 20 ms and 19 MiB on purpose, so it is made on the blocking pool, two at once;
/// while 64 more wait, the answer is 503. The same name and password at once are hashed but once. A
/// password that was right is remembered for five minutes
/// by an HMAC with a random key. An unknown name costs a hash as most users have it: who has hashes
/// of several kinds shows by the clock which of the rarer ones there are. Guesses are counted under
/// the name ([`Attempts`](crate::Attempts)). For programs, API keys are better.
#[derive(Clone)]
#[must_use]
pub struct Basic(Arc<Shared>);

struct Shared {
    users: Live<Users>,
    slots: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    secret: [u8; 32],
    verified: Verified,
    flights: Flights<Result<Principal, Fault>>,
    /// The number of changes to users so far.
    changes: AtomicU64,
}

#[derive(Clone)]
struct Users {
    by_name: HashMap<String, User>,
    /// What passwords of unknown users are held against.
    nobody: Arc<str>,
}

#[derive(Clone)]
struct User {
    hash: Arc<str>,
    principal: Principal,
    /// The change that it came with, from 1: whoever has another one is another user.
    change: u64,
}

impl Default for Users {
    fn default() -> Self {
        Self { by_name: HashMap::new(), nobody: NOBODY.into() }
    }
}

impl Users {
    /// The hash that a password is held against, and whose it is.
    fn find(&self, name: &str) -> (Arc<str>, Option<Principal>) {
        match self.by_name.get(name) {
            Some(user) => (Arc::clone(&user.hash), Some(user.principal.clone())),
            None => (Arc::clone(&self.nobody), None),
        }
    }

    /// The change that this user came with; 0 for one that is not known.
    fn change(&self, name: &str) -> u64 {
        self.by_name.get(name).map_or(0, |user| user.change)
    }

    /// Makes a hash of nothing that costs what those of most users do.
    fn disguise(&mut self) {
        let mut kinds: HashMap<&str, (usize, &str)> = HashMap::new();
        for User { hash, .. } in self.by_name.values() {
            let cost = hash.rsplitn(3, '$').last().unwrap_or_default();
            kinds.entry(cost).or_insert((0, hash)).0 += 1;
        }
        // Of kinds that are as common, the dearest.
        let common = kinds.into_values().max_by_key(|(count, hash)| (*count, work(hash)));
        let nobody = common.and_then(|(_, hash)| hash.rsplit_once('$'));
        self.nobody = match nobody {
            Some((rest, tag)) => format!("{rest}${}", "A".repeat(tag.len())).into(),
            None => NOBODY.into(),
        };
    }
}

/// About how long a hash takes.
fn work(hash: &str) -> u64 {
    let params = PasswordHash::new(hash).ok().and_then(|hash| Params::try_from(&hash).ok());
    params.map_or(0, |params| u64::from(params.m_cost()) * u64::from(params.t_cost()))
}

impl Basic {
    /// Starts with no users.
    ///
    /// # Errors
    ///
    /// If the system has no randomness to give.
    pub fn new() -> Result<Self, ConfigError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|_| {
            ConfigError::new("basic", "the system has no randomness to give", "see getrandom(2)")
        })?;
        Ok(Self(Arc::new(Shared {
            users: Live::default(),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            queue: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
            secret,
            verified: Verified::new(CACHE_BYTES, false),
            flights: Flights::default(),
            changes: AtomicU64::new(0),
        })))
    }

    /// Adds a user, or changes the password, by a hash in PHC form: `$argon2id$v=19$m=…`.
    ///
    /// # Errors
    ///
    /// If the name holds a colon, or the hash is none of argon2id or asks for more than 64 MiB or
    /// ten rounds.
    pub fn user(self, name: &str, hash: &str, principal: Principal) -> Result<Self, ConfigError> {
        let error = |problem, fix| ConfigError::new("user", problem, fix);
        if name.contains(':') {
            return Err(error("a colon in a name", "it would end the name (RFC 7617)"));
        }
        let known = PasswordHash::new(hash)
            .ok()
            .filter(|hash| hash.algorithm.as_str() == "argon2id" && hash.hash.is_some())
            .ok_or_else(|| error("not a hash by argon2id", "make it with the tool `argon2`"))?;
        let bounded = Params::try_from(&known)
            .is_ok_and(|params| params.m_cost() <= MAX_MEMORY && params.t_cost() <= MAX_ROUNDS);
        if !bounded {
            return Err(error("a hash that asks for too much", "use 19 MiB and two rounds"));
        }
        let change = self.0.changes.fetch_add(1, Relaxed) + 1;
        let user = User { hash: hash.into(), principal, change };
        self.change(|users| {
            users.insert(name.to_owned(), user.clone());
        });
        Ok(self)
    }

    /// Removes a user.
    pub fn remove(&self, name: &str) {
        self.change(|users| {
            users.remove(name);
        });
    }

    fn change(&self, set: impl Fn(&mut HashMap<String, User>)) {
        self.0.users.update(|users| {
            let mut users = users.clone();
            set(&mut users.by_name);
            users.disguise();
            users
        });
    }
}

impl Shared {
    /// What a name and password are remembered by, as of a user.
    fn tag(&self, user: u64, pair: &[u8]) -> [u8; 32] {
        // HMAC takes secrets of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.secret) else { return [0; 32] };
        mac.update(&user.to_be_bytes());
        mac.update(pair);
        mac.finalize().into_bytes().into()
    }

    /// Judges a password, together with whoever else shows the same now.
    async fn find_out(
        self: Arc<Self>,
        password: String,
        user: (Arc<str>, Option<Principal>),
        tag: [u8; 32],
        now: Duration,
    ) -> Result<Principal, Fault> {
        self.flights.join(tag, self.judge(password, user, tag, now)).await
    }

    async fn judge(
        &self,
        password: String,
        (hash, principal): (Arc<str>, Option<Principal>),
        tag: [u8; 32],
        now: Duration,
    ) -> Result<Principal, Fault> {
        let queue = Arc::clone(&self.queue).try_acquire_owned();
        let queued = queue.map_err(|_| Fault::Unavailable)?;
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|_| Fault::Unavailable)?;
        // Whoever goes away leaves the work behind, and with it the place that it takes.
        let work = spawn_blocking(move || {
            let _places = (queued, slot);
            PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
            })
        });
        let fits = work.await.map_err(|_| Fault::Unavailable)?;
        let principal = principal.filter(|_| fits).ok_or(Fault::UnknownKey)?;
        // The claims are the table's, and held but once.
        self.verified.put(&tag, &principal, 0, now + REMEMBERED, 0);
        Ok(principal)
    }
}

/// What follows `Basic`, in any case.
fn pair(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("basic".len())?;
    let rest = rest.strip_prefix(b" ")?;
    scheme.eq_ignore_ascii_case(b"basic").then(|| rest.trim_ascii())
}

/// What stands in a credential, which is no longer than `bytes`.
fn name_and_password<'a>(credential: &[u8], bytes: &'a mut [u8]) -> Option<(&'a str, &'a str)> {
    let length = STANDARD.decode_slice(credential, bytes).ok()?;
    str::from_utf8(bytes.get(..length)?).ok()?.split_once(':')
}

impl Scheme for Basic {
    fn field(&self) -> &HeaderName {
        const { &AUTHORIZATION }
    }

    fn credential<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]> {
        pair(value.as_bytes())
    }

    fn id(&self, credential: &[u8]) -> Option<Key> {
        let mut pair = [0; MAX_BYTES];
        let length = STANDARD.decode_slice(credential, &mut pair).ok()?;
        pair[..length].split(|byte| *byte == b':').next().map(Key::of)
    }

    fn verify(&self, credential: &[u8], now: Duration) -> Verdict {
        let Self(shared) = self;
        if credential.len() > MAX_BYTES {
            return Verdict::Now(Err(Fault::TooLarge));
        }
        let mut bytes = [0; MAX_BYTES];
        let Some((name, password)) = name_and_password(credential, &mut bytes) else {
            return Verdict::Now(Err(Fault::Malformed));
        };
        let users = shared.users.load();
        let tag = shared.tag(users.change(name), credential);
        if let Some(known) = shared.verified.get(&tag, now, 0) {
            return Verdict::Now(Ok(known));
        }
        let (password, user) = (password.to_owned(), users.find(name));
        Verdict::later(Arc::clone(shared).find_out(password, user, tag, now))
    }

    fn name(&self) -> &'static str {
        "Basic"
    }

    fn describe(&self, part: &str, snapshot: Snapshot) -> Snapshot {
        observe::verified(&self.0.verified, part, snapshot)
    }
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic")
            .field("users", &self.0.users.load().by_name.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordHasher;

    use super::*;

    fn hash(password: &str) -> String {
        let params = Params::new(8, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        argon2.hash_password(password.as_bytes()).unwrap().to_string()
    }

    fn basic() -> Basic {
        Basic::new().unwrap().user("alice", &hash("sesame"), Principal::new("alice")).unwrap()
    }

    async fn ask(basic: &Basic, pair: &str) -> Result<String, Fault> {
        let verdict = basic.verify(STANDARD.encode(pair).as_bytes(), Duration::ZERO);
        verdict.settled().await.map(|principal| principal.subject().to_owned())
    }

    #[tokio::test]
    async fn users_are_known_by_their_passwords() {
        let basic = basic();
        assert_eq!(ask(&basic, "alice:sesame").await.as_deref(), Ok("alice"));
        let known = basic.verify(STANDARD.encode("alice:sesame").as_bytes(), Duration::ZERO);
        assert!(matches!(known, Verdict::Now(Ok(_))), "remembered");
        let late = basic.verify(STANDARD.encode("alice:sesame").as_bytes(), REMEMBERED);
        assert!(matches!(late, Verdict::Later(_)));
        for pair in ["alice:Sesame", "bob:sesame", "alice:", ":sesame", ":"] {
            assert_eq!(ask(&basic, pair).await, Err(Fault::UnknownKey), "{pair}");
        }
        assert_eq!(ask(&basic, "alice").await, Err(Fault::Malformed));
        assert_eq!(ask(&basic, &"a:".repeat(500)).await, Err(Fault::TooLarge));
        basic.remove("alice");
        assert_eq!(ask(&basic, "alice:sesame").await, Err(Fault::UnknownKey));
        for (value, expected) in
            [("bAsIc YTpi ", Some("YTpi")), ("Basic", None), ("Basicx a", None)]
        {
            assert_eq!(pair(value.as_bytes()), expected.map(str::as_bytes));
        }
        assert!(!format!("{basic:?}").contains("argon2id"));
    }

    #[tokio::test]
    async fn a_change_of_one_user_is_nothing_to_the_others() {
        let basic = basic().user("bob", &hash("open"), Principal::new("bob")).unwrap();
        let is_known = |pair: &str| {
            let verdict = basic.verify(STANDARD.encode(pair).as_bytes(), Duration::ZERO);
            matches!(verdict, Verdict::Now(Ok(_)))
        };
        for pair in ["alice:sesame", "bob:open"] {
            assert!(!is_known(pair) && ask(&basic, pair).await.is_ok() && is_known(pair));
        }
        drop(basic.clone().user("bob", &hash("shut"), Principal::new("bob")).unwrap());
        drop(basic.clone().user("carol", &hash("x"), Principal::new("carol")).unwrap());
        assert!(is_known("alice:sesame") && !is_known("bob:open"));
        assert_eq!(ask(&basic, "bob:open").await, Err(Fault::UnknownKey));
        assert!(ask(&basic, "bob:shut").await.is_ok());
        // Who comes back is another, though by the same password.
        basic.remove("bob");
        drop(basic.clone().user("bob", &hash("shut"), Principal::new("robert")).unwrap());
        assert!(!is_known("bob:shut") && is_known("alice:sesame"));
        assert_eq!(ask(&basic, "bob:shut").await.as_deref(), Ok("robert"));
    }

    #[tokio::test]
    async fn who_shows_the_same_at_once_has_it_hashed_once() {
        let basic = basic();
        let all: Vec<_> = (0..500)
            .map(|_| {
                let basic = basic.clone();
                tokio::spawn(async move { ask(&basic, "alice:sesame").await })
            })
            .collect();
        for one in all {
            assert_eq!(one.await.unwrap().as_deref(), Ok("alice"));
        }
    }

    #[tokio::test]
    async fn an_unknown_user_costs_a_hash_and_the_queue_is_bounded() {
        let kind = |hash: &str| {
            let hash = PasswordHash::new(hash).unwrap();
            let length = hash.hash.map(|tag| tag.as_bytes().len());
            (Params::try_from(&hash).unwrap(), hash.version, length)
        };
        let cheap = hash("sesame");
        let params = Params::new(32, 3, 1, Some(48)).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let dear = argon2.hash_password(b"sesame").unwrap().to_string();
        let basic = Basic::new().unwrap();
        let nobody = || basic.0.users.load().find("nobody").0;
        assert_eq!(kind(&nobody()), kind(NOBODY));
        for (name, kept, most) in [("a", &cheap, &cheap), ("b", &dear, &dear), ("c", &dear, &dear)]
        {
            drop(basic.clone().user(name, kept, Principal::new(name)).unwrap());
            assert_eq!(kind(&nobody()), kind(most), "{name}");
        }
        basic.remove("b");
        basic.remove("c");
        assert_eq!(kind(&nobody()), kind(&cheap));
        assert_eq!(ask(&basic, "nobody:sesame").await, Err(Fault::UnknownKey));
        let _all =
            Arc::clone(&basic.0.queue).try_acquire_many_owned((AT_ONCE + WAITING) as u32).unwrap();
        assert_eq!(ask(&basic, "nobody:x").await, Err(Fault::Unavailable));
    }

    #[test]
    fn weak_and_greedy_hashes_are_refused() {
        let refused = [
            "",
            "sesame",
            "$argon2i$v=19$m=19456,t=2,p=1$bm9ib2R5IGF0IGFsbA$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=1048576,t=2,p=1$bm9ib2R5IGF0IGFsbA$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=100,p=1$bm9ib2R5IGF0IGFsbA$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGF0IGFsbA",
        ];
        for hash in refused {
            let result = Basic::new().unwrap().user("a", hash, Principal::new("a"));
            assert!(result.is_err(), "{hash}");
        }
        assert!(basic().user("a:b", &hash("x"), Principal::new("a")).is_err());
    }
}
