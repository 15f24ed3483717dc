use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bartizan_core::{Clock, ConfigError, Engine, Mode, Outcome, Rejection, Snapshot, Switch};
use http::StatusCode;

use crate::observe::{self, Counts};
use crate::state::{Machine, Token};
use crate::{Permit, Settings, State};

const CIRCUIT_OPEN: Rejection = Rejection::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "circuit-open",
    "the service behind this one fails; calls to it are suspended",
)
.problem_type("https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");

/// The call is refused, because the breaker is open or its probes are under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Open {
    retry_after: Duration,
}

impl Open {
    /// How long until another try makes sense.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl std::fmt::Display for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the circuit is open for another {:?}", self.retry_after)
    }
}

impl std::error::Error for Open {}

impl From<Open> for Rejection {
    fn from(open: Open) -> Self {
        CIRCUIT_OPEN.retry_after(open.retry_after)
    }
}

/// Decides which calls are made. Cheap to clone; clones are one breaker.
#[derive(Clone, Debug)]
#[must_use]
pub struct CircuitBreaker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    name: String,
    clock: Clock,
    switch: Switch,
    /// Generation and state of the machine, so that a closed breaker admits without the lock.
    /// Written under the lock.
    word: AtomicU64,
    machine: Mutex<Machine>,
    counts: Counts,
}

impl CircuitBreaker {
    /// Creates a closed breaker with the default [`Settings`], known to operators as `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self::build(name.into(), Clock::system(), Switch::default(), Settings::default())
    }

    fn build(name: String, clock: Clock, switch: Switch, settings: Settings) -> Self {
        let machine = Machine::new(settings);
        let shared = Shared {
            name,
            clock,
            switch,
            word: AtomicU64::new(pack(&machine)),
            machine: Mutex::new(machine),
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
        let Shared { name, switch, .. } = &*self.shared;
        Self::build(name.clone(), clock, switch.clone(), self.shared.settings())
    }

    /// Starts over with this switch, as one that a flag turns.
    pub fn switched_by(self, switch: Switch) -> Self {
        let Shared { name, clock, .. } = &*self.shared;
        Self::build(name.clone(), clock.clone(), switch, self.shared.settings())
    }

    /// Takes leave to make a call.
    ///
    /// In [`Mode::Off`] and [`Mode::Shadow`] it is always given.
    ///
    /// # Errors
    ///
    /// Says how long to wait if the breaker is open, or its probes are under way.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit, Open> {
        let shared = &*self.shared;
        let mode = shared.switch.mode(|| None);
        if mode == Mode::Off {
            return Ok(Permit::uncounted());
        }
        match shared.acquire() {
            Ok(token) => Ok(Permit::new(Arc::clone(&self.shared), token)),
            Err(retry_after) if mode == Mode::Enforce => {
                shared.counts.refused.add(1);
                observe::refused(&shared.name);
                Err(Open { retry_after })
            }
            Err(_) => {
                shared.counts.shadow_refused.add(1);
                Ok(Permit::uncounted())
            }
        }
    }

    /// Where the breaker stands. It stays open until a call comes after the wait.
    #[must_use]
    pub fn state(&self) -> State {
        unpack(self.shared.word.load(Ordering::Acquire)).1
    }
}

impl Shared {
    fn settings(&self) -> Settings {
        *self.machine.lock().unwrap_or_else(PoisonError::into_inner).settings()
    }

    #[inline]
    fn acquire(&self) -> Result<Token, Duration> {
        let (generation, state) = unpack(self.word.load(Ordering::Acquire));
        if state == State::Closed {
            // Should it open meanwhile, the generation makes the outcome void.
            return Ok(Token::closed(generation));
        }
        let now = self.clock.now();
        self.change(|machine| machine.acquire(now))
    }

    pub(crate) fn settle(&self, token: Token, outcome: Outcome) {
        self.counts.ended(outcome);
        let (generation, state) = unpack(self.word.load(Ordering::Acquire));
        let says_nothing = !matches!(outcome, Outcome::Failure | Outcome::Success);
        // Neither needs the lock; the machine would come to the same end.
        if generation != token.generation() & GENERATIONS || says_nothing && state == State::Closed
        {
            return;
        }
        let now = self.clock.now();
        self.change(|machine| machine.settle(token, outcome, now));
    }

    /// Changes the machine under the lock, and reports a transition after it: a subscriber may be
    /// slow, or panic.
    fn change<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let from = machine.state();
        let result = change(&mut machine);
        let to = machine.state();
        self.word.store(pack(&machine), Ordering::Release);
        drop(machine);
        if from != to {
            observe::transition(&self.name, from, to);
        }
        result
    }
}

/// Two bits are the state's; nobody sees 2^62 transitions.
const GENERATIONS: u64 = u64::MAX >> 2;

const fn pack(machine: &Machine) -> u64 {
    machine.generation() << 2
        | match machine.state() {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        }
}

const fn unpack(word: u64) -> (u64, State) {
    let state = match word & 3 {
        0 => State::Closed,
        1 => State::HalfOpen,
        _ => State::Open,
    };
    (word >> 2, state)
}

impl Engine for CircuitBreaker {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn kind(&self) -> &'static str {
        "circuit_breaker"
    }

    fn switch(&self) -> &Switch {
        &self.shared.switch
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot::new(self.name(), self.kind(), self.switch().setting().0);
        self.shared.counts.describe(snapshot, self.state())
    }

    fn apply(&self, settings: serde_json::Value) -> Result<(), ConfigError> {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| {
            ConfigError::new(
                "circuit_breaker",
                error.to_string(),
                "see `bartizan_circuit_breaker::Settings`",
            )
        })?;
        let settings = settings.validated()?;
        let now = self.shared.clock.now();
        self.shared.change(|machine| machine.apply(settings, now));
        observe::settings_changed(&self.shared.name);
        Ok(())
    }
}
