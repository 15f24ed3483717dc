use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{Clock, ConfigError, Engine, Mode, Snapshot, Switch};

use crate::limit::Limit;
use crate::priority::Claim;
use crate::shared::{Decision, Shared};
use crate::{Settings, Slot, observe};

/// Decides which requests are served. Cheap to clone; clones are one shedder.
#[derive(Clone, Debug)]
#[must_use]
pub struct LoadShedder {
    pub(crate) shared: Arc<Shared>,
}

impl LoadShedder {
    /// Creates a shedder with the default [`Settings`], known to operators as `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self::build(name.into(), Clock::system(), Switch::default(), Settings::default())
    }

    fn build(name: String, clock: Clock, switch: Switch, settings: Settings) -> Self {
        let limit = settings.make_limit(settings.initial());
        Self { shared: Arc::new(Shared::new(name, clock, switch, settings, limit)) }
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

    /// Starts over with a limit of one's own, in place of the algorithm that the settings name. Comes
    /// last: whatever else starts over returns to that.
    pub fn limited_by(self, limit: impl Limit + 'static) -> Self {
        let Shared { name, clock, switch, settings, .. } = &*self.shared;
        let (name, clock, switch) = (name.clone(), clock.clone(), switch.clone());
        let settings = **settings.load();
        Self { shared: Arc::new(Shared::new(name, clock, switch, settings, Box::new(limit))) }
    }

    /// Puts other settings in force while it runs. What is in flight stays, and a limit that was learned
    /// is kept within the new bounds, unless the algorithm is another one.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot be; then nothing changes.
    pub fn set(&self, settings: Settings) -> Result<(), ConfigError> {
        self.shared.adopt(settings.validated()?);
        observe::settings_changed(&self.shared.name);
        Ok(())
    }

    /// Takes a slot, unless all are taken or an operator has it refused. Does not wait.
    ///
    /// In [`Mode::Off`] and [`Mode::Shadow`] there is always one. It wants to be told how the call ended, by
    /// [`Watch::settle`](bartizan_core::Watch::settle): a limit that learns goes by the calls that ended well.
    #[inline]
    #[must_use = "a slot that is dropped untold counts as a call that was given up"]
    pub fn admit(&self) -> Option<Slot> {
        let mode = self.shared.switch.mode(|| None);
        if mode == Mode::Off {
            return Some(Slot::uncounted());
        }
        if let Some(slot) = self.shared.enter() {
            return Some(slot);
        }
        match self.shared.knock(mode, Claim::default(), false) {
            Decision::Admit(slot) => Some(slot),
            Decision::Refuse(_) | Decision::Wait(..) => None,
        }
    }

    /// The number of exchanges in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.shared.lobby.gate.inside()
    }

    /// The number of exchanges that may be in flight.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.shared.lobby.gate.limit()
    }

    /// The number of requests that wait for a slot.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.shared.lobby.gate.waiting()
    }

    /// What a call takes when nothing waits inside the service, as far as is known; else zero.
    #[must_use]
    pub fn base_latency(&self) -> Duration {
        self.shared.base()
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
        self.shared.counts.describe(snapshot, &self.shared)
    }

    fn current_settings(&self) -> serde_json::Value {
        serde_json::to_value(**self.shared.settings.load()).unwrap_or_default()
    }

    fn apply(&self, settings: serde_json::Value) -> Result<(), ConfigError> {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| {
            ConfigError::new("shed", error.to_string(), "see `bartizan_shed::Settings`")
        })?;
        self.set(settings)
    }
}
