use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use bartizan_core::{Clock, ConfigError, Engine, Key, Mode, Snapshot, Switch};
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, UnitWeighter};

use crate::circuit::Circuit;
use crate::common::Common;
use crate::settings::Forced;
use crate::sync::atomic::Ordering::Relaxed;
use crate::{Open, Permit, Settings, State, Transition, observe};

/// One breaker per key, as per host, in a table of bounded size. Cheap to clone; clones are one.
///
/// A key's breaker is made when its first call comes, closed. When the table is full, the breaker
/// of a key that is seldom used makes room; those that are not closed stay, as long as no more
/// than an eighth of the table is like that. What is evicted starts over, closed, with its next
/// call.
#[derive(Clone, Debug)]
#[must_use]
pub struct KeyedCircuitBreaker {
    shared: Arc<Shared>,
}

struct Shared {
    common: Arc<Common>,
    table: Table,
    capacity: usize,
}

type Table = Cache<Key, Arc<Circuit>, UnitWeighter, BuildHasherDefault<KeyHasher>, Stay>;

/// How many keys have a breaker at most, if nobody says otherwise.
const CAPACITY: usize = 10_000;

impl KeyedCircuitBreaker {
    /// Creates breakers with the default [`Settings`] for up to 10 000 keys, known to operators as
    /// `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self::of(Common { is_keyed: true, ..Common::new(name.into()) }, CAPACITY)
    }

    fn of(common: Common, capacity: usize) -> Self {
        let common = Arc::new(common);
        let stay = Stay { common: Arc::clone(&common), most: capacity / 8 };
        let hasher = BuildHasherDefault::default();
        let table = Cache::with(capacity, capacity as u64, UnitWeighter, hasher, stay);
        Self { shared: Arc::new(Shared { common, table, capacity }) }
    }

    fn with(self, change: impl FnOnce(Common) -> Common) -> Self {
        Self::of(change(self.shared.common.anew()), self.shared.capacity)
    }

    /// Starts over with these settings, for every key.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot be.
    pub fn settings(self, settings: Settings) -> Result<Self, ConfigError> {
        Ok(Self::of(self.shared.common.with_settings(settings)?, self.shared.capacity))
    }

    /// Starts over with a table of so many keys, at least one. The table is made of parts, each of
    /// which evicts when it is full: a few keys in a hundred may go before all of them are.
    pub fn capacity(self, keys: usize) -> Self {
        Self::of(self.shared.common.anew(), keys.max(1))
    }

    /// Starts over with this clock.
    pub fn clock(self, clock: Clock) -> Self {
        self.with(|common| Common { clock, ..common })
    }

    /// Starts over with this switch, as one that a flag turns.
    pub fn switched_by(self, switch: Switch) -> Self {
        self.with(|common| Common { switch, ..common })
    }

    /// Starts over, and tells `listener` of every change of state, with the key.
    pub fn on_transition(self, listener: impl Fn(&Transition) + Send + Sync + 'static) -> Self {
        self.with(|common| Common { listener: Some(Arc::new(listener)), ..common })
    }

    /// Starts over, and lets no more than this share of the keys be open or half-open at once, but
    /// always one. The others stay closed whatever their calls come to, so that a fault on this
    /// side of the network does not cut off every host. The default is 1; a share that is not a
    /// number counts as 1.
    pub fn max_open_share(self, share: f64) -> Self {
        let max_open_share = if share.is_nan() { 1.0 } else { share.clamp(0.0, 1.0) };
        self.with(|common| Common { max_open_share, ..common })
    }

    /// Takes leave to make a call under `key`.
    ///
    /// # Errors
    ///
    /// Says how long to wait if the key's breaker is open, or its probes are under way.
    pub fn try_acquire(&self, key: Key) -> Result<Permit, Open> {
        let mode = self.shared.common.switch.mode(|| Some(key));
        if mode == Mode::Off {
            return Ok(Permit::uncounted());
        }
        let circuit = self.circuit(key);
        let token = circuit.admit(mode)?;
        Ok(token.map_or_else(Permit::uncounted, |token| Permit::new(circuit, token)))
    }

    fn circuit(&self, key: Key) -> Arc<Circuit> {
        if let Some(circuit) = self.shared.table.get(&key) {
            return circuit;
        }
        let common = &self.shared.common;
        let make = || Arc::new(Circuit::new(Arc::clone(common), key));
        let made = self.shared.table.get_or_insert_with(&key, || Ok::<_, ()>(make()));
        // It cannot fail; were it to, this call would be judged by a breaker of its own.
        let circuit = made.unwrap_or_else(|()| make());
        // Whoever put others in force while it was made has not found it in the table.
        circuit.adopt(common.clock.now());
        circuit
    }

    /// A call that has no key passes, and is counted as such.
    pub(crate) fn without_key(&self) -> Permit {
        self.shared.common.counts.no_key.add(1);
        Permit::uncounted()
    }

    /// Where the breaker of `key` stands; closed if there is none.
    #[must_use]
    pub fn state(&self, key: Key) -> State {
        self.shared.table.peek(&key).map_or(State::Closed, |circuit| circuit.state())
    }

    /// How many keys have a breaker.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.table.len()
    }

    /// Whether no key has a breaker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts other settings in force while it runs; state and window of every breaker stay.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot be; then nothing changes.
    pub fn set(&self, settings: Settings) -> Result<(), ConfigError> {
        let settings = settings.validated()?;
        self.adopt(|_| settings);
        Ok(())
    }

    /// Holds every breaker open or closed, until `None`, or an [`apply`](Engine::apply) of settings that
    /// do not say `forced`, lets them judge for themselves again.
    pub fn force(&self, state: impl Into<Option<Forced>>) {
        let state = state.into();
        self.adopt(|settings| settings.clone().forced(state));
    }

    /// Closes the breaker of `key` and forgets its window, unless it is forced open.
    pub fn reset(&self, key: Key) {
        if let Some(circuit) = self.shared.table.peek(&key) {
            circuit.reset();
        }
    }

    fn adopt(&self, change: impl FnOnce(&Settings) -> Settings) {
        let common = &*self.shared.common;
        common.put(change);
        let now = common.clock.now();
        for (_, circuit) in self.shared.table.iter() {
            circuit.adopt(now);
        }
        observe::settings_changed(&common.name);
    }
}

impl Engine for KeyedCircuitBreaker {
    fn name(&self) -> &str {
        &self.shared.common.name
    }

    fn kind(&self) -> &'static str {
        "circuit_breaker"
    }

    fn switch(&self) -> &Switch {
        &self.shared.common.switch
    }

    fn snapshot(&self) -> Snapshot {
        let common = &*self.shared.common;
        let snapshot = Snapshot::new(self.name(), self.kind(), self.switch().setting().0);
        let recorded = self.shared.table.iter().map(|(_, circuit)| circuit.recorded()).sum();
        let snapshot = common.counts.describe(snapshot, recorded);
        observe::keys(snapshot, &common.counts, self.len(), common.open_keys.load(Relaxed))
    }

    fn current_settings(&self) -> serde_json::Value {
        serde_json::to_value(&**self.shared.common.settings.load()).unwrap_or_default()
    }

    fn apply(&self, settings: serde_json::Value) -> Result<(), ConfigError> {
        self.set(Settings::from_json(settings)?)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("common", &self.common)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// Which breakers are not evicted: those that have something to tell, unless they are many.
#[derive(Clone, Debug)]
struct Stay {
    common: Arc<Common>,
    most: usize,
}

impl Lifecycle<Key, Arc<Circuit>> for Stay {
    type RequestState = ();

    fn is_pinned(&self, _: &Key, circuit: &Arc<Circuit>) -> bool {
        circuit.state() != State::Closed && self.common.open_keys.load(Relaxed) <= self.most
    }
}

/// Takes a [`Key`] for its own hash: it is one already, keyed and of full strength.
#[derive(Clone, Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not reached by a `Key`, but must not lose anything if it ever is.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}
