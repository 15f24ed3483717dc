//! What is no longer true: by purges of operators and by unsafe requests.

use std::sync::Arc;
use std::sync::atomic::{Ordering::SeqCst, fence};

use bartizan_core::Key;
use http::{HeaderMap, StatusCode, Uri};

use super::{Active, ResponseCache, Shared};
use crate::invalidate::Site;
use crate::key::{Keyed, Suffix, Target};
use crate::purge::{self, What};
use crate::{Purge, further, observe, tags};

impl ResponseCache {
    /// Purges what is stored, and what is on its way to be. Costs the same for any number of
    /// stored responses.
    ///
    /// What is purged by tag or prefix makes room when it is next asked for, or when room is
    /// needed.
    pub fn purge(&self, purge: &Purge) {
        if let Some(further) = self.further() {
            further::purge(self, further, purge.clone());
        }
        self.purge_memory(purge);
    }

    /// Purges what this process holds in memory, and leaves the store behind it alone: for word of a
    /// purge that another process has made there already.
    pub fn purge_memory(&self, purge: &Purge) {
        let soft = purge.is_soft();
        let Shared { journal, counts, plan, .. } = &*self.shared;
        if !purge.is_by_change() {
            counts.purge(&plan.name, soft);
        }
        match purge.what() {
            What::All if soft => journal.purge_prefix(String::new(), true),
            What::All => self.clear(),
            What::Prefix(prefix) => journal.purge_prefix(prefix.clone(), soft),
            What::Uri(uri) => {
                let Some(target) = Target::of(uri, None, plan.scheme) else { return };
                self.purge_target(&target, &Suffix::default(), soft);
            }
            what => purge::label(what).into_iter().for_each(|label| journal.purge(label, soft)),
        }
    }

    fn purge_target(&self, target: &Target<'_>, suffix: &Suffix, soft: bool) -> bool {
        let Shared { plan, journal, .. } = &*self.shared;
        let learned = self.learned(target);
        let Keyed { key, resource } = plan.keys.keyed(target, suffix, learned.as_deref());
        if soft || plan.keys.has_many_keys() {
            journal.purge(resource, soft);
        }
        !soft && self.invalidate_key(key)
    }

    /// Removes what is stored for `uri`, in all its variants and in all partitions of the key, and
    /// what is on its way to be. The same as [`Purge::uri`].
    pub fn invalidate(&self, uri: &Uri) {
        self.purge(&Purge::uri(uri.clone()));
    }

    /// Removes all that is stored, and what is on its way to be.
    pub fn clear(&self) {
        self.shared.changes.note_all();
        fence(SeqCst);
        let mut old = None;
        self.shared.active.update(|active| {
            old = Some(Arc::clone(&active.memory));
            Active::new(Arc::clone(&active.settings))
        });
        // To free it may take a while, which no request is to wait for.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn_blocking(move || drop(old)));
        }
        observe::cleared(&self.shared.plan.name);
    }

    fn invalidate_key(&self, key: Key) -> bool {
        self.shared.changes.note(key);
        fence(SeqCst);
        let removed = self.shared.active.load().memory.remove(key);
        if removed {
            self.shared.counts.invalidation(&self.shared.plan.name);
        }
        removed
    }

    /// Makes invalid what an unsafe request may have changed, unless its answer is an error
    /// (RFC 9111 §4.4, RFC 9875 §3).
    pub(crate) fn invalidate_after(
        &self,
        site: &Site,
        suffix: &Suffix,
        status: StatusCode,
        headers: &HeaderMap,
    ) {
        if !status.is_success() && !status.is_redirection() {
            return;
        }
        let further = |purge: Purge| {
            let purge = purge.by_change();
            self.further().into_iter().for_each(|store| further::purge(self, store, purge.clone()));
        };
        site.invalid(headers, |target| {
            self.purge_target(target, suffix, false);
            target.to_uri().into_iter().for_each(|uri| further(Purge::uri(uri)));
        });
        let Some(target) = site.target() else { return };
        let (uri, names) = (target.to_text(), tags::invalidated(headers));
        let origin = tags::origin(&uri);
        if names.len() > tags::MAX_INVALIDATED {
            let all = format!("{origin}/");
            self.shared.journal.purge_prefix(all.clone(), false);
            further(Purge::prefix(all));
            return;
        }
        for name in names {
            self.shared.journal.purge(tags::group(origin, &name), false);
            further(Purge::group(origin, name));
        }
    }
}
