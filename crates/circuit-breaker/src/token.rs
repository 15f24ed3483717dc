use crate::state::{Machine, Tag};
use crate::{Settings, State};

/// Ties an admitted call to the period it was admitted in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) word: Word,
    /// In a closed breaker when the call began, in nanoseconds, or 0 if that does not matter;
    /// else the number under which it was admitted.
    pub(crate) mark: u64,
}

/// Generation, tag and state of the machine in 64 bits, so that a closed breaker admits and
/// records without its lock. Nobody sees 2^50 transitions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    const TAG_SHIFT: u32 = 2;
    const GENERATION_SHIFT: u32 = Self::TAG_SHIFT + Tag::BITS;

    /// Closed, and a good call needs neither the time nor a count of failures in a row.
    const PLAIN: u64 = 0;

    pub(crate) const fn of(machine: &Machine, settings: &Settings) -> Self {
        let state = match machine.state() {
            State::Closed if settings.is_plain() => Self::PLAIN,
            State::Closed => 3,
            State::HalfOpen => 1,
            State::Open => 2,
        };
        Self(
            machine.generation() << Self::GENERATION_SHIFT
                | machine.tag().bits() << Self::TAG_SHIFT
                | state,
        )
    }

    pub(crate) const fn state(self) -> State {
        match self.0 & 3 {
            1 => State::HalfOpen,
            2 => State::Open,
            _ => State::Closed,
        }
    }

    /// Whether the breaker is closed, and a good call needs neither the time nor a count of
    /// failures in a row.
    #[inline]
    pub(crate) const fn is_plain(self) -> bool {
        self.0 & 3 == Self::PLAIN
    }

    pub(crate) const fn tag(self) -> Tag {
        Tag::from_bits(self.0 >> Self::TAG_SHIFT)
    }

    pub(crate) const fn generation(self) -> u64 {
        self.0 >> Self::GENERATION_SHIFT
    }
}
