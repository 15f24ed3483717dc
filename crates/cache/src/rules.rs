use bartizan_core::Principal;
use http::{Extensions, HeaderName};

use crate::KeyRules;
use crate::seen::Seen;

/// What becomes of a response with `Set-Cookie` that could be stored otherwise.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum SetCookie {
    /// The response is not stored.
    #[default]
    Refuse,
    /// It is stored, and every client that it answers is given the cookie (RFC 9111 §7.3).
    Store,
    /// It is stored without the cookies; the client that asked first gets them.
    Strip,
}

/// How a layer reads the standard where it leaves a choice, or where the letter is dangerous.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Whether `Cookie` is a credential.
    pub(crate) cookies: bool,
    /// Whether all that RFC 9111 §3.5 lists lets credentials share a response, or `public` only;
    /// and whether `s-maxage` forbids the grace that stands beside it (§5.2.2.10).
    pub(crate) letter: bool,
    pub(crate) set_cookie: SetCookie,
    /// Fields by which a request may steer the service past the key.
    pub(crate) steering: Vec<HeaderName>,
    /// The letters that they begin with, as bits: most fields begin with none of them.
    pub(crate) initials: u128,
    /// Whether freshness may be guessed from `Last-Modified` (RFC 9111 §4.2.2).
    pub(crate) heuristics: bool,
    /// Whether a stale response stands in for a service that cannot be reached (§4.2.4).
    pub(crate) disconnected: bool,
    /// Whether the answer to a POST that is a representation of its target is stored
    /// (RFC 9110 §9.3.3).
    pub(crate) posts: bool,
    /// Whether `Accept-Language` is read for what it means.
    pub(crate) languages: bool,
    /// The targeted fields that speak to this cache, the most specific first.
    pub(crate) targeted: Vec<HeaderName>,
}

/// Fields that frameworks and proxies are known to build URLs, schemes and methods from.
const STEERING: [&str; 19] = [
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
];

const fn initial(name: &str) -> u128 {
    // Names of fields are ASCII.
    1 << (name.as_bytes()[0] & 127)
}

impl Rules {
    pub(crate) fn distrust(&mut self, name: HeaderName) {
        self.initials |= initial(name.as_str());
        self.steering.push(name);
    }

    /// Whether a field may steer the service past the key.
    #[inline]
    pub(crate) fn is_steering(&self, name: &HeaderName) -> bool {
        self.initials & initial(name.as_str()) != 0 && self.steering.contains(name)
    }

    /// Whether a request carries what a response may be for that others must not see.
    #[inline]
    pub(crate) fn carries_credentials(
        &self,
        seen: Seen,
        extensions: &Extensions,
        keys: &KeyRules,
    ) -> bool {
        // Who has responses of one's own shares none.
        !keys.has_principal()
            && (seen.authorization
                || self.cookies && seen.cookie && !keys.has_cookies()
                || extensions.get::<Principal>().is_some())
    }

    pub(crate) fn safe() -> Self {
        Self {
            cookies: true,
            letter: false,
            set_cookie: SetCookie::Refuse,
            steering: STEERING.map(HeaderName::from_static).to_vec(),
            initials: STEERING.iter().fold(0, |initials, name| initials | initial(name)),
            heuristics: false,
            disconnected: false,
            posts: false,
            languages: false,
            targeted: Vec::new(),
        }
    }

    pub(crate) fn rfc() -> Self {
        Self {
            cookies: false,
            letter: true,
            set_cookie: SetCookie::Store,
            steering: Vec::new(),
            initials: 0,
            heuristics: true,
            disconnected: true,
            posts: true,
            languages: true,
            targeted: vec![HeaderName::from_static("cdn-cache-control")],
        }
    }
}
