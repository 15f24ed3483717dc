//! Which documents are in force.

use std::sync::PoisonError;

use bartizan_core::ConfigError;
use serde_json::{Value, json};

use super::{Bound, Flags};
use crate::definition::FlagSet;
use crate::document::{Document, Documents};
use crate::flag::lint;

impl Flags {
    pub(crate) fn refuse(&self, error: &ConfigError) {
        self.0.counts.refused();
        tracing::warn!(target: "bartizan::flags", name = self.0.name, %error, "document refused, the last good one stays");
    }

    /// Puts a document in force. Returns the number of that change.
    pub(crate) fn install(&self, rank: u8, document: Value) -> Result<u64, ConfigError> {
        let mut bound = self.0.bound.lock().unwrap_or_else(PoisonError::into_inner);
        // Each document must be one by itself: a fault is of whoever brings it.
        let sound = Document::read(&document).map(|own| own.guesses()).and_then(|guesses| {
            let documents = bound.documents.with(rank, bound.changes + 1, document);
            let set = documents.set()?;
            Ok((guesses, documents, set))
        });
        let (guesses, documents, set) = sound.inspect_err(|error| self.refuse(error))?;
        if guesses {
            tracing::warn!(target: "bartizan::flags", name = self.0.name, version = set.bucketing.as_str(), "document does not name its bucketing version, a change of the default would move users");
        }
        self.0.counts.applied();
        self.enforce(&mut bound, documents, set);
        Ok(bound.changes)
    }

    /// The document of that rank; one without flags if there is none.
    pub(super) fn document(&self, rank: u8) -> Value {
        let bound = self.0.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.documents.get(rank).cloned().unwrap_or_else(|| json!({"flags": {}}))
    }

    /// Takes a document out of force, and nobody is expected to bring another; true if there was one.
    pub(crate) fn withdraw(&self, rank: u8) -> Result<bool, ConfigError> {
        let mut bound = self.0.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(documents) = bound.documents.without(rank) else {
            self.0.ages.forget(rank);
            self.0.changed.notify_waiters();
            return Ok(false);
        };
        let set = documents.set().inspect_err(|error| self.refuse(error))?;
        self.0.ages.forget(rank);
        self.enforce(&mut bound, documents, set);
        Ok(true)
    }

    /// How often the documents have changed, and by which change that of `rank` came into force.
    pub(crate) fn changes(&self, rank: u8) -> (u64, Option<u64>) {
        let bound = self.0.bound.lock().unwrap_or_else(PoisonError::into_inner);
        (bound.changes, bound.documents.change(rank))
    }

    fn enforce(&self, bound: &mut Bound, documents: Documents, set: FlagSet) {
        bound.documents = documents;
        bound.changes += 1;
        for problem in &set.problems {
            tracing::warn!(target: "bartizan::flags", name = self.0.name, %problem, "flag left out");
        }
        if !bound.declared.is_empty() {
            for finding in lint(&bound.declared, &set) {
                tracing::warn!(target: "bartizan::flags", name = self.0.name, %finding, "document and program disagree");
            }
        }
        tracing::info!(target: "bartizan::flags", name = self.0.name, flags = set.entries.len(), "document in force");
        self.0.set.store(set);
        self.0.changed.notify_waiters();
        bound.bindings.iter().for_each(|binding| binding.turn(self));
    }
}
