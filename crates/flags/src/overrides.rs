//! Requests that name the variants they want, for tests and previews.

use std::fmt;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{Clock, ConfigError, Principal};
use hmac::{Hmac, Mac};
use http::header::{HeaderName, HeaderValue};
use http::{Extensions, HeaderMap};
use sha2::Sha256;

/// The longest field that is read, in bytes.
const LONGEST: usize = 4096;
/// How many flags one request may override.
const MOST: usize = 16;

const FIELD: HeaderName = HeaderName::from_static("x-flag-overrides");

/// Lets a request name the variants that it wants, as `search=canary,beta=on`, if it may: because of
/// its caller's [role](Self::for_role), or by a [signature](Self::signed). Off unless a
/// [`FlagsLayer`](crate::FlagsLayer::overrides) is told otherwise.
///
/// The value's reason is then [`Reason::Override`](crate::Reason::Override), the event is logged at
/// `debug`, and no cache keeps the exchange: the request gets `Cache-Control: no-cache, no-store` for
/// caches further in, the response `no-store` for those further out. A flag that is disabled stays so,
/// and names that the document does not know are ignored; so is the whole field unless it may be
/// believed.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use bartizan_flags::{Flags, FlagsLayer, Overrides};
///
/// # fn main() -> Result<(), bartizan_core::ConfigError> {
/// let overrides = Overrides::signed(b"a secret of at least 32 bytes, at random")?;
/// // For the tester, who sends it as `x-flag-overrides`.
/// let field = overrides.sign("search=canary", Duration::from_secs(3600));
/// assert!(field.is_some_and(|field| field.starts_with("search=canary;expires=")));
///
/// let layer = FlagsLayer::new(Flags::empty()).overrides(overrides);
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Overrides {
    guard: Guard,
    field: HeaderName,
    clock: Clock,
}

#[derive(Clone)]
enum Guard {
    Role(Arc<str>),
    Signature(Hmac<Sha256>),
}

impl Overrides {
    /// Believes whoever holds the role. The [`Principal`] must be there before the flags are.
    #[must_use]
    pub fn for_role(role: impl Into<Arc<str>>) -> Self {
        Self::new(Guard::Role(role.into()))
    }

    /// Believes whatever was signed with the secret and has not expired: a link for previews, a test's
    /// request. HMAC (RFC 2104) with SHA-256.
    ///
    /// # Errors
    ///
    /// If the secret is shorter than 32 bytes.
    pub fn signed(secret: &[u8]) -> Result<Self, ConfigError> {
        match Hmac::new_from_slice(secret) {
            Ok(key) if secret.len() >= 32 => Ok(Self::new(Guard::Signature(key))),
            _ => Err(ConfigError::new(
                "overrides.secret",
                "is shorter than 32 bytes",
                "draw at least 32 bytes at random, as with `openssl rand -hex 32`",
            )),
        }
    }

    const fn new(guard: Guard) -> Self {
        Self { guard, field: FIELD, clock: Clock::system() }
    }

    /// Sets the field's name. `x-flag-overrides` by default.
    #[must_use]
    pub fn field(mut self, field: HeaderName) -> Self {
        self.field = field;
        self
    }

    /// Sets the clock by which signatures expire.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The field's value for `named`, as `search=canary,beta=on`, which holds for that long. `None`
    /// where nothing is signed, or if `named` has a semicolon.
    #[must_use]
    pub fn sign(&self, named: &str, holds: Duration) -> Option<String> {
        let Guard::Signature(key) = &self.guard else { return None };
        if named.contains(';') {
            return None;
        }
        let expires = self.clock.unix().saturating_add(holds).as_secs();
        let mut text = format!("{named};expires={expires}");
        let signature = key.clone().chain_update(&text).finalize().into_bytes();
        text.push_str(";signature=");
        for byte in signature {
            // Writing to memory cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Some(text)
    }

    /// What the request names, if it may.
    pub(crate) fn read<'a>(
        &self,
        headers: &'a HeaderMap,
        extensions: &Extensions,
    ) -> Option<impl Iterator<Item = (&'a str, &'a str)> + use<'a>> {
        let value = headers.get(&self.field).filter(|value| value.len() <= LONGEST)?;
        let text = value.to_str().ok()?;
        let named = match &self.guard {
            Guard::Role(role) => {
                extensions.get::<Principal>().is_some_and(|who| who.has_role(role)).then_some(text)
            }
            Guard::Signature(key) => self.verified(key, text),
        };
        if named.is_none() {
            tracing::debug!(target: "bartizan::flags", "overrides that may not be believed are ignored");
        }
        let pairs = named?.split(',').filter_map(|pair| pair.split_once('='));
        Some(pairs.map(|(flag, variant)| (flag.trim(), variant.trim())).take(MOST))
    }

    fn verified<'a>(&self, key: &Hmac<Sha256>, text: &'a str) -> Option<&'a str> {
        let (signed, signature) = text.rsplit_once(";signature=")?;
        let (named, expires) = signed.rsplit_once(";expires=")?;
        let signature = bytes(signature)?;
        // In constant time.
        key.clone().chain_update(signed).verify_slice(&signature).ok()?;
        let expires: u64 = expires.parse().ok()?;
        (self.clock.unix().as_secs() < expires).then_some(named)
    }
}

/// Reads 32 bytes in hexadecimal.
fn bytes(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let pairs = text.as_bytes().chunks(2);
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// For caches further in: neither answer from what is there, nor keep what comes.
pub(crate) const ASK_ANEW: HeaderValue = HeaderValue::from_static("no-cache, no-store");
/// For caches further out.
pub(crate) const KEEP_NOT: HeaderValue = HeaderValue::from_static("no-store");

/// Says nothing of the secret.
impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overrides").field("field", &self.field).finish_non_exhaustive()
    }
}
