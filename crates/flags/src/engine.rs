//! The set of flags in force.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bartizan_core::{Clock, ConfigError, Engine, Live, Mode, Reader, Snapshot, Switch};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use crate::context::Attributes;
use crate::control::Binding;
use crate::definition::FlagSet;
use crate::exposure::{Exposure, Exposures, Sink};
use crate::feed::{Documents, Feed};
use crate::flag::{Declaration, Flag, FlagType, lint};
use crate::name::hash;
use crate::observe::Counts;
use crate::resolve::{Absent, Resolved};
use crate::{Bucketing, Details, ErrorCode, EvaluationContext, Reason};

/// Feature flags, evaluated in process. Clones share the set.
///
/// Every evaluation takes a default and returns it whenever the flag gives no answer; none fails,
/// waits or performs I/O.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
pub struct Flags(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    set: Live<FlagSet>,
    switch: Switch,
    clock: Clock,
    counts: Counts,
    /// Locked while a set is replaced, so that what is bound and the set cannot disagree.
    bound: Mutex<Bound>,
    exposures: OnceLock<Sink>,
    /// Wakes whoever waits for the first document.
    changed: Notify,
}

/// What hears of every document that comes into force.
#[derive(Debug, Default)]
struct Bound {
    documents: Documents,
    bindings: Vec<Binding>,
    declared: Vec<Declaration>,
}

impl Flags {
    /// Creates a handle without flags: every evaluation returns its default.
    #[must_use]
    pub fn empty() -> Self {
        Self::named("flags")
    }

    /// Creates a handle without flags whose figures carry `name`.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            set: Live::new(FlagSet::default()),
            switch: Switch::default(),
            clock: Clock::system(),
            counts: Counts::default(),
            bound: Mutex::default(),
            exposures: OnceLock::new(),
            changed: Notify::new(),
        }))
    }

    /// Reads a flagd document. A flag that is wrong is left out; see [`problems`](Self::problems).
    ///
    /// # Errors
    ///
    /// If the document itself cannot be read.
    pub fn from_json(document: &str) -> Result<Self, ConfigError> {
        let flags = Self::empty();
        flags.replace(document)?;
        Ok(flags)
    }

    /// Puts another flagd document in force, and turns the controlled switches.
    ///
    /// # Errors
    ///
    /// If the document itself cannot be read; the set in force stays.
    pub fn replace(&self, document: &str) -> Result<(), ConfigError> {
        Feed::from(self.clone()).replace(document)
    }

    /// A place for another document, over those of a lower rank; rank 0 is that of
    /// [`replace`](Self::replace).
    #[must_use]
    pub fn feed(&self, rank: u8) -> Feed {
        Feed::new(self.clone(), rank)
    }

    /// Waits until a document is in force: for a start that would rather be late than without flags.
    /// Put a time-out around it.
    pub async fn ready(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.0.set.load().loaded {
                return;
            }
            changed.await;
        }
    }

    /// How long ago the sources were reached: of the one that has been silent longest. `None` if
    /// there is none.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let bound = self.0.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.documents.age(self.0.clock.now())
    }

    pub(crate) fn confirm(&self, rank: u8) {
        let mut bound = self.0.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.documents.confirm(rank, self.0.clock.now());
    }

    pub(crate) fn refuse(&self, error: &ConfigError) {
        self.0.counts.refused();
        tracing::warn!(target: "bartizan::flags", name = self.0.name, %error, "document refused, the last good one stays");
    }

    pub(crate) fn install(&self, rank: u8, document: Value) -> Result<(), ConfigError> {
        let mut bound = self.0.bound.lock().unwrap_or_else(PoisonError::into_inner);
        // Each document must be one by itself: a fault is of whoever brings it.
        let sound = FlagSet::from_value(&document).and_then(|_| {
            let documents = bound.documents.with(rank, document);
            let set = FlagSet::from_value(&documents.merged()?)?;
            Ok((documents, set))
        });
        let (documents, set) = sound.inspect_err(|error| self.refuse(error))?;
        bound.documents = documents;
        for problem in &set.problems {
            tracing::warn!(target: "bartizan::flags", name = self.0.name, %problem, "flag left out");
        }
        if set.bucketing_is_a_guess {
            tracing::warn!(target: "bartizan::flags", name = self.0.name, version = set.bucketing.as_str(), "document does not name its bucketing version, a change of the default would move users");
        }
        if !bound.declared.is_empty() {
            for finding in lint(&bound.declared, &set) {
                tracing::warn!(target: "bartizan::flags", name = self.0.name, %finding, "document and program disagree");
            }
        }
        tracing::info!(target: "bartizan::flags", name = self.0.name, flags = set.entries.len(), "document in force");
        self.0.set.store(set);
        self.0.counts.applied();
        self.0.changed.notify_waiters();
        bound.bindings.iter().for_each(|binding| binding.turn(self));
        Ok(())
    }

    /// Lets a flag turn a switch: now, and whenever another document comes into force.
    ///
    /// A string flag says `enforce`, `shadow` or `off`; a boolean flag means `enforce` when true
    /// and `off` when false. A flag that is missing, broken, disabled or says something else leaves
    /// the switch as it is. The flag is evaluated without a context, for the whole process.
    pub fn control(&self, flag: impl Into<String>, switch: Switch) {
        self.attach(Binding::switch(flag.into(), switch));
    }

    /// Lets a flag set something: now, and whenever another document comes into force. So a quota, a
    /// time-out or a threshold follows a number in the document.
    ///
    /// `set` gets the value if it is another than before. A flag that is missing, broken, disabled
    /// or of another type leaves everything as it is, and so does an error of `set`, which is
    /// logged. The flag is evaluated without a context, for the whole process. `set` must not bind
    /// or replace anything in these flags.
    pub fn bind<T>(
        &self,
        flag: &Flag<T>,
        set: impl FnMut(&T::Value) -> Result<(), ConfigError> + Send + 'static,
    ) where
        T: FlagType,
        T::Value: PartialEq + Send + 'static,
    {
        self.attach(Binding::setting(flag.name(), T::read, set));
    }

    fn attach(&self, binding: Binding) {
        let mut bound = self.0.bound.lock().unwrap_or_else(PoisonError::into_inner);
        binding.turn(self);
        bound.bindings.push(binding);
    }

    /// Says which flags the program reads, and tells where the document in force disagrees: flags
    /// that it lacks, that hold another type, or that nobody reads. From now on the same is logged
    /// for every document that comes into force. Empty while there is no document.
    pub fn declare(&self, declared: impl IntoIterator<Item = Declaration>) -> Vec<ConfigError> {
        let mut bound = self.0.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.declared.extend(declared);
        let set = self.0.set.load();
        if set.loaded { lint(&bound.declared, &set) } else { Vec::new() }
    }

    /// What was wrong with single flags of the document in force.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigError> {
        self.0.set.load().problems.clone()
    }

    /// The definition by which `fractional` places callers in the document in force.
    #[must_use]
    pub fn bucketing(&self) -> Bucketing {
        self.0.set.load().bucketing
    }

    /// The `version` in the metadata of the document in force.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.0.set.load().version.as_deref().map(str::to_owned)
    }

    /// Evaluates a flag of any type, and tells how the value came about.
    #[must_use]
    pub fn details<T>(
        &self,
        flag: &str,
        context: &EvaluationContext,
        default: T,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Details<T> {
        self.details_with(flag, context, read, || default)
    }

    pub(crate) fn details_with<T>(
        &self,
        flag: &str,
        context: &EvaluationContext,
        read: impl FnOnce(&Value) -> Option<T>,
        default: impl FnOnce() -> T,
    ) -> Details<T> {
        let set = self.0.set.load();
        let index = set.index(flag, hash(flag));
        let attributes = Attributes::Context(context);
        let mut resolved =
            self.resolve(&set, index, |index| set.resolve(index, attributes, &self.0.clock));
        let value = index.and_then(|index| set.value(index, &mut resolved, read));
        self.0.counts.evaluated(resolved.reason());
        set.details(index, resolved, value.unwrap_or_else(default))
    }

    /// The value alone, or `None` where the caller's default holds: tells nothing, so that it
    /// allocates nothing.
    #[inline]
    pub(crate) fn value<T>(
        &self,
        flag: &str,
        hash: u64,
        context: &EvaluationContext,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let set = self.0.set.load();
        let index = set.index(flag, hash);
        let attributes = Attributes::Context(context);
        let mut resolved =
            self.resolve(&set, index, |index| set.resolve(index, attributes, &self.0.clock));
        let value = index.and_then(|index| set.value(index, &mut resolved, read));
        self.0.counts.evaluated(resolved.reason());
        value
    }

    /// Evaluates by `evaluate` unless something speaks against it beforehand.
    #[inline]
    pub(crate) fn resolve(
        &self,
        set: &FlagSet,
        index: Option<u32>,
        evaluate: impl FnOnce(u32) -> Resolved,
    ) -> Resolved {
        // A shadow would be an evaluation whose result nobody sees, so it counts as off.
        if self.0.switch.mode(|| None) != Mode::Enforce {
            return Resolved::Absent(Absent::Reason(Reason::Disabled));
        }
        match index {
            Some(index) => evaluate(index),
            None if set.loaded => Resolved::error(ErrorCode::FlagNotFound),
            None => Resolved::error(ErrorCode::ProviderNotReady),
        }
    }

    /// Reports from now on which requests got which variants. Whoever receives them hands them on,
    /// in a task of its own; no request waits for that.
    ///
    /// `None` if somebody else receives them already.
    #[must_use]
    pub fn exposures(&self, settings: Exposures) -> Option<mpsc::Receiver<Exposure>> {
        let (sink, receiver) = Sink::new(settings);
        self.0.exposures.set(sink).ok().map(|()| receiver)
    }

    #[inline]
    pub(crate) fn sink(&self) -> Option<&Sink> {
        self.0.exposures.get()
    }

    pub(crate) fn set(&self) -> Arc<FlagSet> {
        self.0.set.load_full()
    }

    pub(crate) fn reader(&self) -> Reader<FlagSet> {
        self.0.set.reader()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Engine for Flags {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn kind(&self) -> &'static str {
        "flags"
    }

    fn switch(&self) -> &Switch {
        &self.0.switch
    }

    fn snapshot(&self) -> Snapshot {
        let set = self.0.set.load();
        let broken = set.problems.len();
        let age = self.age();
        self.0.counts.snapshot(self, set.entries.len() - broken, broken, age)
    }

    /// Takes a flagd document as settings.
    fn apply(&self, settings: Value) -> Result<(), ConfigError> {
        self.install(0, settings)
    }
}
