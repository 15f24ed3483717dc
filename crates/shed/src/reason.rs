/// Why a request was turned away.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// It would have come too late for its deadline.
    Deadline,
    /// An operator has it so.
    Forced,
    /// All slots were taken, and there is no queue, or it was full.
    Limit,
    /// Others matter more, or have had less.
    Priority,
    /// It had waited for too long.
    Queue,
}

impl Reason {
    pub(crate) const ALL: [Self; 5] =
        [Self::Deadline, Self::Forced, Self::Limit, Self::Priority, Self::Queue];

    /// The word for it, as in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Forced => "forced",
            Self::Limit => "limit",
            Self::Priority => "priority",
            Self::Queue => "queue",
        }
    }
}
