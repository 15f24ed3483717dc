use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use bartizan_core::{ConfigError, Principal, Snapshot};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::claims::Rules;
use crate::client::{FetchFault, HttpClient};
use crate::flights::Flights;
use crate::health::Health;
use crate::members::{Member, Members};
use crate::observe::IntrospectionFigures;
use crate::verified::Verified;
use crate::{Audience, Fault, Issuer, Scheme, Verdict, bearer, observe};

/// How many tokens are asked about at once; more get 503.
const AT_ONCE: usize = 256;
/// Longer tokens than this are not asked about.
const MAX_BYTES: usize = 8192;
const CACHE_BYTES: usize = 16 << 20;
/// How many tokens that are not good are remembered.
const REFUSED: usize = 4096;

/// Opaque tokens in `Authorization: Bearer`, which the issuer is asked about (RFC 7662).
///
/// Tokens that the answer calls other than access tokens (`token_use`, `token_type`, `typ`) are refused.
///
/// What it says is remembered: of an active token until it expires, and for a minute at most, since
/// it may be revoked; of one that is inactive, or not for this service, for ten seconds, in a fixed
/// room. Without an answer within the client's deadline a request gets 503. Requests with the same
/// token at once ask but once. After five failures in a row, or if it wishes (`Retry-After`), the
/// issuer is left alone for a while, first a second and then up to 30, in which tokens that are not
/// remembered get 503.
#[derive(Clone)]
#[must_use]
pub struct Introspection(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    client: HttpClient,
    uri: Uri,
    authorization: HeaderValue,
    rules: Rules,
    opaque_only: bool,
    active_for: Duration,
    inactive_for: Duration,
    active: Arc<Verified>,
    /// Until when, and why.
    refused: Arc<Refused>,
    flights: Arc<Flights<Result<Principal, Fault>>>,
    places: Arc<Semaphore>,
    health: Arc<Health>,
    figures: Arc<IntrospectionFigures>,
}

type Refused = Cache<[u8; 32], (Duration, Fault), UnitWeighter, RandomState>;

impl Introspection {
    /// Asks at `uri`, as the client `id` with its `secret` (RFC 6749 §2.3.1), and requires `iss` and
    /// `aud` in the answer. An issuer that does not tell them, since they are optional there, is
    /// [`Issuer::Unchecked`] or [`Audience::Unchecked`] by name.
    ///
    /// # Errors
    ///
    /// If `uri` is not an https address.
    pub fn new(
        client: HttpClient,
        uri: &str,
        (id, secret): (&str, &str),
        issuer: impl Into<Issuer>,
        audience: impl Into<Audience>,
    ) -> Result<Self, ConfigError> {
        let uri = client.address("uri", uri)?;
        let pair = format!("{}:{}", encoded(id.as_bytes()), encoded(secret.as_bytes()));
        let basic = format!("Basic {}", STANDARD.encode(pair));
        let mut authorization = HeaderValue::try_from(basic)
            .map_err(|_| ConfigError::new("secret", "cannot be sent", "see RFC 6749"))?;
        authorization.set_sensitive(true);
        let mut rules = Rules::new(issuer.into(), audience.into());
        rules.may_last = true;
        rules.subjects = vec!["sub".to_owned(), "client_id".to_owned(), "username".to_owned()];
        Ok(Self(Arc::new(Inner {
            client,
            uri,
            authorization,
            rules,
            opaque_only: false,
            active_for: Duration::from_secs(60),
            inactive_for: Duration::from_secs(10),
            // By digest: what opaque tokens end with is not known to be random.
            active: Arc::new(Verified::new(CACHE_BYTES, true)),
            refused: Arc::new(nothing()),
            flights: Arc::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            health: Arc::default(),
            figures: Arc::default(),
        })))
    }

    fn change(mut self, set: impl FnOnce(&mut Inner)) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        set(inner);
        // What was said under other rules is asked anew.
        inner.active = Arc::new(inner.active.anew());
        inner.refused = Arc::new(nothing());
        inner.flights = Arc::default();
        self
    }

    /// Sets how long an active token is not asked about again: a minute by default. A token that is
    /// revoked works for as long.
    pub fn active_for(self, time: Duration) -> Self {
        self.change(|inner| inner.active_for = time)
    }

    /// Sets how long a token that is not good is not asked about again: 10 seconds by default.
    pub fn inactive_for(self, time: Duration) -> Self {
        self.change(|inner| inner.inactive_for = time)
    }

    /// Requires the answer to say this, as its own word for an access token.
    pub fn require_claim(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.change(|inner| inner.rules.equal.push((name.into(), vec![value.into()])))
    }

    /// Does not ask about what looks like a signed or encrypted token, by two dots or more: another
    /// scheme is for those.
    pub fn opaque_only(self) -> Self {
        self.change(|inner| inner.opaque_only = true)
    }
}

impl Inner {
    /// Asks about `token`, together with whoever else shows it now.
    async fn find_out(self: Arc<Self>, token: Vec<u8>, now: Duration) -> Result<Principal, Fault> {
        self.flights.join(digest(&token), self.ask(&token, now)).await
    }

    async fn ask(&self, token: &[u8], now: Duration) -> Result<Principal, Fault> {
        let host = self.uri.host().unwrap_or_default();
        let place = self.places.try_acquire().ok().filter(|_| self.health.may_be_asked());
        let Some(place) = place else {
            self.figures.unasked.add(1);
            return Err(Fault::Unavailable);
        };
        let said = self.client.ask(self.request(token)).await.and_then(text);
        drop(place);
        let said = said.as_ref().map_err(|fault| *fault);
        let (text, claims) = match said.and_then(|text| Ok((text, read(text)?))) {
            Ok(said) => said,
            Err(fault) => {
                self.figures.failed.add(1);
                if self.health.failed(fault) {
                    observe::not_introspected(host, fault.as_str());
                }
                return Err(Fault::Unavailable);
            }
        };
        if self.health.answered() {
            observe::introspected_again(host);
        }
        match self.judge(&claims, now) {
            Ok((principal, until)) => {
                self.figures.good.add(1);
                let principal = principal.with_claims_text(text);
                self.active.put(token, &principal, text.len() + claims.bytes(), until, 0);
                Ok(principal)
            }
            Err(fault) => {
                self.figures.refused.add(1);
                let until = now.saturating_add(self.inactive_for);
                self.refused.insert(digest(token), (until, fault));
                Err(fault)
            }
        }
    }

    /// Who shows a token of which the issuer says this, and until when that holds.
    fn judge(&self, claims: &Members<'_>, now: Duration) -> Result<(Principal, Duration), Fault> {
        if !is_active(claims).unwrap_or_default() {
            return Err(Fault::Inactive);
        }
        if !is_for_access(claims) {
            return Err(Fault::Claims);
        }
        // Not beyond `exp` (RFC 7662 §4): the leeway is for clocks, and the issuer can be asked.
        let expires = self.rules.judge(claims, now)?.saturating_sub(self.rules.leeway);
        let until = expires.min(now.saturating_add(self.active_for));
        Ok((self.rules.principal(claims)?, until))
    }

    fn request(&self, token: &[u8]) -> Request<Full<Bytes>> {
        let form = format!("token={}&token_type_hint=access_token", encoded(token));
        let mut request = Request::new(Full::from(form));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        request
    }
}

impl Scheme for Introspection {
    fn field(&self) -> &HeaderName {
        const { &AUTHORIZATION }
    }

    fn credential<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]> {
        bearer::token(value.as_bytes())
    }

    fn verify(&self, credential: &[u8], now: Duration) -> Verdict {
        let Self(inner) = self;
        if credential.len() > MAX_BYTES {
            return Verdict::Now(Err(Fault::TooLarge));
        }
        if let Some(known) = inner.active.get(credential, now, 0) {
            return Verdict::Now(Ok(known));
        }
        let is_signed = || credential.iter().filter(|byte| **byte == b'.').count() >= 2;
        if !bearer::is_token68(credential) || inner.opaque_only && is_signed() {
            return Verdict::Now(Err(Fault::Malformed));
        }
        let refused = inner.refused.get(&digest(credential));
        if let Some((_, fault)) = refused.filter(|(until, _)| now < *until) {
            return Verdict::Now(Err(fault));
        }
        Verdict::later(Arc::clone(inner).find_out(credential.to_vec(), now))
    }

    fn name(&self) -> &'static str {
        "Bearer"
    }

    fn describe(&self, part: &str, snapshot: Snapshot) -> Snapshot {
        let snapshot = observe::verified(&self.0.active, part, snapshot);
        self.0.figures.describe(part, snapshot)
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("host", &self.0.uri.host())
            .field("client", &self.0.client)
            .finish_non_exhaustive()
    }
}

fn text(answer: Response<Bytes>) -> Result<String, FetchFault> {
    String::from_utf8(answer.into_body().into()).map_err(|_| FetchFault::Document)
}

/// What an issuer said. Whatever cannot be read says nothing of the token.
fn read(text: &str) -> Result<Members<'_>, FetchFault> {
    let claims: Members<'_> = serde_json::from_str(text).map_err(|_| FetchFault::Document)?;
    is_active(&claims).map(|_| claims).ok_or(FetchFault::Document)
}

fn is_active(claims: &Members<'_>) -> Option<bool> {
    match claims.get("active") {
        Some(Member::Other(Value::Bool(active))) => Some(*active),
        _ => None,
    }
}

/// False if the issuer says that it is another token than one for access, as of a refresh token,
/// which is active too: by `token_use` (Ory, Cognito), `token_type` (RFC 7662 §2.2) or `typ`
/// (Keycloak). Tokens of type DPoP are no bearer tokens (RFC 9449 §7.1).
fn is_for_access(claims: &Members<'_>) -> bool {
    let is_one = |member: &Member<'_>, words: &[&str]| {
        member.as_str().is_some_and(|text| words.iter().any(|word| text.eq_ignore_ascii_case(word)))
    };
    // What is null is not said.
    let said =
        |name| claims.get(name).filter(|member| !matches!(member, Member::Other(Value::Null)));
    let says = |name, words| said(name).map(|member| is_one(member, words));
    says("token_use", &["access", "access_token"]).unwrap_or(true)
        && says("token_type", &["access_token", "bearer"]).unwrap_or(true)
        && !says("typ", &["id", "offline", "refresh"]).unwrap_or(false)
}

fn nothing() -> Refused {
    let (hasher, lifecycle) = (RandomState::new(), DefaultLifecycle::default());
    Cache::with(REFUSED, REFUSED as u64, UnitWeighter, hasher, lifecycle)
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// As in `application/x-www-form-urlencoded`: all but letters, digits and `-._` as `%XX`.
fn encoded(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                out.push(char::from(*byte));
            }
            _ => {
                let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
                out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded() {
        assert_eq!(encoded("a-._z09+/=~ é".as_bytes()), "a-._z09%2B%2F%3D%7E%20%C3%A9");
    }
}
