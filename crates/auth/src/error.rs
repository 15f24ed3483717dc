use std::fmt;
use std::time::Duration;

/// Why a credential proves nothing. In the order of the checks: what comes later got further.
///
/// `Display` is fit for callers: it holds nothing of the credential or the keys.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Fault {
    /// Longer than is allowed.
    TooLarge,
    /// Not in the form of a credential.
    Malformed,
    /// A token's header asks for what is not understood: `crit`, `b64`, encryption, compression,
    /// or another type of token.
    Header,
    /// Issued by someone else.
    Issuer,
    /// No such key.
    UnknownKey,
    /// Signed by another algorithm than the key is for.
    Algorithm,
    /// The signature does not fit.
    Signature,
    /// A claim is missing or not of its type.
    Claims,
    /// Meant for someone else.
    Audience,
    /// Valid later.
    NotYetValid,
    /// Valid no longer, or for longer than is allowed.
    Expired,
    /// The issuer says that it is not, or no longer, good.
    Inactive,
    /// Revoked: on the [`Denylist`](crate::Denylist).
    Revoked,
    /// Nothing is wrong with it, but what it takes to check it is not there.
    Unavailable,
}

impl Fault {
    /// All of them, each at its own number.
    pub(crate) const ALL: [Self; 14] = [
        Self::TooLarge,
        Self::Malformed,
        Self::Header,
        Self::Issuer,
        Self::UnknownKey,
        Self::Algorithm,
        Self::Signature,
        Self::Claims,
        Self::Audience,
        Self::NotYetValid,
        Self::Expired,
        Self::Inactive,
        Self::Revoked,
        Self::Unavailable,
    ];

    /// The word for it, as in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Header => "header",
            Self::UnknownKey => "unknown_key",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::Inactive => "inactive",
            Self::Revoked => "revoked",
            Self::Unavailable => "unavailable",
        }
    }

    /// True for what somebody who guesses would meet, and seldom an honest caller.
    pub(crate) const fn is_guess(self) -> bool {
        matches!(
            self,
            Self::Malformed | Self::UnknownKey | Self::Algorithm | Self::Signature | Self::Inactive
        )
    }

    /// What callers are told: when they can do something about it, what it is.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::TooLarge => "the credential is too long",
            Self::NotYetValid => "the credential is not valid yet",
            Self::Expired => "the credential has expired",
            Self::Unavailable => "credentials cannot be checked at the moment",
            _ => "the credential is not valid",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

impl std::error::Error for Fault {}

/// Why a request is turned away before anything is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Denial {
    /// Credentials in two places, or twice in one.
    Ambiguous,
    /// The credential proves nothing.
    Invalid(Fault),
    /// There is no credential.
    Missing,
    /// There were too many that proved nothing: see [`Attempts`](crate::Attempts). For so long no
    /// more are looked at.
    Throttled(Duration),
}

impl Denial {
    /// The word for it, as in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::Invalid(fault) => fault.as_str(),
            Self::Missing => "missing",
            Self::Throttled(_) => "throttled",
        }
    }
}
