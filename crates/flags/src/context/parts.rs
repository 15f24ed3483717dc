//! What of a request the rules may ask for.

use std::fmt::{self, Write};

use bartizan_core::{ClientAddr, Principal};
use http::header::{HOST, HeaderName, HeaderValue};
use http::{Method, Request, Uri};

use super::{EvaluationContext, TARGETING_KEY};
use crate::rule::Val;

/// An attribute that a request has of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    ClientIp,
    Headers,
    Host,
    Issuer,
    Method,
    Path,
    Roles,
    #[cfg(feature = "axum")]
    Route,
    Scopes,
    TargetingKey,
    Tenant,
    Tier,
}

const ALL: &[(&str, Known)] = &[
    ("clientIp", Known::ClientIp),
    ("headers", Known::Headers),
    ("host", Known::Host),
    ("issuer", Known::Issuer),
    ("method", Known::Method),
    ("path", Known::Path),
    ("roles", Known::Roles),
    #[cfg(feature = "axum")]
    ("route", Known::Route),
    ("scopes", Known::Scopes),
    (TARGETING_KEY, Known::TargetingKey),
    ("tenant", Known::Tenant),
    ("tier", Known::Tier),
];

impl Known {
    pub(super) fn parse(name: &str) -> Option<Self> {
        ALL.iter().find(|(known, _)| *known == name).map(|(_, known)| *known)
    }
}

/// Which of a request's attributes rules may read, so that no others are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mentions(u16);

impl Mentions {
    pub(crate) const ALL: Self = Self(u16::MAX);

    const PRINCIPAL: u16 = 1 << Known::Issuer as u16
        | 1 << Known::Roles as u16
        | 1 << Known::Scopes as u16
        | 1 << Known::TargetingKey as u16
        | 1 << Known::Tenant as u16
        | 1 << Known::Tier as u16;

    /// Adds the first part of a path.
    pub(crate) fn add(&mut self, path: &str) {
        match path.split('.').next() {
            None | Some("") => self.add_all(),
            Some(name) => self.0 |= Known::parse(name).map_or(0, |known| 1 << known as u16),
        }
    }

    /// A path that is computed, or the whole context, may be any of them.
    pub(crate) const fn add_all(&mut self) {
        *self = Self::ALL;
    }

    pub(crate) const fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    const fn has(self, known: Known) -> bool {
        self.0 & 1 << known as u16 != 0
    }

    const fn has_principal(self) -> bool {
        self.0 & Self::PRINCIPAL != 0
    }
}

/// What of a request the rules may ask for. Everything in it is shared with the request or small, and
/// is read where it lies.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    method: Option<Method>,
    uri: Option<Uri>,
    host: Option<HeaderValue>,
    headers: Vec<(HeaderName, HeaderValue)>,
    client: Option<Text>,
    #[cfg(feature = "axum")]
    route: Option<axum::extract::MatchedPath>,
    principal: Option<Principal>,
}

impl Parts {
    /// Takes what `mentions` may ask for, and of the headers only `headers`.
    pub(crate) fn take<B>(
        &mut self,
        request: &Request<B>,
        mentions: Mentions,
        headers: &[HeaderName],
    ) {
        if mentions == Mentions::default() {
            return;
        }
        let asked = |known| mentions.has(known);
        let extensions = request.extensions();
        if asked(Known::Method) {
            self.method = Some(request.method().clone());
        }
        if asked(Known::Path) || asked(Known::Host) {
            self.uri = Some(request.uri().clone());
        }
        if asked(Known::Host) {
            self.host = request.headers().get(HOST).cloned();
        }
        if asked(Known::Headers) {
            let given =
                |name: &HeaderName| Some((name.clone(), request.headers().get(name)?.clone()));
            self.headers.extend(headers.iter().filter_map(given));
        }
        if asked(Known::ClientIp) {
            self.client = extensions.get::<ClientAddr>().and_then(|client| Text::of(client.ip()));
        }
        #[cfg(feature = "axum")]
        if asked(Known::Route) {
            self.route = extensions.get().cloned();
        }
        if mentions.has_principal() {
            self.principal = extensions.get::<Principal>().cloned();
        }
    }

    /// Forgets everything, but keeps the room for it.
    pub(crate) fn clear(&mut self) {
        // One by one, since most of them are nothing already.
        self.method = None;
        self.uri = None;
        self.host = None;
        self.headers.clear();
        self.client = None;
        #[cfg(feature = "axum")]
        {
            self.route = None;
        }
        self.principal = None;
    }

    pub(crate) fn identify(&mut self, principal: Principal) {
        self.principal = Some(principal);
    }

    #[inline]
    pub(super) fn key(&self) -> Option<&str> {
        self.principal.as_ref().map(Principal::subject)
    }

    #[inline]
    pub(super) fn get(&self, known: Known) -> Option<Val<'_>> {
        let principal = self.principal.as_ref();
        match known {
            Known::ClientIp => self.client.as_ref().map(|client| Val::Text(client.as_str())),
            Known::Headers if self.headers.is_empty() => None,
            Known::Headers => Some(Val::Headers(&self.headers)),
            Known::Host => {
                let host = self.uri.as_ref().and_then(Uri::host);
                host.or_else(|| Some(without_port(self.host.as_ref()?.to_str().ok()?)))
                    .map(Val::Text)
            }
            Known::Issuer => principal?.issuer().map(Val::Text),
            Known::Method => self.method.as_ref().map(|method| Val::Text(method.as_str())),
            Known::Path => self.uri.as_ref().map(|uri| Val::Text(uri.path())),
            Known::Roles => Some(Val::Words(principal?.roles())),
            #[cfg(feature = "axum")]
            Known::Route => self.route.as_ref().map(|route| Val::Text(route.as_str())),
            Known::Scopes => Some(Val::Words(principal?.scopes())),
            Known::TargetingKey => self.key().map(Val::Text),
            Known::Tenant => principal?.tenant().map(Val::Text),
            Known::Tier => principal?.tier().map(Val::Text),
        }
    }

    /// All of it, to keep.
    pub(super) fn to_context(&self) -> EvaluationContext {
        let mut context = EvaluationContext::new();
        for (name, known) in ALL {
            if let Some(value) = self.get(*known) {
                context.set((*name).to_owned(), value.into_json());
            }
        }
        context
    }
}

/// The host alone, as `Uri::host` has it: an address of version 6 stands in brackets.
fn without_port(authority: &str) -> &str {
    let end = match authority.find(']') {
        Some(bracket) => Some(bracket + 1),
        None => authority.find(':'),
    };
    end.and_then(|end| authority.get(..end)).unwrap_or(authority)
}

/// A short text of its own, without a heap.
#[derive(Clone, Copy)]
struct Text {
    bytes: [u8; Self::ROOM],
    length: usize,
}

impl Text {
    /// As much as an address needs.
    const ROOM: usize = 46;

    fn of(value: impl fmt::Display) -> Option<Self> {
        let mut text = Self { bytes: [0; Self::ROOM], length: 0 };
        write!(text, "{value}").ok().map(|()| text)
    }

    fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Says nothing: it is somebody's address.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text")
    }
}
