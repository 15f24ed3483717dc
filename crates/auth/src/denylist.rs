use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bartizan_core::{Clock, Counter, Key, Principal};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Fault;

/// How many revocations are kept by default: some 50 MB of them at most.
const CAPACITY: usize = 1 << 20;
/// Below this, a purge is not worth the while.
const FEW: usize = 1024;

/// Credentials that are good no longer although nothing in them says so: tokens by `jti`, sessions
/// by `sid`, and all that a subject was issued before a moment. Clones share it.
///
/// It is asked about every credential that was verified, remembered ones too, and answers from
/// memory. What several processes share is fed to it by whoever hears of it, as by the denylist of
/// `bartizan-redis`; see [`stale_after`](Self::stale_after) for what holds when that falls silent.
///
/// ```
/// use std::time::Duration;
///
/// use bartizan_auth::{Denylist, Revocation};
///
/// let denylist = Denylist::new();
/// let until = Duration::from_secs(1_900_000_000);
/// denylist.deny(&Revocation::token("https://id.example", "b7f3c1", until))?;
/// assert_eq!(denylist.len(), 1);
/// # Ok::<(), bartizan_auth::Full>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Denylist {
    shared: Arc<Shared>,
    capacity: Option<usize>,
    clock: Clock,
    silence: Option<Silence>,
}

#[derive(Default)]
struct Shared {
    entries: RwLock<Entries>,
    /// The number of entries, so that an empty list costs one load.
    len: AtomicUsize,
    /// When it last heard of all there is, in milliseconds since 1970.
    heard: AtomicU64,
    full: Counter,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    /// The number of entries at which those that are over are dropped.
    purge_at: usize,
    /// The second before which there are none: a list that is full is not searched in vain.
    none_over_until: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Tokens that were issued at this second or earlier, in seconds since 1970.
    issued: u64,
    /// The entry's own end.
    until: u64,
}

#[derive(Clone, Copy, Debug)]
struct Silence {
    after: Duration,
    rule: WhenStale,
}

/// What holds when a [`Denylist`] has not heard of its source for too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WhenStale {
    /// Credentials pass by what is known: the service goes on, and a revocation may be missed.
    Pass,
    /// Nobody passes, with 503: no revocation is missed, and the source's outage is the service's.
    Refuse,
}

/// What is good no longer.
///
/// `Debug` does not show whose it is.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct Revocation {
    kind: Kind,
    issuer: String,
    id: String,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issued: Option<u64>,
    /// Seconds since 1970.
    until: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Session,
    Subject,
    Token,
}

/// A [`Denylist`] has no room for another revocation: what it was told is not in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Full;

impl Revocation {
    /// The token of `issuer` with this `jti`. It is remembered until `until`, the time since 1970,
    /// best the token's `exp` and the leeway. Of a caller without an issuer, `issuer` is empty.
    pub fn token(issuer: impl Into<String>, jti: impl Into<String>, until: Duration) -> Self {
        Self::new(Kind::Token, issuer.into(), jti.into(), None, until)
    }

    /// All tokens of `issuer` with this `sid` (OpenID Connect Back-Channel Logout §2.1).
    pub fn session(issuer: impl Into<String>, sid: impl Into<String>, until: Duration) -> Self {
        Self::new(Kind::Session, issuer.into(), sid.into(), None, until)
    }

    /// All credentials of a subject that were issued (`iat`) by `issued` or do not say when: out
    /// of every device. New ones are good.
    pub fn subject(
        issuer: impl Into<String>,
        subject: impl Into<String>,
        issued: Duration,
        until: Duration,
    ) -> Self {
        Self::new(Kind::Subject, issuer.into(), subject.into(), Some(issued.as_secs()), until)
    }

    fn new(kind: Kind, issuer: String, id: String, issued: Option<u64>, until: Duration) -> Self {
        // Rounded up: rather a second too long.
        let until = until.as_secs().saturating_add(u64::from(until.subsec_nanos() > 0));
        Self { kind, issuer, id, issued, until }
    }

    /// When it need not be remembered any longer, as the time since 1970.
    #[must_use]
    pub const fn until(&self) -> Duration {
        Duration::from_secs(self.until)
    }

    /// What it is about, for a store that keeps one revocation for each: kind, issuer and id.
    #[must_use]
    pub fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Session => "session",
            Kind::Subject => "subject",
            Kind::Token => "token",
        };
        format!("{kind} {} {}", self.issuer, self.id)
    }

    fn key(&self) -> Key {
        key(self.kind, &self.issuer, &self.id)
    }
}

impl Denylist {
    /// Starts with nothing revoked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many revocations are kept: 1 048 576 by default, of some 50 bytes each.
    pub const fn capacity(mut self, entries: usize) -> Self {
        self.capacity = Some(entries);
        self
    }

    /// Sets the clock by which revocations end.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets what holds once [`heard`](Self::heard) was not called for this long. By default
    /// nothing: what is known in memory is all there is.
    pub const fn stale_after(mut self, silence: Duration, rule: WhenStale) -> Self {
        self.silence = Some(Silence { after: silence, rule });
        self
    }

    /// Revokes.
    ///
    /// # Errors
    ///
    /// If there is no room, even without what is over by now.
    pub fn deny(&self, revocation: &Revocation) -> Result<(), Full> {
        let now = self.clock.unix();
        if revocation.until() <= now {
            return Ok(());
        }
        let capacity = self.capacity.unwrap_or(CAPACITY);
        let mut entries = self.shared.entries.write();
        let (key, denied) = (revocation.key(), Entry::of(revocation));
        if let Some(entry) = entries.by_key.get_mut(&key) {
            *entry = entry.furthest(denied);
            return Ok(());
        }
        entries.purge_if_due(now, capacity);
        let room = entries.by_key.len() < capacity;
        if room {
            entries.none_over_until = entries.none_over_until.min(revocation.until);
            entries.by_key.insert(key, denied);
        }
        self.shared.len.store(entries.by_key.len(), Relaxed);
        drop(entries);
        if room {
            return Ok(());
        }
        self.shared.full.add(1);
        Err(Full)
    }

    /// Takes a revocation back. Of those of one subject only the furthest is known: what reaches
    /// further than this one, by the moment or by its end, is left.
    pub fn pardon(&self, revocation: &Revocation) {
        let mut entries = self.shared.entries.write();
        let (key, pardoned) = (revocation.key(), Entry::of(revocation));
        if !entries.by_key.get(&key).is_some_and(|entry| entry.is_further(pardoned)) {
            entries.by_key.remove(&key);
        }
        self.shared.len.store(entries.by_key.len(), Relaxed);
    }

    /// Takes revocations back that are about the same, and all others about it, but for `left`: by a
    /// source that knows which there are. What reaches further than all of these, by the moment or by
    /// its end, the source does not know: it is left too.
    pub fn pardon_all_but(&self, pardoned: &[Revocation], left: &[Revocation]) {
        let Some(first) = pardoned.first() else { return };
        let furthest = |all: &[Revocation]| all.iter().map(Entry::of).reduce(Entry::furthest);
        let (key, left) = (first.key(), furthest(left));
        let known = furthest(pardoned).into_iter().chain(left).reduce(Entry::furthest);
        let mut entries = self.shared.entries.write();
        if let Some(entry) = entries.by_key.get_mut(&key)
            && !known.is_some_and(|known| entry.is_further(known))
        {
            match left {
                Some(left) => *entry = left,
                None => drop(entries.by_key.remove(&key)),
            }
        }
        self.shared.len.store(entries.by_key.len(), Relaxed);
    }

    /// Takes note that all that the source knew at `now` was told.
    pub fn heard(&self, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.shared.heard.fetch_max(now, Relaxed);
    }

    /// The number of revocations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.len.load(Relaxed)
    }

    /// True if nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if the source fell silent for too long; see [`stale_after`](Self::stale_after).
    #[must_use]
    pub fn is_stale(&self, now: Duration) -> bool {
        let heard = Duration::from_millis(self.shared.heard.load(Relaxed));
        self.silence.is_some_and(|silence| now.saturating_sub(heard) > silence.after)
    }

    /// How many revocations found no room.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.shared.full.get()
    }

    /// Looks at a caller whose credential was verified.
    ///
    /// # Errors
    ///
    /// [`Fault::Revoked`]; or [`Fault::Unavailable`] if that cannot be told.
    pub fn check(&self, principal: &Principal, now: Duration) -> Result<(), Fault> {
        if self.silence.is_some_and(|silence| silence.rule == WhenStale::Refuse)
            && self.is_stale(now)
        {
            return Err(Fault::Unavailable);
        }
        if self.is_empty() {
            return Ok(());
        }
        let issuer = principal.issuer().unwrap_or_default();
        let claims = principal.claims();
        let text = |name| claims.get(name).and_then(Value::as_str);
        let entries = self.shared.entries.read();
        let denied = |kind, id: Option<&str>, issued: u64| {
            id.and_then(|id| entries.by_key.get(&key(kind, issuer, id)))
                .is_some_and(|entry| issued <= entry.issued && now.as_secs() < entry.until)
        };
        let issued = claims.get("iat").and_then(Value::as_f64).map_or(0, |iat| iat as u64);
        if denied(Kind::Token, text("jti"), 0)
            || denied(Kind::Session, text("sid"), 0)
            || denied(Kind::Subject, Some(principal.subject()), issued)
        {
            return Err(Fault::Revoked);
        }
        Ok(())
    }
}

impl Entry {
    fn of(revocation: &Revocation) -> Self {
        Self { issued: revocation.issued.unwrap_or(u64::MAX), until: revocation.until }
    }

    /// What is denied by either.
    fn furthest(self, other: Self) -> Self {
        Self { issued: self.issued.max(other.issued), until: self.until.max(other.until) }
    }

    /// Whether it denies what the other does not.
    const fn is_further(self, other: Self) -> bool {
        self.issued > other.issued || self.until > other.until
    }
}

impl Entries {
    /// Drops what is over, if that is worth the while: then it is true. Half as many must come again
    /// before the next time, so that a revocation costs the same whatever the number. Where there is
    /// no room for so many, the next one must be over first: all requests wait meanwhile, and that is
    /// once a second at most.
    fn purge_if_due(&mut self, now: Duration, capacity: usize) -> bool {
        let (now, many) = (now.as_secs(), self.purge_at.clamp(FEW.min(capacity), capacity));
        if self.by_key.len() < many || now < self.none_over_until {
            return false;
        }
        self.by_key.retain(|_, entry| entry.until > now);
        self.purge_at = 2 * self.by_key.len();
        let next = self.by_key.values().map(|entry| entry.until).min();
        self.none_over_until = next.unwrap_or_default();
        true
    }
}

fn key(kind: Kind, issuer: &str, id: &str) -> Key {
    Key::of(&(kind as u8, issuer, id))
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("len", &self.len).finish_non_exhaustive()
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation")
            .field("kind", &self.kind)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the denylist is full")
    }
}

impl std::error::Error for Full {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://id.test";
    const NOW: Duration = Duration::from_secs(1_000_000);
    const LATER: Duration = Duration::from_secs(1_001_000);

    fn denylist() -> Denylist {
        // It stands at `NOW`.
        Denylist::new().clock(Clock::manual())
    }

    fn alice(claims: &Value) -> Principal {
        let claims = claims.as_object().unwrap().clone();
        Principal::new("alice").with_issuer(ISSUER).with_claims(claims)
    }

    #[test]
    fn tokens_sessions_and_subjects_are_denied_until_their_end() {
        let denylist = denylist();
        let twin = denylist.clone();
        assert_eq!(denylist.check(&alice(&json!({"jti": "a"})), NOW), Ok(()));
        twin.deny(&Revocation::token(ISSUER, "a", LATER)).unwrap();
        twin.deny(&Revocation::session(ISSUER, "s", LATER)).unwrap();
        let check = |claims: Value, now| denylist.check(&alice(&claims), now);
        assert_eq!(check(json!({"jti": "a"}), NOW), Err(Fault::Revoked));
        assert_eq!(check(json!({"jti": "b", "sid": "s"}), NOW), Err(Fault::Revoked));
        assert_eq!(check(json!({"jti": "s", "sid": "a"}), NOW), Ok(()));
        assert_eq!(check(json!({"jti": "a"}), LATER), Ok(()));
        let other = Principal::new("alice").with_issuer("https://other.test");
        let claims = json!({"jti": "a"}).as_object().unwrap().clone();
        assert_eq!(denylist.check(&other.with_claims(claims), NOW), Ok(()));
        denylist.pardon(&Revocation::token(ISSUER, "a", LATER));
        assert_eq!(check(json!({"jti": "a"}), NOW), Ok(()));
    }

    #[test]
    fn a_subject_comes_back_with_a_new_login_only() {
        let denylist = denylist();
        denylist.deny(&Revocation::subject(ISSUER, "alice", NOW, LATER)).unwrap();
        let check = |claims: Value| denylist.check(&alice(&claims), NOW);
        assert_eq!(check(json!({"iat": 999_999})), Err(Fault::Revoked));
        // Dates have no parts of seconds: who cannot tell, denies.
        assert_eq!(check(json!({"iat": 1_000_000})), Err(Fault::Revoked));
        assert_eq!(check(json!({})), Err(Fault::Revoked));
        assert_eq!(check(json!({"iat": 1_000_001})), Ok(()));
        // An older one that arrives late takes nothing back.
        denylist.deny(&Revocation::subject(ISSUER, "alice", Duration::ZERO, NOW)).unwrap();
        assert_eq!(check(json!({"iat": 999_999})), Err(Fault::Revoked));
        let by_key = Principal::new("partner");
        denylist.deny(&Revocation::subject("", "partner", NOW, LATER)).unwrap();
        assert_eq!(denylist.check(&by_key, NOW), Err(Fault::Revoked));
    }

    #[test]
    fn a_pardon_takes_back_what_it_reaches_and_no_more() {
        let denylist = denylist();
        let logout = |issued: u64, until: u64| {
            let (issued, until) = (Duration::from_secs(issued), Duration::from_secs(until));
            Revocation::subject(ISSUER, "alice", issued, until)
        };
        let (early, late) = (logout(999_000, 1_001_000), logout(999_500, 1_001_500));
        let is_denied = |issued| denylist.check(&alice(&json!({"iat": issued})), NOW).is_err();
        denylist.deny(&early).unwrap();
        denylist.deny(&late).unwrap();
        denylist.pardon(&early);
        assert!(is_denied(999_000) && is_denied(999_500));
        denylist.pardon(&logout(999_500, 1_001_000));
        assert!(is_denied(999_500), "it would end too early");
        denylist.pardon(&late);
        assert!(!is_denied(999_000) && denylist.is_empty());

        denylist.deny(&early).unwrap();
        denylist.deny(&late).unwrap();
        let (late, early) = (std::slice::from_ref(&late), std::slice::from_ref(&early));
        denylist.pardon_all_but(late, early);
        assert!(is_denied(999_000) && !is_denied(999_500));
        denylist.pardon_all_but(early, &[]);
        assert!(denylist.is_empty());
        denylist.pardon_all_but(early, late);
        assert!(denylist.is_empty(), "there is nothing to take back");
    }

    #[test]
    fn what_the_source_does_not_know_is_not_pardoned() {
        let denylist = denylist();
        let logout = |issued: u64, until: u64| {
            let (issued, until) = (Duration::from_secs(issued), Duration::from_secs(until));
            Revocation::subject(ISSUER, "alice", issued, until)
        };
        let is_denied = |issued| denylist.check(&alice(&json!({"iat": issued})), NOW).is_err();
        let (early, long) = (logout(999_000, 1_001_000), logout(998_000, 1_002_000));
        let late = logout(999_500, 1_001_000);
        denylist.deny(&late).unwrap();
        let only_early = std::slice::from_ref(&early);
        denylist.pardon_all_but(only_early, &[]);
        assert!(is_denied(999_500), "it is later");
        denylist.pardon_all_but(only_early, std::slice::from_ref(&long));
        assert!(is_denied(999_500), "it is later than what is left, too");
        denylist.pardon_all_but(&[late.clone(), early.clone()], &[]);
        assert!(denylist.is_empty(), "the furthest counts, not the last");

        // Each explains a part of it.
        denylist.deny(&late).unwrap();
        denylist.deny(&long).unwrap();
        denylist.pardon_all_but(&[late], &[long]);
        assert!(is_denied(998_000) && !is_denied(999_500));
        denylist.pardon_all_but(&[], &[early]);
        assert!(is_denied(998_000));
    }

    #[test]
    fn it_is_bounded_and_says_what_it_could_not_take() {
        let clock = Clock::manual();
        let in_secs = |secs| clock.unix() + Duration::from_secs(secs);
        let denylist = Denylist::new().capacity(2).clock(clock.clone());
        let token = |jti: &str, until| Revocation::token(ISSUER, jti, until);
        denylist.deny(&token("a", in_secs(10))).unwrap();
        denylist.deny(&token("b", in_secs(20))).unwrap();
        denylist.deny(&token("b", in_secs(20))).unwrap();
        let c = token("c", in_secs(20));
        assert_eq!(denylist.deny(&c), Err(Full));
        assert_eq!((denylist.len(), denylist.missed()), (2, 1));
        clock.advance(Duration::from_secs(10));
        assert_eq!(denylist.deny(&c), Ok(()));
        assert_eq!(denylist.len(), 2);
    }

    #[test]
    fn one_that_is_full_is_not_searched_in_vain() {
        let clock = Clock::manual();
        let denylist = Denylist::new().capacity(2000).clock(clock.clone());
        let until = |secs| clock.unix() + Duration::from_secs(secs);
        for jti in 0..2000 {
            let end = until(10 + jti % 7);
            denylist.deny(&Revocation::token(ISSUER, jti.to_string(), end)).unwrap();
        }
        let searched = || denylist.shared.entries.write().purge_if_due(clock.unix(), 2000);
        let extra = Revocation::token(ISSUER, "extra", until(100));
        assert_eq!(denylist.deny(&extra), Err(Full));
        assert!(!searched(), "by the one that found no room, and by no other");
        clock.advance(Duration::from_millis(9_900));
        assert!(!searched());
        clock.advance(Duration::from_millis(100));
        assert_eq!(denylist.deny(&extra), Ok(()));
        assert!(denylist.len() < 2000);
    }

    #[test]
    fn what_is_over_does_not_pile_up() {
        let clock = Clock::manual();
        let denylist = Denylist::new().clock(clock.clone());
        for jti in 0..100_000 {
            let until = clock.unix() + Duration::from_secs(100);
            denylist.deny(&Revocation::token(ISSUER, jti.to_string(), until)).unwrap();
            clock.advance(Duration::from_secs(1));
            assert!(denylist.len() <= FEW, "{}", denylist.len());
        }
    }

    #[test]
    fn silence_is_open_or_closed_by_choice() {
        let open = Denylist::new().stale_after(Duration::from_secs(30), WhenStale::Pass);
        let closed = open.clone().stale_after(Duration::from_secs(30), WhenStale::Refuse);
        let caller = alice(&json!({}));
        assert_eq!(closed.check(&caller, NOW), Err(Fault::Unavailable));
        assert_eq!(open.check(&caller, NOW), Ok(()));
        assert!(open.is_stale(NOW));
        open.heard(NOW);
        assert_eq!(closed.check(&caller, NOW + Duration::from_secs(30)), Ok(()));
        let late = NOW + Duration::from_secs(31);
        assert_eq!(closed.check(&caller, late), Err(Fault::Unavailable));
        assert!(!Denylist::new().is_stale(NOW));
    }

    #[test]
    fn what_is_revoked_travels_as_text_and_is_not_shown() {
        let revocation = Revocation::subject(ISSUER, "alice", NOW, Duration::from_millis(1500));
        let text = serde_json::to_string(&revocation).unwrap();
        assert_eq!(serde_json::from_str::<Revocation>(&text).unwrap(), revocation);
        assert_eq!(revocation.until(), Duration::from_secs(2));
        assert_eq!(revocation.name(), "subject https://id.test alice");
        assert!(!format!("{revocation:?}").contains("alice"));
        assert!(serde_json::from_str::<Revocation>(r#"{"kind": "all"}"#).is_err());
    }
}
