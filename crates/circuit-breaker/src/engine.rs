use std::sync::Arc;

use bartizan_core::{Clock, ConfigError, Engine, Key, Snapshot, Switch};

use crate::circuit::Circuit;
use crate::common::Common;
use crate::settings::Forced;
use crate::{Open, Permit, Settings, State, Transition, observe};

/// Decides which calls to one service are made. Cheap to clone; clones are one breaker.
///
/// [`Mode::Off`](bartizan_core::Mode::Off) disables it: nothing is counted or refused.
/// [`Mode::Shadow`](bartizan_core::Mode::Shadow) leaves it with its metrics and transitions, and
/// refuses nothing.
#[derive(Clone, Debug)]
#[must_use]
pub struct CircuitBreaker {
    circuit: Arc<Circuit>,
}

impl CircuitBreaker {
    /// Creates a closed breaker with the default [`Settings`], known to operators as `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self::of(Common::new(name.into()))
    }

    fn of(common: Common) -> Self {
        Self { circuit: Arc::new(Circuit::new(Arc::new(common), Key::of(""))) }
    }

    fn common(&self) -> &Common {
        self.circuit.common()
    }

    /// Starts over with these settings.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot be.
    pub fn settings(self, settings: Settings) -> Result<Self, ConfigError> {
        self.common().with_settings(settings).map(Self::of)
    }

    /// Starts over with this clock.
    pub fn clock(self, clock: Clock) -> Self {
        Self::of(Common { clock, ..self.common().anew() })
    }

    /// Starts over with this switch, as one that a flag turns.
    pub fn switched_by(self, switch: Switch) -> Self {
        Self::of(Common { switch, ..self.common().anew() })
    }

    /// Starts over, and tells `listener` of every change of state, on the thread of the call that
    /// brought it about.
    pub fn on_transition(self, listener: impl Fn(&Transition) + Send + Sync + 'static) -> Self {
        Self::of(Common { listener: Some(Arc::new(listener)), ..self.common().anew() })
    }

    /// Takes leave to make a call.
    ///
    /// In [`Mode::Off`](bartizan_core::Mode::Off) and [`Mode::Shadow`](bartizan_core::Mode::Shadow)
    /// it is always given.
    ///
    /// # Errors
    ///
    /// Says how long to wait if the breaker is open, or its probes are under way.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit, Open> {
        let token = self.circuit.admit(self.common().switch.mode(|| None))?;
        Ok(token
            .map_or_else(Permit::uncounted, |token| Permit::new(Arc::clone(&self.circuit), token)))
    }

    /// Where the breaker stands. It stays open until a call comes after the wait.
    #[must_use]
    pub fn state(&self) -> State {
        self.circuit.state()
    }

    /// Whether a call would be refused now; says for how long.
    pub(crate) fn refusal(&self) -> Option<Open> {
        let common = self.common();
        if self.state() == State::Closed
            || common.switch.mode(|| None) != bartizan_core::Mode::Enforce
        {
            return None;
        }
        self.circuit.refusal(common.clock.now_coarse()).map(Open::new)
    }

    /// Puts other settings in force while it runs; state and window of the breaker stay.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot be; then nothing changes.
    pub fn set(&self, settings: Settings) -> Result<(), ConfigError> {
        let settings = settings.validated()?;
        self.adopt(|_| settings);
        Ok(())
    }

    /// Holds the breaker open or closed, until `None` lets it judge for itself again: what was
    /// held closed goes on with its window, what was held open begins with its probes. So does an
    /// [`apply`](Engine::apply) of settings that do not say `forced`.
    pub fn force(&self, state: impl Into<Option<Forced>>) {
        let state = state.into();
        self.adopt(|settings| settings.clone().forced(state));
    }

    /// Closes the breaker and forgets its window, unless it is forced open.
    pub fn reset(&self) {
        self.circuit.reset();
    }

    fn adopt(&self, change: impl FnOnce(&Settings) -> Settings) {
        let common = self.common();
        common.put(change);
        self.circuit.adopt(common.clock.now());
        observe::settings_changed(&common.name);
    }
}

impl Engine for CircuitBreaker {
    fn name(&self) -> &str {
        &self.common().name
    }

    fn kind(&self) -> &'static str {
        "circuit_breaker"
    }

    fn switch(&self) -> &Switch {
        &self.common().switch
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot::new(self.name(), self.kind(), self.switch().setting().0);
        let snapshot = self.common().counts.describe(snapshot, self.circuit.recorded());
        observe::state(snapshot, self.state())
    }

    fn current_settings(&self) -> serde_json::Value {
        serde_json::to_value(&**self.common().settings.load()).unwrap_or_default()
    }

    fn apply(&self, settings: serde_json::Value) -> Result<(), ConfigError> {
        self.set(Settings::from_json(settings)?)
    }
}
