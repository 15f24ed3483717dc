//! The set of flags in force.

mod documents;
mod evaluate;
mod near;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bartizan_core::{Clock, ConfigError, Engine, Live, Reader, Snapshot, Switch};
use serde_json::Value;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, mpsc};

use crate::age::Ages;
use crate::control::Binding;
use crate::definition::FlagSet;
use crate::document::Documents;
use crate::exposure::{Exposure, Exposures, Sink};
use crate::feed::Feed;
use crate::flag::{Declaration, Flag, FlagType, lint};
use crate::observe::Counts;
use crate::{Bucketing, Details, Reason, current};

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
    /// Tells engines apart for as long as the process lives.
    id: u64,
    set: Live<FlagSet>,
    switch: Switch,
    clock: Clock,
    counts: Counts,
    /// Locked while a set is replaced, so that what is bound and the set cannot disagree.
    bound: Mutex<Bound>,
    ages: Ages,
    exposures: OnceLock<Sink>,
    /// In nanoseconds: how old the set may be. All of them if it may be of any age.
    stale_after: AtomicU64,
    /// Wakes whoever waits for a document, or for a source to be reached.
    changed: Arc<Notify>,
}

/// What hears of every document that comes into force.
#[derive(Debug, Default)]
struct Bound {
    documents: Documents,
    /// How often they have changed.
    changes: u64,
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
            id: near::id(),
            set: Live::new(FlagSet::default()),
            switch: Switch::default(),
            clock: Clock::system(),
            counts: Counts::default(),
            bound: Mutex::default(),
            ages: Ages::default(),
            exposures: OnceLock::new(),
            stale_after: AtomicU64::new(u64::MAX),
            changed: Arc::default(),
        }))
    }

    /// Sets the clock, before the handle is cloned or used: afterwards nothing happens.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.clock = clock;
        }
        self
    }

    /// Sets how long a source may be silent: after that [`Details::reason`] is [`Reason::Stale`]
    /// wherever a flag has a value. No limit by default; [`age`](Self::age) tells the time in any
    /// case.
    pub fn stale_after(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        self.0.stale_after.store(limit, Relaxed);
    }

    /// Whether a source has been silent for longer than it may be.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let limit = self.0.stale_after.load(Relaxed);
        limit != u64::MAX && self.age().is_some_and(|age| age.as_nanos() > u128::from(limit))
    }

    /// Tells of staleness what was found in time.
    pub(crate) fn dated<T>(&self, mut details: Details<T>) -> Details<T> {
        if details.variant.is_some() && details.reason != Reason::Override && self.is_stale() {
            details.reason = Reason::Stale;
        }
        details
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
    /// A source that feeds the same place, which is that of rank 0, puts its own back when it looks next;
    /// what is to hold over it needs a [place](Self::feed) above.
    ///
    /// # Errors
    ///
    /// If the document itself cannot be read; the set in force stays.
    pub fn replace(&self, document: &str) -> Result<(), ConfigError> {
        self.feed(0).replace(document)
    }

    /// A place for another document, over those of a lower rank; rank 0 is that of
    /// [`replace`](Self::replace).
    #[must_use]
    pub fn feed(&self, rank: u8) -> Feed {
        Feed::new(self.clone(), rank)
    }

    /// Waits until a document is in force and every source has brought one: for a start that would
    /// rather be late than without flags. What a [feed has kept](Feed::keep_in) will do, and of an
    /// [optional file](crate::FileSource::optional) that it was looked for. Put a time-out around it.
    pub async fn ready(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.is_ready() {
                return;
            }
            changed.await;
        }
    }

    /// Waits as [`ready`](Self::ready) does, but no longer than `limit`; says whether it need not
    /// wait any more.
    pub async fn ready_within(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.ready()).await.is_ok()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.set.load().loaded && self.0.ages.are_reached()
    }

    /// How long ago the sources were reached: of the one that has been silent longest, since it was
    /// made if it has never said anything. `None` if there is none.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.0.ages.age(self.0.clock.now())
    }

    /// Notes that there is a source of that rank.
    pub(crate) fn expect(&self, rank: u8) {
        self.0.ages.expect(rank, self.0.clock.now());
    }

    /// Notes that the source of that rank was reached so long ago.
    pub(crate) fn confirm(&self, rank: u8, ago: Duration) {
        if self.0.ages.confirm(rank, self.0.clock.now(), ago) {
            self.0.changed.notify_waiters();
        }
    }

    /// Lets a flag turn a switch: now, and whenever another document comes into force.
    ///
    /// A string flag says `enforce`, `shadow` or `off`; a boolean flag means `enforce` when true
    /// and `off` when false; an object flag gives a mode to a share of the keys, as
    /// `{"mode": "enforce", "share": 0.1}`, and turns the layer off for the others. A flag that is
    /// missing, broken, disabled or says something else leaves the switch as it is. The flag is
    /// evaluated without a context, for the whole process.
    pub fn control(&self, flag: impl Into<String>, switch: Switch) {
        self.attach(Binding::switch(flag.into(), switch));
    }

    /// Lets a flag turn a switch request by request: its rules may put one tenant in shadow, or a
    /// percentage of callers.
    ///
    /// Says the same words as for [`control`](Self::control), without a share, and holds for requests
    /// behind a [`FlagsLayer`](crate::FlagsLayer) of these flags, for all layers further in. What was
    /// set by hand holds for all others, and wherever the flag says nothing usable.
    ///
    /// False if something else decides about the switch already.
    #[allow(clippy::must_use_candidate, reason = "one flag decides in nearly every program")]
    pub fn control_each(&self, flag: &Flag<&'static str>, switch: &Switch) -> bool {
        // The engine itself would hold the switch, which would hold the engine.
        let (engine, flag) = (self.0.id, *flag);
        switch.decide(move || current::look(|own| own.mode(engine, &flag)).flatten())
    }

    /// Lets a flag set something: now, and whenever another document comes into force. So a quota, a
    /// time-out or a threshold follows a number in the document.
    ///
    /// `set` gets the value if it is another than before. A flag that is missing, broken, disabled
    /// or of another type leaves everything as it is, and so does an error of `set`, which is
    /// logged. The flag is evaluated without a context, for the whole process. `set` must not bind
    /// or replace anything in these flags.
    ///
    /// To set one number of an engine by [`Engine::apply`], hand it all of its settings with that number
    /// in them: what is left out of a document of settings goes back to its default.
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

    /// The `version` in the metadata of the document in force; of several, the lowest that has one.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        self.0.set.load().version.as_deref().map(str::to_owned)
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

    /// Is told of the next document that comes into force, from when it is made.
    pub(crate) fn changed(&self) -> OwnedNotified {
        Arc::clone(&self.0.changed).notified_owned()
    }

    pub(crate) fn time(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
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

    /// The flagd document of rank 0.
    fn current_settings(&self) -> Value {
        self.document(0)
    }

    /// Takes a flagd document as settings, as [`Flags::replace`] does.
    fn apply(&self, settings: Value) -> Result<(), ConfigError> {
        self.install(0, settings).map(|_| ())
    }
}
