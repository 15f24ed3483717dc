//! What the responses of a path said of its queries.

use std::sync::Arc;

use bartizan_core::Key;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::ResponseCache;
use crate::KeyRules;
use crate::by_key::ByKey;
use crate::key::{Query, Target};

/// Of how many paths it is known.
const PATHS: usize = 10_000;

pub(super) struct Learned(Cache<Key, Arc<Query>, UnitWeighter, ByKey>);

impl Default for Learned {
    fn default() -> Self {
        let (keys, lifecycle) = (ByKey::default(), DefaultLifecycle::default());
        Self(Cache::with(PATHS, PATHS as u64, UnitWeighter, keys, lifecycle))
    }
}

impl ResponseCache {
    /// What the path's responses said of its queries.
    #[inline]
    pub(crate) fn learned(&self, target: &Target<'_>) -> Option<Arc<Query>> {
        if !self.keys().learns() {
            return None;
        }
        self.shared.learned.0.get(&KeyRules::learned_at(target))
    }

    pub(crate) fn learn(&self, target: &Target<'_>, query: Option<Arc<Query>>) {
        let (at, learned) = (KeyRules::learned_at(target), &self.shared.learned.0);
        match query {
            Some(query) => learned.insert(at, query),
            None => drop(learned.remove(&at)),
        }
    }
}
