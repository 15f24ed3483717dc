use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bartizan_core::{
    Clock, ConfigError, Engine, Live, Mode, Outcome, Snapshot, Switch, Timestamp, Watch,
};

use crate::Settings;
use crate::observe::{self, Counts};
use crate::state::Aimd;

/// Decides which requests are served. Cheap to clone; clones are one shedder.
#[derive(Clone, Debug)]
#[must_use]
pub struct LoadShedder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    clock: Clock,
    switch: Switch,
    settings: Live<Settings>,
    /// Read by every request; written under `aimd`'s lock.
    limit: AtomicU32,
    /// The latency target in nanoseconds: likewise.
    target: AtomicU64,
    in_flight: AtomicU32,
    aimd: Mutex<Aimd>,
    counts: Counts,
}

impl LoadShedder {
    /// Creates a shedder with the default [`Settings`], known to operators as `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self::build(name.into(), Clock::system(), Switch::default(), Settings::default())
    }

    fn build(name: String, clock: Clock, switch: Switch, settings: Settings) -> Self {
        let shared = Shared {
            name,
            clock,
            switch,
            limit: AtomicU32::new(settings.initial()),
            target: AtomicU64::new(settings.target_nanos()),
            in_flight: AtomicU32::new(0),
            aimd: Mutex::new(Aimd::new(&settings)),
            settings: Live::new(settings),
            counts: Counts::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Starts over with these settings.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot be.
    pub fn settings(self, settings: Settings) -> Result<Self, ConfigError> {
        let Shared { name, clock, switch, .. } = &*self.shared;
        Ok(Self::build(name.clone(), clock.clone(), switch.clone(), settings.validated()?))
    }

    /// Starts over with this clock.
    pub fn clock(self, clock: Clock) -> Self {
        let Shared { name, switch, settings, .. } = &*self.shared;
        Self::build(name.clone(), clock, switch.clone(), **settings.load())
    }

    /// Starts over with this switch, as one that a flag turns.
    pub fn switched_by(self, switch: Switch) -> Self {
        let Shared { name, clock, settings, .. } = &*self.shared;
        Self::build(name.clone(), clock.clone(), switch, **settings.load())
    }

    /// Takes a slot, unless all are taken.
    ///
    /// In [`Mode::Off`] and [`Mode::Shadow`] there is always one.
    #[inline]
    #[must_use = "the slot is given back when it is dropped"]
    pub fn admit(&self) -> Option<Slot> {
        let shared = &*self.shared;
        let mode = shared.switch.mode(|| None);
        if mode == Mode::Off {
            return Some(Slot(None));
        }
        // Count first and take back on refusal: one atomic step on the usual path.
        let in_flight = shared.in_flight.fetch_add(1, Relaxed).saturating_add(1);
        if in_flight > shared.limit.load(Relaxed) {
            if mode == Mode::Enforce {
                shared.in_flight.fetch_sub(1, Relaxed);
                shared.counts.refused.add(1);
                observe::refused(&shared.name);
                return None;
            }
            shared.counts.shadow_refused.add(1);
        }
        shared.counts.admitted.add(1);
        Some(Slot(Some(Held {
            shared: Arc::clone(&self.shared),
            start: shared.clock.now(),
            in_flight,
            head: Head::Awaited,
        })))
    }

    /// The number of exchanges in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.shared.in_flight.load(Relaxed)
    }

    /// The number of exchanges that may be in flight.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.shared.limit.load(Relaxed)
    }
}

impl Shared {
    fn aimd(&self) -> MutexGuard<'_, Aimd> {
        self.aimd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if an answer that came, or did not come, by `now` is late.
    fn is_late(&self, start: Timestamp, now: Timestamp) -> bool {
        now.as_nanos().saturating_sub(start.as_nanos()) > self.target.load(Relaxed)
    }

    fn late(&self, now: Timestamp) {
        let mut aimd = self.aimd();
        aimd.late(now, &self.settings.load());
        self.limit.store(aimd.limit(), Relaxed);
    }

    fn in_time(&self, in_flight: u32) {
        // Far from the limit there is nothing to learn, and no lock to take.
        if in_flight.saturating_mul(2) < self.limit.load(Relaxed) {
            return;
        }
        let mut aimd = self.aimd();
        aimd.in_time(in_flight, &self.settings.load());
        self.limit.store(aimd.limit(), Relaxed);
    }
}

impl Engine for LoadShedder {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn kind(&self) -> &'static str {
        "shed"
    }

    fn switch(&self) -> &Switch {
        &self.shared.switch
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot::new(self.name(), self.kind(), self.switch().setting().0);
        self.shared.counts.describe(snapshot, self.limit(), self.in_flight())
    }

    fn apply(&self, settings: serde_json::Value) -> Result<(), ConfigError> {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| {
            ConfigError::new("shed", error.to_string(), "see `bartizan_shed::Settings`")
        })?;
        let settings = settings.validated()?;
        let mut aimd = self.shared.aimd();
        self.shared.settings.store(settings);
        self.shared.target.store(settings.target_nanos(), Relaxed);
        aimd.fit(&settings);
        self.shared.limit.store(aimd.limit(), Relaxed);
        observe::settings_changed(&self.shared.name);
        Ok(())
    }
}

/// A place among the exchanges in flight, given back on drop.
#[must_use = "the slot is given back when it is dropped"]
pub struct Slot(Option<Held>);

struct Held {
    shared: Arc<Shared>,
    start: Timestamp,
    in_flight: u32,
    head: Head,
}

/// Whether the response's head, or an error, has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Head {
    Awaited,
    InTime,
    Late,
}

impl Slot {
    /// A slot for a request that is not counted.
    pub(crate) const fn uncounted() -> Self {
        Self(None)
    }

    /// The response's head, or an error, is there: the latency is known.
    #[inline]
    pub fn answered(&mut self) {
        let Some(held) = &mut self.0 else { return };
        let now = held.shared.clock.now();
        if held.shared.is_late(held.start, now) {
            held.head = Head::Late;
            held.shared.late(now);
        } else {
            held.head = Head::InTime;
        }
    }
}

impl Watch for Slot {
    #[inline]
    fn settle(self, outcome: Outcome) {
        // A fast error says nothing about how much the service can take.
        if let (Some(held), Outcome::Success) = (&self.0, outcome)
            && held.head == Head::InTime
        {
            held.shared.in_time(held.in_flight);
        }
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Relaxed);
        if self.head == Head::Awaited {
            // Cancelled before the answer: the time so far is a lower bound of its latency.
            let now = self.shared.clock.now();
            if self.shared.is_late(self.start, now) {
                self.shared.late(now);
            }
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("counted", &self.0.is_some()).finish_non_exhaustive()
    }
}
