//! A scheme of one's own: tickets `<name>.<HMAC of the name>` in a field of their own.

use std::fmt;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use bartizan::auth::{Fault, Principal, Scheme, Verdict};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

static FIELD: HeaderName = HeaderName::from_static("x-ticket");

pub(crate) struct Tickets(&'static [u8]);

impl Scheme for Tickets {
    fn field(&self) -> &HeaderName {
        &FIELD
    }

    fn credential<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]> {
        Some(value.as_bytes())
    }

    /// At once, since nobody has to be asked; else it would be `Verdict::later(async move { … })`.
    fn verify(&self, ticket: &[u8], _: Duration) -> Verdict {
        let judge = || {
            let (name, tag) = str::from_utf8(ticket).ok()?.split_once('.')?;
            let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
            let mut mac = Hmac::<Sha256>::new_from_slice(self.0).ok()?;
            mac.update(name.as_bytes());
            // In constant time.
            mac.verify_slice(&tag).ok()?;
            Some(Principal::new(name))
        };
        Verdict::Now(judge().ok_or(Fault::Signature))
    }

    fn name(&self) -> &'static str {
        "Ticket"
    }
}

impl Tickets {
    pub(crate) const fn new(secret: &'static [u8]) -> Self {
        Self(secret)
    }

    pub(crate) fn issue(&self, name: &str) -> String {
        format!("{name}.{}", URL_SAFE_NO_PAD.encode(mac(self.0, name.as_bytes())))
    }
}

/// Never the secret.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

pub(crate) fn mac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes secrets of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}
