use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::{ConfigError, Key};

/// Whether a layer acts on its decisions.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mode {
    /// Decides and acts. The default.
    #[default]
    Enforce,
    /// Neither decides nor counts: as if the layer were not there. What that means for guards, or for what
    /// is stored already, is said in the rooms.
    Off,
    /// Decides and counts, but lets everything pass.
    Shadow,
}

impl Mode {
    /// The word for it, as in settings and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Off => "off",
            Self::Shadow => "shadow",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = ConfigError;

    fn from_str(word: &str) -> Result<Self, ConfigError> {
        match word {
            "enforce" => Ok(Self::Enforce),
            "off" => Ok(Self::Off),
            "shadow" => Ok(Self::Shadow),
            _ => Err(ConfigError::new(
                "mode",
                "unknown mode",
                "write \"enforce\", \"shadow\" or \"off\"",
            )),
        }
    }
}

/// A layer's [`Mode`], which an operator or a flag can turn while it runs. Clones are one switch.
///
/// A mode can be given to a fraction of the keys; the others are then off. The same key always
/// falls on the same side, and a growing fraction only adds keys. And it can be left to a
/// [`decide`](Self::decide) that looks at each request.
#[derive(Clone)]
pub struct Switch(Arc<Inner>);

struct Inner {
    word: AtomicU64,
    decide: OnceLock<Box<Decide>>,
}

type Decide = dyn Fn() -> Option<Mode> + Send + Sync;

/// The mode's number is in the low two bits, the share of keys (of 2^32) above.
const ALL: u64 = 1 << 32;

/// Whether somebody decides request by request; the top bit, which no share reaches.
const DECIDED: u64 = 1 << 63;

const ENFORCED: u64 = pack(Mode::Enforce, ALL);

impl Switch {
    /// Creates a switch that stands on `mode`.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        let word = AtomicU64::new(pack(mode, ALL));
        Self(Arc::new(Inner { word, decide: OnceLock::new() }))
    }

    /// Sets the mode for everyone.
    pub fn set(&self, mode: Mode) {
        self.store(pack(mode, ALL));
    }

    /// Sets the mode for a share of the keys, from 0 to 1; for the others the layer is off.
    ///
    /// A share out of range is brought into it; one that is not a number counts as 0.
    pub fn set_fraction(&self, mode: Mode, share: f64) {
        let share = (share.clamp(0.0, 1.0) * ALL as f64) as u64;
        self.store(pack(mode, share));
    }

    fn store(&self, word: u64) {
        let keep = |old: u64| Some(word | (old & DECIDED));
        // It always stores: `keep` never says no.
        let _ = self.0.word.fetch_update(Relaxed, Relaxed, keep);
    }

    /// Leaves the mode to `decide`, which is asked for each request, on the thread that works on it;
    /// where it says nothing, the mode that was set holds. It must be quick, and must not ask this
    /// switch.
    ///
    /// False if somebody decides already: it stays with the first.
    pub fn decide(&self, decide: impl Fn() -> Option<Mode> + Send + Sync + 'static) -> bool {
        let first = self.0.decide.set(Box::new(decide)).is_ok();
        self.0.word.fetch_or(DECIDED, Relaxed);
        first
    }

    /// The mode for a request: one relaxed load. `key` is asked for only if the mode is given to
    /// a fraction; a request without a key then falls on a side by chance.
    #[must_use]
    #[inline]
    pub fn mode(&self, key: impl FnOnce() -> Option<Key>) -> Mode {
        let word = self.0.word.load(Relaxed);
        // How it stands nearly always, told by one comparison.
        if word == ENFORCED {
            return Mode::Enforce;
        }
        if word & DECIDED != 0
            && let Some(mode) = self.0.decide.get().and_then(|decide| decide())
        {
            return mode;
        }
        let (mode, share) = unpack(word);
        if share == ALL {
            return mode;
        }
        let point = key().unwrap_or_else(Key::random).as_u128() as u64 & (ALL - 1);
        if point < share { mode } else { Mode::Off }
    }

    /// The mode for a request, where a mode that is given to a fraction must hold for all: one relaxed
    /// load.
    #[must_use]
    #[inline]
    pub fn mode_for_all(&self) -> Mode {
        let word = self.0.word.load(Relaxed);
        if word == ENFORCED {
            return Mode::Enforce;
        }
        let decide = self.0.decide.get().filter(|_| word & DECIDED != 0);
        decide.and_then(|decide| decide()).unwrap_or_else(|| unpack(word).0)
    }

    /// The mode as set and the share of keys that it holds for, whatever is decided for a request.
    #[must_use]
    pub fn setting(&self) -> (Mode, f64) {
        let (mode, share) = unpack(self.0.word.load(Relaxed));
        (mode, share as f64 / ALL as f64)
    }
}

const fn pack(mode: Mode, share: u64) -> u64 {
    let mode = match mode {
        Mode::Enforce => 0,
        Mode::Off => 1,
        Mode::Shadow => 2,
    };
    share << 2 | mode
}

fn unpack(word: u64) -> (Mode, u64) {
    let mode = match word & 3 {
        0 => Mode::Enforce,
        1 => Mode::Off,
        _ => Mode::Shadow,
    };
    (mode, (word & !DECIDED) >> 2)
}

impl Default for Switch {
    fn default() -> Self {
        Self::new(Mode::Enforce)
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mode, share) = self.setting();
        f.debug_struct("Switch").field("mode", &mode).field("share", &share).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_one_switch() {
        let switch = Switch::default();
        let twin = switch.clone();
        twin.set(Mode::Shadow);
        assert_eq!(switch.mode(|| panic!("no key is needed")), Mode::Shadow);
    }

    #[test]
    fn whoever_decides_is_asked_each_time_and_may_say_nothing() {
        use std::sync::atomic::AtomicU32;
        let switch = Switch::default();
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        // Nothing, shadow, nothing, shadow.
        let decide = move || (count.fetch_add(1, Relaxed) % 2 == 1).then_some(Mode::Shadow);
        assert!(switch.decide(decide));
        assert!(!switch.decide(|| None), "the first stays");
        let mode = || switch.mode(|| None);
        assert_eq!((mode(), mode()), (Mode::Enforce, Mode::Shadow));
        switch.set(Mode::Off);
        assert_eq!((mode(), mode()), (Mode::Off, Mode::Shadow));
        switch.set_fraction(Mode::Enforce, 1.0);
        assert_eq!((mode(), mode()), (Mode::Enforce, Mode::Shadow));
        assert_eq!(switch.setting(), (Mode::Enforce, 1.0));
        assert_eq!(asked.load(Relaxed), 6);
        switch.set_fraction(Mode::Off, 0.0);
        let mode = || switch.mode_for_all();
        assert_eq!((mode(), mode()), (Mode::Off, Mode::Shadow));
        let undecided = Switch::new(Mode::Shadow);
        assert_eq!(undecided.mode_for_all(), Mode::Shadow);
        undecided.set_fraction(Mode::Enforce, 0.0);
        assert_eq!(undecided.mode_for_all(), Mode::Enforce);
    }

    #[test]
    fn a_fraction_is_near_its_share_and_only_grows() {
        let switch = Switch::default();
        let keys: Vec<Key> = (0..100_000).map(|n: u32| Key::of(&n)).collect();
        let held = |share| {
            switch.set_fraction(Mode::Enforce, share);
            keys.iter().map(|key| switch.mode(|| Some(*key)) == Mode::Enforce).collect::<Vec<_>>()
        };
        let (few, more) = (held(0.1), held(0.2));
        let count = few.iter().filter(|on| **on).count();
        assert!((9_000..11_000).contains(&count), "{count}");
        assert!(few.iter().zip(&more).all(|(few, more)| !few || *more));
        assert!(held(0.0).iter().all(|on| !on));
        assert!(held(f64::NAN).iter().all(|on| !on));
        assert!(held(7.0).iter().all(|on| *on));
    }

    #[test]
    fn words_are_read_and_written() {
        for mode in [Mode::Enforce, Mode::Off, Mode::Shadow] {
            assert_eq!(mode.as_str().parse(), Ok(mode));
        }
        let error = "on".parse::<Mode>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`mode`: unknown mode; write \"enforce\", \"shadow\" or \"off\""
        );
    }
}
