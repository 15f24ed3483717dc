use std::sync::{Arc, PoisonError};

use bartizan_core::{Clock, ConfigError, Live, Switch};

use crate::observe::{self, Counts};
use crate::state::Limits;
use crate::sync::Mutex;
use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::Ordering::Relaxed;
use crate::{Settings, State, Transition};

/// Is told of every change of state.
pub(crate) type Listener = Arc<dyn Fn(&Transition) + Send + Sync>;

/// What one breaker has, or all breakers of one table together.
pub(crate) struct Common {
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) switch: Switch,
    pub(crate) settings: Live<Settings>,
    /// Taken by whoever puts others in force.
    pub(crate) changing: Mutex<()>,
    pub(crate) listener: Option<Listener>,
    /// Whether each breaker is one of many.
    pub(crate) is_keyed: bool,
    /// How many breakers may be open or half-open at once, as a share; for a table.
    pub(crate) max_open_share: f64,
    pub(crate) limits: Limits,
    pub(crate) counts: Counts,
    /// How many breakers there are, and how many of them are not closed.
    pub(crate) keys: AtomicUsize,
    pub(crate) open_keys: AtomicUsize,
}

impl Common {
    pub(crate) fn new(name: String) -> Self {
        let (clock, switch) = (Clock::system(), Switch::default());
        Self::with(name, clock, switch, Settings::default(), None)
    }

    fn with(
        name: String,
        clock: Clock,
        switch: Switch,
        settings: Settings,
        listener: Option<Listener>,
    ) -> Self {
        Self {
            name,
            clock,
            switch,
            limits: Limits::new(settings.rules(), settings.path()),
            settings: Live::new(settings),
            changing: Mutex::new(()),
            listener,
            is_keyed: false,
            max_open_share: 1.0,
            counts: Counts::default(),
            keys: AtomicUsize::new(0),
            open_keys: AtomicUsize::new(0),
        }
    }

    /// The same choices with new counts, for a builder to change one of them.
    pub(crate) fn anew(&self) -> Self {
        let settings = Settings::clone(&self.settings.load());
        let (name, clock, switch) = (self.name.clone(), self.clock.clone(), self.switch.clone());
        Self {
            is_keyed: self.is_keyed,
            max_open_share: self.max_open_share,
            ..Self::with(name, clock, switch, settings, self.listener.clone())
        }
    }

    /// The same choices with other settings.
    pub(crate) fn with_settings(&self, settings: Settings) -> Result<Self, ConfigError> {
        let settings = settings.validated()?;
        let mut common = self.anew();
        common.limits.set(settings.rules(), settings.path());
        common.settings = Live::new(settings);
        Ok(common)
    }

    /// Puts the settings in force that `change` makes of those that are. The breakers are yet to
    /// adopt them.
    pub(crate) fn put(&self, change: impl FnOnce(&Settings) -> Settings) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = change(&self.settings.load());
        self.limits.set(settings.rules(), settings.path());
        self.settings.store(settings);
    }

    /// Whether one more breaker may open.
    pub(crate) fn may_open(&self) -> bool {
        if self.max_open_share >= 1.0 {
            return true;
        }
        let most = (self.keys.load(Relaxed) as f64 * self.max_open_share).max(1.0);
        let may = self.open_keys.load(Relaxed) < most as usize;
        if !may {
            self.counts.held_back.add(1);
        }
        may
    }

    /// A breaker has changed its state: counts it, and tells whoever wants to know.
    pub(crate) fn report(&self, transition: &Transition) {
        let open_keys = &self.open_keys;
        if transition.from != transition.to {
            self.counts.changed_to(transition.to);
        }
        match (transition.from, transition.to) {
            (State::Closed, State::HalfOpen | State::Open) => {
                open_keys.fetch_add(1, Relaxed);
            }
            (State::HalfOpen | State::Open, State::Closed) => {
                open_keys.fetch_sub(1, Relaxed);
            }
            _ => {}
        }
        observe::transition(&self.name, transition);
        if let Some(listener) = &self.listener {
            listener(transition);
        }
    }
}

impl std::fmt::Debug for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Common").field("name", &self.name).finish_non_exhaustive()
    }
}
