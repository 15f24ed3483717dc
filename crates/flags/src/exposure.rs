//! Who saw which variant, for whoever evaluates an experiment.

use std::fmt;
use std::sync::Arc;

use bartizan_core::{Counter, Key};
use tokio::sync::mpsc;

use crate::Reason;

/// That a request got a variant: of each flag the first evaluation in a request. Where a
/// [`Split`](crate::Split) goes by the flag, only a request that it serves by that variant counts.
///
/// [`FlagsLayer`](crate::FlagsLayer)'s requests report it to what [`Flags::exposures`] gave out.
/// The names in brackets are OpenTelemetry's attributes.
///
/// [`Flags::exposures`]: crate::Flags::exposures
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exposure {
    /// The flag (`feature_flag.key`).
    pub flag: Arc<str>,
    /// The variant (`feature_flag.result.variant`).
    pub variant: Arc<str>,
    /// How it came about (`feature_flag.result.reason`).
    pub reason: Reason,
    /// The `flagSetId` of the document (`feature_flag.set.id`).
    pub set: Option<Arc<str>>,
    /// The `version` of the document (`feature_flag.version`).
    pub version: Option<Arc<str>>,
    /// The targeting key under a keyed hash (`feature_flag.context.id`), if
    /// [`Exposures::hashed_keys`] asks for it: the same caller has the same number as long as the
    /// process lives, and the number tells nobody who that is.
    pub caller: Option<u128>,
}

impl Exposure {
    /// What OpenTelemetry's conventions for feature flags call it all, to put on an event.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, String)> {
        let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        let caller = self.caller.map(|caller| format!("{caller:032x}"));
        [
            ("feature_flag.key", Some(self.flag.as_ref().to_owned())),
            ("feature_flag.provider.name", Some("bartizan".to_owned())),
            ("feature_flag.result.variant", Some(self.variant.as_ref().to_owned())),
            ("feature_flag.result.reason", Some(self.reason.as_str().to_owned())),
            ("feature_flag.set.id", text(&self.set)),
            ("feature_flag.version", text(&self.version)),
            ("feature_flag.context.id", caller),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Settings of the exposures that are reported: by default all of them, without who.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Exposures {
    pub(crate) capacity: usize,
    pub(crate) every: u64,
    pub(crate) hashed_keys: bool,
}

impl Exposures {
    /// Keeps at most `capacity` exposures that nobody has taken yet; further ones are dropped and
    /// counted. A capacity of 0 counts as 1.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, every: 1, hashed_keys: false }
    }

    /// Reports one of `n`, by chance. 0 counts as 1.
    pub const fn one_in(mut self, n: u64) -> Self {
        self.every = n;
        self
    }

    /// Tells callers apart by a keyed hash of their targeting key.
    pub const fn hashed_keys(mut self) -> Self {
        self.hashed_keys = true;
        self
    }
}

/// Where exposures go.
pub(crate) struct Sink {
    sender: mpsc::Sender<Exposure>,
    settings: Exposures,
    pub(crate) dropped: Counter,
    pub(crate) reported: Counter,
}

impl Sink {
    pub(crate) fn new(settings: Exposures) -> (Self, mpsc::Receiver<Exposure>) {
        let (sender, receiver) = mpsc::channel(settings.capacity.max(1));
        let (dropped, reported) = (Counter::new(), Counter::new());
        (Self { sender, settings, dropped, reported }, receiver)
    }

    /// Whether it matters who calls.
    pub(crate) const fn asks_for_keys(&self) -> bool {
        self.settings.hashed_keys
    }

    /// Reports, if chance wants it and there is room; never waits.
    pub(crate) fn offer(&self, key: Option<&str>, exposure: impl FnOnce() -> Option<Exposure>) {
        let every = self.settings.every;
        // By chance: a count would fall on the same flag in each request.
        if every > 1 && fastrand::u64(..every) != 0 {
            return;
        }
        let Some(mut exposure) = exposure() else { return };
        if self.settings.hashed_keys {
            exposure.caller = key.map(|key| Key::of(key).as_u128());
        }
        match self.sender.try_send(exposure) {
            Ok(()) => self.reported.add(1),
            Err(_) => self.dropped.add(1),
        }
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("settings", &self.settings).finish_non_exhaustive()
    }
}
