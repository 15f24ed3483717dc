use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use bartizan_core::{
    Clock, ConfigError, Counter, Engine, Key, Live, Mode, Outcome, Snapshot, Switch, Timestamp,
};
use parking_lot::Mutex;
use serde_json::Value;

use super::settings::RolloutSettings;
use super::window::{Fault, Window, is_overdue, judge};
use crate::bucket::{Bucketing, Seed};
use crate::{Flag, observe};

/// A flag's variants on their way to everyone: which of them are served, how each of them does, and
/// what is taken back. Clones are the same rollout.
///
/// It is of one process: what others have seen and taken back it does not know. Made by
/// [`SplitLayer`](crate::SplitLayer), which explains it.
#[derive(Clone)]
pub struct Rollout(Arc<Inner>);

struct Inner {
    name: String,
    /// Another than the flag's own name, so that the ramp cuts across its buckets.
    salt: Seed,
    flag: Flag<&'static str>,
    /// Stable first.
    variants: Vec<Variant>,
    settings: Live<RolloutSettings>,
    switch: Switch,
    clock: Clock,
}

#[derive(Debug)]
struct Variant {
    name: String,
    /// When its ramp and its window began.
    started: AtomicU64,
    window: Mutex<Window>,
    rolled_back: AtomicBool,
    outcomes: [Counter; OUTCOMES.len()],
    diverted: [Counter; DIVERSIONS.len()],
}

pub(crate) const OUTCOMES: [&str; 4] = ["abandoned", "failure", "refused", "success"];
pub(crate) const DIVERSIONS: [&str; 5] =
    ["not_ready", "ramp", "rolled_back", "shadow", "unavailable"];

/// Why a request that the flag gave to a variant went to stable.
#[derive(Clone, Copy, Debug)]
pub(super) enum Diversion {
    NotReady,
    Ramp,
    RolledBack,
    Shadow,
    Unavailable,
}

impl Rollout {
    pub(super) fn new(flag: Flag<&'static str>, variants: Vec<String>, clock: Clock) -> Self {
        let now = clock.now().as_nanos();
        let variant = |name| Variant {
            name,
            started: AtomicU64::new(now),
            window: Mutex::default(),
            rolled_back: AtomicBool::new(false),
            outcomes: Default::default(),
            diverted: Default::default(),
        };
        Self(Arc::new(Inner {
            name: flag.name().to_owned(),
            salt: Bucketing::V3.seed(&format!("{}/ramp", flag.name())),
            variants: variants.into_iter().map(variant).collect(),
            flag,
            settings: Live::default(),
            switch: Switch::default(),
            clock,
        }))
    }

    /// A rollout of the same variants by another clock; nothing has happened in it yet.
    pub(super) fn with_clock(&self, clock: Clock) -> Self {
        let names = self.0.variants.iter().map(|variant| variant.name.clone()).collect();
        let twin = Self::new(self.0.flag, names, clock);
        twin.0.settings.store((*self.0.settings.load_full()).clone());
        twin
    }

    /// Replaces the settings. What was taken back stays, and so do the windows, unless their length is
    /// another: then they begin empty.
    ///
    /// # Errors
    ///
    /// Names the setting that is out of range; the old ones stay.
    pub fn set(&self, settings: RolloutSettings) -> Result<(), ConfigError> {
        self.0.settings.store(settings.validated()?);
        tracing::info!(target: "bartizan::flags", name = self.0.name, "settings of the rollout changed");
        Ok(())
    }

    /// True if the variant of that name was taken back.
    #[must_use]
    pub fn is_rolled_back(&self, variant: &str) -> bool {
        self.find(variant).is_some_and(|variant| variant.rolled_back.load(Relaxed))
    }

    /// Takes a variant back by hand. Nothing happens if there is none of that name, or it is stable.
    pub fn roll_back(&self, variant: &str) {
        if let Some(variant) = self.find(variant) {
            variant.rolled_back.store(true, Relaxed);
        }
    }

    /// Gives a variant that was taken back another chance: with an empty window, and with its ramp
    /// from the start, unless the settings say [when that is](RolloutSettings::ramp_from). Exchanges
    /// that began before are counted, but do not judge it any more.
    pub fn resume(&self, variant: &str) {
        if let Some(variant) = self.find(variant) {
            let mut window = variant.window.lock();
            variant.started.store(self.0.clock.now().as_nanos(), Relaxed);
            variant.rolled_back.store(false, Relaxed);
            *window = Window::default();
        }
    }

    /// The share of a variant's keys that its ramp lets through by now, from 0 to 1. 0 if there is none
    /// of that name, or it is stable.
    #[must_use]
    pub fn share(&self, variant: &str) -> f64 {
        let now = self.0.clock.now();
        self.find(variant).map_or(0.0, |variant| self.share_of(variant, now))
    }

    fn share_of(&self, variant: &Variant, now: Timestamp) -> f64 {
        let started = Timestamp::from_nanos(variant.started.load(Relaxed));
        self.0.settings.load().share(&self.0.clock, started, now)
    }

    /// By name; never stable, which has nowhere to go back to.
    fn find(&self, name: &str) -> Option<&Variant> {
        self.0.variants.iter().skip(1).find(|variant| variant.name == name)
    }

    pub(super) fn flag(&self) -> &Flag<&'static str> {
        &self.0.flag
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn name_of(&self, index: usize) -> &str {
        self.0.variants.get(index).map_or("", |variant| &variant.name)
    }

    /// Where the variant of that name stands.
    pub(super) fn index(&self, value: &Value) -> Option<usize> {
        let name = value.as_str()?;
        self.0.variants.iter().position(|variant| variant.name == name)
    }

    /// Whether what the flag gave, or the request itself where it `overrides`, may be served; else
    /// stable is.
    pub(super) fn admit(
        &self,
        index: usize,
        overrides: bool,
        key: Option<&str>,
        now: Timestamp,
    ) -> usize {
        let Some(variant) = self.0.variants.get(index).filter(|_| index > 0) else { return 0 };
        match self.0.switch.mode(|| key.map(Key::of)) {
            Mode::Enforce => {}
            Mode::Shadow => return self.divert(index, Diversion::Shadow),
            _ => return 0,
        }
        // Who may name the variant may also try what others do not get yet, or any more.
        if overrides {
            return index;
        }
        if variant.rolled_back.load(Relaxed) {
            return self.divert(index, Diversion::RolledBack);
        }
        let share = self.share_of(variant, now);
        if share < 1.0 {
            // Without a key nobody would stay where they are.
            let point = key.map(|key| self.0.salt.hash(key));
            let inside = point.is_some_and(|point| f64::from(point) < share * 4_294_967_296.0);
            if !inside {
                return self.divert(index, Diversion::Ramp);
            }
        }
        index
    }

    /// Counts a request that goes to stable, and says where that is.
    pub(super) fn divert(&self, index: usize, why: Diversion) -> usize {
        if let Some(variant) = self.0.variants.get(index)
            && let Some(counter) = variant.diverted.get(why as usize)
        {
            counter.add(1);
        }
        0
    }

    /// Takes note of an exchange, and takes its variant back if it does worse than it may.
    pub(super) fn record(&self, index: usize, outcome: Outcome, started: Timestamp) {
        let Some(variant) = self.0.variants.get(index) else { return };
        let now = self.0.clock.now();
        let micros = now.saturating_since(started).as_micros() as u64;
        let settings = self.0.settings.load();
        let (nanos, window) = (now.as_nanos(), settings.window_nanos());
        let stable = || self.0.variants[0].window.lock().sum(nanos, window);
        let (counter, failed) = match outcome {
            Outcome::Failure => (1, Some(true)),
            // It says nothing about the service.
            Outcome::Refused => (2, None),
            Outcome::Success => (3, Some(false)),
            // Neither does a caller who leaves, unless the answer was long overdue.
            _ => (0, is_overdue(stable(), micros, &settings).then_some(true)),
        };
        variant.outcomes[counter].add(1);
        let Some(failed) = failed else { return };
        let sum = {
            let mut slot = variant.window.lock();
            if index > 0 && started.as_nanos() < variant.started.load(Relaxed) {
                return;
            }
            slot.record(nanos, window, failed, micros);
            if index == 0 || variant.rolled_back.load(Relaxed) {
                return;
            }
            slot.sum(nanos, window)
        };
        let stable = stable();
        if let Some(fault) = judge(stable, sum, &settings)
            && !variant.rolled_back.swap(true, Relaxed)
        {
            let reason = match fault {
                Fault::Failures => "failures",
                Fault::Latency => "latency",
            };
            tracing::warn!(
                target: "bartizan::flags",
                name = self.0.name,
                variant = variant.name,
                reason,
                failure_share = sum.failure_share(),
                stable_failure_share = stable.failure_share(),
                "variant rolled back"
            );
        }
    }
}

impl Engine for Rollout {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn kind(&self) -> &'static str {
        "split"
    }

    fn switch(&self) -> &Switch {
        &self.0.switch
    }

    fn snapshot(&self) -> Snapshot {
        let (mode, _) = self.0.switch.setting();
        let mut snapshot = Snapshot::new(self.name(), self.kind(), mode);
        let now = self.0.clock.now();
        for (index, variant) in self.0.variants.iter().enumerate() {
            let count = |counters: &[Counter], at: usize| counters.get(at).map_or(0, Counter::get);
            for (at, outcome) in OUTCOMES.into_iter().enumerate() {
                let value = count(&variant.outcomes, at) as f64;
                snapshot =
                    snapshot.sample_of(&observe::SPLIT_EXCHANGES, &variant.name, outcome, value);
            }
            if index == 0 {
                continue;
            }
            for (at, why) in DIVERSIONS.into_iter().enumerate() {
                let value = count(&variant.diverted, at) as f64;
                snapshot = snapshot.sample_of(&observe::SPLIT_DIVERTED, &variant.name, why, value);
            }
            let back = f64::from(u8::from(variant.rolled_back.load(Relaxed)));
            snapshot = snapshot.sample_of(&observe::SPLIT_ROLLED_BACK, &variant.name, "", back);
            let share = self.share_of(variant, now);
            snapshot = snapshot.sample_of(&observe::SPLIT_SHARE, &variant.name, "", share);
        }
        snapshot
    }

    fn current_settings(&self) -> Value {
        serde_json::to_value(&**self.0.settings.load()).unwrap_or_default()
    }

    /// Takes [`RolloutSettings`].
    fn apply(&self, settings: Value) -> Result<(), ConfigError> {
        let settings: RolloutSettings = serde_json::from_value(settings).map_err(|error| {
            ConfigError::new("split", error.to_string(), "see `bartizan_flags::RolloutSettings`")
        })?;
        self.set(settings)
    }
}

impl fmt::Debug for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rollout").field("name", &self.0.name).finish_non_exhaustive()
    }
}

/// Is told how an exchange of a variant ended.
pub struct SplitWatch {
    rollout: Rollout,
    index: usize,
    started: Timestamp,
    told: bool,
}

impl SplitWatch {
    pub(super) const fn new(rollout: Rollout, index: usize, started: Timestamp) -> Self {
        Self { rollout, index, started, told: false }
    }
}

impl bartizan_core::Watch for SplitWatch {
    fn settle(mut self, outcome: Outcome) {
        self.told = true;
        self.rollout.record(self.index, outcome, self.started);
    }
}

impl Drop for SplitWatch {
    fn drop(&mut self) {
        if !self.told {
            // A panic is the service's failure; anything else is a caller that went away.
            let panicked = std::thread::panicking();
            let outcome = if panicked { Outcome::Failure } else { Outcome::Abandoned };
            self.rollout.record(self.index, outcome, self.started);
        }
    }
}

impl fmt::Debug for SplitWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitWatch").finish_non_exhaustive()
    }
}
