use std::sync::Arc;
use std::time::Duration;

use bartizan_core::{Principal, Snapshot};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use self::jws::{Compact, Unproven};
use crate::claims::Rules;
use crate::keys::After;
use crate::members::Members;
use crate::pointer::Pointer;
use crate::verified::Verified;
use crate::{Audience, Fault, Issuer, Keys, Scheme, Verdict, bearer, observe};

pub(crate) mod jws;

/// Leeway beyond this hides a broken clock.
const MAX_LEEWAY: Duration = Duration::from_secs(300);
/// What verified tokens may take.
const CACHE_BYTES: usize = 16 << 20;

/// Tokens of one issuer in `Authorization: Bearer` (RFC 7519, RFC 6750), checked as RFC 8725 says.
///
/// A token must be signed by a key of the set with that key's own algorithm, be from the issuer,
/// for the audience, hold `exp` and a subject, and be within `nbf`, `iat` and `exp` by the leeway.
/// For several issuers add a scheme for each: keys are looked up within the issuer.
///
/// A token that was verified is remembered until it expires or the keys change, within 16 MiB.
#[derive(Clone, Debug)]
#[must_use]
pub struct Jwt(Arc<Checks>);

#[derive(Debug)]
struct Checks {
    keys: Keys,
    rules: Rules,
    typ: Option<String>,
    max_bytes: usize,
    verified: Verified,
}

impl Clone for Checks {
    fn clone(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            rules: self.rules.clone(),
            typ: self.typ.clone(),
            max_bytes: self.max_bytes,
            verified: self.verified.anew(),
        }
    }
}

impl Jwt {
    /// Accepts tokens by `keys`, from `issuer`, for `audience`. What is not to be checked is
    /// [`Issuer::Unchecked`] or [`Audience::Unchecked`] by name.
    pub fn new(
        keys: impl Into<Keys>,
        issuer: impl Into<Issuer>,
        audience: impl Into<Audience>,
    ) -> Self {
        Self(Arc::new(Checks {
            keys: keys.into(),
            rules: Rules::new(issuer.into(), audience.into()),
            typ: None,
            max_bytes: 8192,
            verified: Verified::new(CACHE_BYTES, false),
        }))
    }

    /// What was verified by other rules is verified anew.
    pub(crate) fn change(self, set: impl FnOnce(&mut Rules)) -> Self {
        self.alter(|checks| set(&mut checks.rules))
    }

    fn alter(mut self, set: impl FnOnce(&mut Checks)) -> Self {
        let checks = Arc::make_mut(&mut self.0);
        set(checks);
        checks.verified = checks.verified.anew();
        self
    }

    /// The keys that tokens are verified by.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Sets by how much clocks may differ: 30 seconds by default, 5 minutes at most.
    pub fn leeway(self, leeway: Duration) -> Self {
        self.change(|rules| rules.leeway = leeway.min(MAX_LEEWAY))
    }

    /// Refuses tokens that are valid for longer than this from now. By default there is no limit.
    pub fn max_lifetime(self, lifetime: Duration) -> Self {
        self.change(|rules| rules.max_lifetime = Some(lifetime))
    }

    /// Sets the longest token that is looked at, in bytes: 8192 by default.
    pub fn max_bytes(self, bytes: usize) -> Self {
        self.alter(|checks| checks.max_bytes = bytes)
    }

    /// Sets how many bytes verified tokens may take: 16 MiB by default, with 0 none is remembered.
    pub fn cache_bytes(self, bytes: usize) -> Self {
        self.alter(|checks| checks.verified = Verified::new(bytes, checks.verified.digests()))
    }

    /// Remembers verified tokens by their SHA-256, so that no token that works is kept in memory.
    /// A token that is known then costs a hash of it more, about half a microsecond.
    pub fn cache_by_digest(self) -> Self {
        self.alter(|checks| checks.verified = Verified::new(checks.verified.bytes(), true))
    }

    /// Requires this `typ`, as `"at+jwt"` (RFC 9068), with or without `application/`.
    ///
    /// By default it may be missing, `JWT` or `at+jwt`; tokens of other types are refused.
    pub fn token_type(self, typ: impl Into<String>) -> Self {
        self.alter(|checks| checks.typ = Some(typ.into()))
    }

    /// Takes ID tokens too. By default tokens that hold what only ID tokens do (`nonce`, `at_hash`,
    /// `c_hash`: OpenID Connect Core §2, §3.3.2.11) are refused: they are for clients, not for APIs.
    pub fn accept_id_tokens(self) -> Self {
        self.change(|rules| rules.refused.clear())
    }

    /// Refuses tokens that hold one of these claims, and by none else.
    pub(crate) fn refuse_claims(self, names: &[&'static str]) -> Self {
        self.change(|rules| rules.refused = names.to_vec())
    }

    /// Requires a claim to have this value, as `token_use` to be `access`.
    pub fn require_claim(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.change(|rules| rules.equal.push((name.into(), vec![value.into()])))
    }

    /// Requires `azp`, the client that asked for the token, to be one of these.
    pub fn authorized_parties<T: Into<String>>(self, ids: impl IntoIterator<Item = T>) -> Self {
        let ids = ids.into_iter().map(|id| Value::String(id.into())).collect();
        self.change(|rules| rules.equal.push(("azp".to_owned(), ids)))
    }

    /// Looks for the audience in this claim instead of `aud`, as `client_id`.
    pub fn audience_claim(self, name: impl Into<String>) -> Self {
        self.change(|rules| rules.audience_claim = name.into())
    }

    /// Takes the subject from this claim instead of `sub`, as `client_id`.
    pub fn subject_claim(self, name: impl Into<String>) -> Self {
        self.change(|rules| rules.subjects = vec![name.into()])
    }

    /// Also takes scopes from where this JSON pointer leads, as `"/permissions"`. `/scope` and
    /// `/scp` are always looked at.
    pub fn scopes_at(self, pointer: impl Into<String>) -> Self {
        self.change(|rules| rules.scopes.push(Pointer::new(pointer)))
    }

    /// Also takes roles from where this JSON pointer leads, as `"/realm_access/roles"`. `/roles`
    /// is always looked at.
    pub fn roles_at(self, pointer: impl Into<String>) -> Self {
        self.change(|rules| rules.roles.push(Pointer::new(pointer)))
    }

    /// Takes the tenant from where this JSON pointer leads.
    pub fn tenant_at(self, pointer: impl Into<String>) -> Self {
        self.change(|rules| rules.tenants = vec![Pointer::new(pointer)])
    }

    /// Takes the tenant from here where the places that were told before lead nowhere.
    pub(crate) fn or_tenant_at(self, pointer: &str) -> Self {
        self.change(|rules| rules.tenants.push(Pointer::new(pointer)))
    }

    /// Takes the tier from where this JSON pointer leads.
    pub fn tier_at(self, pointer: impl Into<String>) -> Self {
        self.change(|rules| rules.tier = Some(Pointer::new(pointer)))
    }
}

impl Checks {
    /// Verifies `token`, and remembers it. What is verified by newer keys than those of `generation`
    /// is verified once more.
    fn judge(&self, token: &[u8], now: Duration, generation: u64) -> Result<Principal, Unproven> {
        let compact = Compact::read(token)?;
        let header = compact.header()?;
        let verified = self.keys.with(|set| match set {
            Some(set) => compact.verify(&header, set).map(|key| key.issuer.clone()),
            None => Err(Unproven::by_these_keys(Fault::Unavailable)),
        });
        let key_issuer = verified.or_else(|unproven| {
            // Where nobody can be asked for keys, that they lack is all there is to say.
            if unproven.lacks_key
                && (self.keys.is_fetched() || unproven.fault == Fault::Unavailable)
            {
                self.recognise(&compact)?;
            }
            Err(unproven)
        })?;
        if !self.accepts_type(header.typ()) {
            return Err(Fault::Header.into());
        }
        let text = String::from_utf8(compact.payload()?).map_err(|_| Fault::Claims)?;
        let claims: Members<'_> = serde_json::from_str(&text).map_err(|_| Fault::Claims)?;
        let until = self.rules.judge(&claims, now)?;
        if !self.rules.issuer.accepts_key(key_issuer.as_deref(), &claims) {
            return Err(Fault::Issuer.into());
        }
        let (principal, bytes) = (self.rules.principal(&claims)?, text.len() + claims.bytes());
        let principal = principal.with_claims_text(text);
        self.verified.put(token, &principal, bytes, until, generation);
        Ok(principal)
    }

    /// Whether a token without a key says that it is this issuer's. No keys are waited for that
    /// would not prove it anyway: so that one issuer's outage is not another's.
    fn recognise(&self, compact: &Compact<'_>) -> Result<(), Fault> {
        if matches!(self.rules.issuer, Issuer::Unchecked) {
            return Ok(());
        }
        let payload = compact.payload()?;
        let claims: Members<'_> = serde_json::from_slice(&payload).map_err(|_| Fault::Malformed)?;
        if self.rules.issuer.accepts(&claims) { Ok(()) } else { Err(Fault::Issuer) }
    }

    fn accepts_type(&self, typ: Option<&str>) -> bool {
        match (&self.typ, typ) {
            (Some(required), Some(typ)) => bare(required).eq_ignore_ascii_case(bare(typ)),
            (Some(_), None) => false,
            (None, Some(typ)) => {
                let typ = bare(typ);
                typ.eq_ignore_ascii_case("jwt") || typ.eq_ignore_ascii_case("at+jwt")
            }
            (None, None) => true,
        }
    }
}

/// A type without `application/`, which may be left out (RFC 7515 §4.1.9).
fn bare(typ: &str) -> &str {
    match typ.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        _ => typ,
    }
}

impl Scheme for Jwt {
    fn field(&self) -> &HeaderName {
        const { &AUTHORIZATION }
    }

    fn credential<'a>(&self, value: &'a HeaderValue) -> Option<&'a [u8]> {
        bearer::token(value.as_bytes())
    }

    fn verify(&self, credential: &[u8], now: Duration) -> Verdict {
        let Self(checks) = self;
        if credential.len() > checks.max_bytes {
            return Verdict::Now(Err(Fault::TooLarge));
        }
        let mut generation = checks.keys.generation();
        if let Some(known) = checks.verified.get(credential, now, generation) {
            return Verdict::Now(Ok(known));
        }
        loop {
            let unproven = match checks.judge(credential, now, generation) {
                Ok(principal) => return Verdict::Now(Ok(principal)),
                Err(unproven) => unproven,
            };
            let other = if unproven.lacks_key { checks.keys.after(generation) } else { None };
            match other {
                Some(After::Now(newer)) => generation = newer,
                Some(After::Later(refresh)) => {
                    let (checks, token) = (Arc::clone(checks), credential.to_vec());
                    return Verdict::later(async move {
                        refresh.done().await;
                        let generation = checks.keys.generation();
                        checks.judge(&token, now, generation).map_err(|unproven| unproven.fault)
                    });
                }
                None => return Verdict::Now(Err(unproven.fault)),
            }
        }
    }

    fn name(&self) -> &'static str {
        "Bearer"
    }

    fn describe(&self, part: &str, snapshot: Snapshot) -> Snapshot {
        let snapshot = observe::verified(&self.0.verified, part, snapshot);
        self.0.keys.describe(part, snapshot)
    }
}
