//! Purges by resource, tag and prefix: written down once, and looked up by each response when it
//! is next asked for. A purge costs the same for any number of stored responses.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{PoisonError, RwLock};

use bartizan_core::Key;
use http::Uri;

use crate::by_key::ByKey;
use crate::entry::Entry;
use crate::tags;

/// What an operator wants gone.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct Purge {
    what: What,
    soft: bool,
    by_change: bool,
}

/// What a [`Purge`] names.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// All that is stored.
    All,
    /// A group of an origin (RFC 9875).
    Group {
        /// The origin, as in `https://example.test`.
        origin: String,
        /// The group's name.
        name: String,
    },
    /// What is found at URIs that begin with this text.
    Prefix(String),
    /// What carried this tag.
    Tag(String),
    /// One resource.
    Uri(Uri),
}

impl Purge {
    /// All that is stored.
    pub const fn all() -> Self {
        Self::of(What::All)
    }

    /// A resource with all its variants and parts, in all partitions of the key.
    pub const fn uri(uri: Uri) -> Self {
        Self::of(What::Uri(uri))
    }

    /// All resources whose absolute URI begins with this text: scheme and host in lower case,
    /// without a default port, as in `https://example.test/products/`.
    pub fn prefix(text: impl Into<String>) -> Self {
        Self::of(What::Prefix(text.into()))
    }

    /// All responses that carried the tag in `Surrogate-Key` or `Cache-Tag`.
    pub fn tag(name: impl Into<String>) -> Self {
        Self::of(What::Tag(name.into()))
    }

    /// All responses of an origin, as in `https://example.test`, that named the group in
    /// `Cache-Groups` (RFC 9875).
    pub fn group(origin: impl Into<String>, name: impl Into<String>) -> Self {
        Self::of(What::Group { origin: origin.into(), name: name.into() })
    }

    const fn of(what: What) -> Self {
        Self { what, soft: false, by_change: false }
    }

    /// Declares stale rather than removes: what may be served stale still is, while a fresh one is
    /// fetched or the service is down.
    pub const fn soft(mut self) -> Self {
        self.soft = true;
        self
    }

    /// Says that a request made it, one that may have changed what it names: it is not logged, nor
    /// counted as an operator's.
    pub const fn by_change(mut self) -> Self {
        self.by_change = true;
        self
    }

    /// Whether a request made it.
    #[must_use]
    pub const fn is_by_change(&self) -> bool {
        self.by_change
    }

    /// Whether it declares stale only.
    #[must_use]
    pub const fn is_soft(&self) -> bool {
        self.soft
    }

    /// What it names.
    #[must_use]
    pub const fn what(&self) -> &What {
        &self.what
    }
}

/// What a response learns of the purges since it was last asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Since {
    Nothing,
    Softened,
    Gone,
}

/// More labels than are purged between two looks at what is asked for; 5 MiB.
const MAX_LABELS: usize = 1 << 16;
/// Each is compared with each response once.
const MAX_PREFIXES: usize = 256;

/// The purges so far.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    latest: AtomicU64,
    records: RwLock<Records>,
}

#[derive(Debug, Default)]
struct Records {
    labels: HashMap<Key, Mark, ByKey>,
    /// The labels by age, some of them marked again since.
    order: VecDeque<(u64, Key)>,
    prefixes: VecDeque<(u64, String, bool)>,
    /// What was asked for before this, and not since, is gone: the purges of that time are
    /// forgotten.
    floor: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    hard: u64,
    soft: u64,
}

impl Journal {
    /// Where the journal stands.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.latest.load(SeqCst)
    }

    pub(crate) fn purge(&self, label: Key, soft: bool) {
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        let position = self.latest.load(Relaxed) + 1;
        let mark = records.labels.entry(label).or_default();
        if soft {
            mark.soft = position;
        } else {
            mark.hard = position;
        }
        records.order.push_back((position, label));
        while records.order.len() > MAX_LABELS {
            records.forget_label();
        }
        self.latest.store(position, SeqCst);
    }

    pub(crate) fn purge_prefix(&self, prefix: String, soft: bool) {
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        let position = self.latest.load(Relaxed) + 1;
        records.prefixes.push_back((position, prefix, soft));
        if records.prefixes.len() > MAX_PREFIXES
            && let Some((old, _, _)) = records.prefixes.pop_front()
        {
            records.floor = records.floor.max(old);
        }
        self.latest.store(position, SeqCst);
    }

    /// Looks the purges through that a response has not seen.
    #[inline]
    pub(crate) fn since(&self, entry: &Entry) -> Since {
        let seen = entry.checked.load(Relaxed);
        if seen >= self.position() {
            return if entry.is_softened() { Since::Softened } else { Since::Nothing };
        }
        self.look_through(entry, seen)
    }

    #[cold]
    fn look_through(&self, entry: &Entry, seen: u64) -> Since {
        let records = self.records.read().unwrap_or_else(PoisonError::into_inner);
        let position = self.latest.load(Relaxed);
        let since = records.since(seen, &entry.head.labels, &entry.head.uri);
        if since == Since::Gone {
            return since;
        }
        entry.softened.fetch_or(since == Since::Softened, Relaxed);
        entry.checked.fetch_max(position, Relaxed);
        if entry.is_softened() { Since::Softened } else { Since::Nothing }
    }

    /// Whether anything was purged after `seen` that has one of these labels, or is found there.
    pub(crate) fn names(&self, seen: u64, labels: &[Key], uri: &str) -> bool {
        seen < self.position() && {
            let records = self.records.read().unwrap_or_else(PoisonError::into_inner);
            records.since(seen, labels, uri) != Since::Nothing
        }
    }
}

impl Records {
    fn since(&self, seen: u64, labels: &[Key], uri: &str) -> Since {
        if self.floor > seen {
            return Since::Gone;
        }
        let mut soft = false;
        for mark in labels.iter().filter_map(|label| self.labels.get(label)) {
            if mark.hard > seen {
                return Since::Gone;
            }
            soft |= mark.soft > seen;
        }
        for (_, prefix, is_soft) in self.prefixes.iter().rev().take_while(|(at, _, _)| *at > seen) {
            if uri.starts_with(prefix.as_str()) {
                if !is_soft {
                    return Since::Gone;
                }
                soft = true;
            }
        }
        if soft { Since::Softened } else { Since::Nothing }
    }

    fn forget_label(&mut self) {
        let Some((position, label)) = self.order.pop_front() else { return };
        self.floor = self.floor.max(position);
        if self.labels.get(&label).is_some_and(|mark| mark.hard.max(mark.soft) <= position) {
            self.labels.remove(&label);
        }
    }
}

/// The label of a tag or group.
pub(crate) fn label(what: &What) -> Option<Key> {
    match what {
        What::Tag(name) => Some(tags::tag(name.as_bytes())),
        What::Group { origin, name } => Some(tags::group(origin, name)),
        What::All | What::Prefix(_) | What::Uri(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::tests::entry;

    fn tagged(tags: &'static str, position: u64) -> Entry {
        let entry = entry(200, &[("cache-control", "max-age=60"), ("cache-tag", tags)], "");
        entry.checked.store(position, Relaxed);
        entry
    }

    fn tag(name: &str) -> Key {
        tags::tag(name.as_bytes())
    }

    #[test]
    fn what_was_stored_before_a_purge_is_gone_and_what_comes_after_is_not() {
        let journal = Journal::default();
        let (old, other) = (tagged("a, b", journal.position()), tagged("c", journal.position()));
        assert_eq!(journal.since(&old), Since::Nothing);
        journal.purge(tag("b"), false);
        let new = tagged("a, b", journal.position());
        assert_eq!(journal.since(&old), Since::Gone);
        assert_eq!(journal.since(&other), Since::Nothing);
        assert_eq!(journal.since(&new), Since::Nothing);
        assert_eq!(journal.since(&old), Since::Gone, "still");
    }

    #[test]
    fn soft_does_not_undo_hard() {
        let journal = Journal::default();
        let entry = tagged("a", 0);
        journal.purge(tag("a"), true);
        assert_eq!(journal.since(&entry), Since::Softened);
        assert_eq!(journal.since(&entry), Since::Softened, "still");
        journal.purge(tag("a"), false);
        journal.purge(tag("a"), true);
        assert_eq!(journal.since(&entry), Since::Gone);
    }

    #[test]
    fn prefixes_are_of_the_whole_uri() {
        for (prefix, since) in [
            ("https://a.test/", Since::Gone),
            ("https://a.te", Since::Gone),
            ("https://b.test/", Since::Nothing),
            ("https://a.test/x", Since::Nothing),
        ] {
            let journal = Journal::default();
            let entry = tagged("a", 0);
            journal.purge_prefix(prefix.into(), false);
            assert_eq!(journal.since(&entry), since, "{prefix}");
        }
    }

    #[test]
    fn what_the_journal_forgot_counts_for_all_that_slept_meanwhile() {
        let journal = Journal::default();
        let (asleep, awake) = (tagged("a", 0), tagged("a", 0));
        for n in 0..MAX_PREFIXES + 2 {
            journal.purge_prefix(format!("x{n}"), false);
            if n == 10 {
                assert_eq!(journal.since(&awake), Since::Nothing);
            }
        }
        assert_eq!(journal.since(&asleep), Since::Gone);
        assert_eq!(journal.since(&awake), Since::Nothing);
        for n in 0..MAX_LABELS + 20 {
            journal.purge(Key::of(&n), false);
        }
        assert_eq!(journal.since(&awake), Since::Gone);
        assert!(journal.records.read().unwrap().labels.len() <= MAX_LABELS);
    }

    proptest! {
        #[test]
        fn as_a_list_of_all_purges_would_decide(
            purges in prop::collection::vec((0_u8..3, any::<bool>()), 0..40),
            born in 0_usize..40,
            looks in prop::collection::vec(any::<bool>(), 40),
        ) {
            let journal = Journal::default();
            let names = ["a", "b", "c"];
            let mut entry = None;
            let (mut hard, mut soft) = (false, false);
            for (n, (name, is_soft)) in purges.iter().enumerate() {
                if n == born {
                    entry = Some(tagged("a, b", journal.position()));
                }
                journal.purge(tag(names[usize::from(*name)]), *is_soft);
                if entry.is_some() && *name < 2 {
                    hard |= !is_soft;
                    soft |= is_soft;
                }
                if let Some(entry) = &entry && looks[n] {
                    let expected = match (hard, soft) {
                        (true, _) => Since::Gone,
                        (false, true) => Since::Softened,
                        (false, false) => Since::Nothing,
                    };
                    prop_assert_eq!(journal.since(entry), expected);
                }
            }
        }
    }
}
