//! What a token must say, and what is taken from it. Pure: `now` is an argument.

use std::time::Duration;

use bartizan_core::Principal;
use serde_json::Value;

use crate::members::Members;
use crate::pointer::Pointer;
use crate::{Audience, Fault, Issuer};

/// The last second of the year 9999: what is later was not meant in seconds.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// What only ID tokens hold (OpenID Connect Core §2, §3.3.2.11).
const ID_TOKENS_ONLY: [&str; 3] = ["nonce", "at_hash", "c_hash"];

/// What a token must say, and where the principal is found in it.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) issuer: Issuer,
    pub(crate) audience: Audience,
    pub(crate) leeway: Duration,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) audience_claim: String,
    /// The claims that may name the subject, first come, first served.
    pub(crate) subjects: Vec<String>,
    /// `exp` may be left out.
    pub(crate) may_last: bool,
    /// Claims that must have one of these values.
    pub(crate) equal: Vec<(String, Vec<Value>)>,
    /// Claims that must not be there.
    pub(crate) refused: Vec<&'static str>,
    pub(crate) scopes: Vec<Pointer>,
    pub(crate) roles: Vec<Pointer>,
    /// Where the tenant may be, first come, first served.
    pub(crate) tenants: Vec<Pointer>,
    pub(crate) tier: Option<Pointer>,
}

impl Rules {
    pub(crate) fn new(issuer: Issuer, audience: Audience) -> Self {
        Self {
            issuer,
            audience,
            leeway: Duration::from_secs(30),
            max_lifetime: None,
            audience_claim: "aud".to_owned(),
            subjects: vec!["sub".to_owned()],
            may_last: false,
            equal: Vec::new(),
            refused: ID_TOKENS_ONLY.to_vec(),
            scopes: vec![Pointer::new("/scope"), Pointer::new("/scp")],
            roles: vec![Pointer::new("/roles")],
            tenants: Vec::new(),
            tier: None,
        }
    }

    /// Checks the claims at `now`, the time since 1970, and says until when they hold.
    pub(crate) fn judge(&self, claims: &Members<'_>, now: Duration) -> Result<Duration, Fault> {
        let (now, leeway) = (now.as_secs_f64(), self.leeway.as_secs_f64());
        let expires = match date(claims, "exp")? {
            None if self.may_last => LAST_SECOND,
            expires => expires.ok_or(Fault::Claims)?,
        };
        let not_before = date(claims, "nbf")?;
        let issued = date(claims, "iat")?;
        if !self.issuer.accepts(claims) {
            return Err(Fault::Issuer);
        }
        if !self.audience.accepts(claims.get(&self.audience_claim)) {
            return Err(Fault::Audience);
        }
        let differs = |(name, values): &(String, Vec<Value>)| {
            !claims.get(name).is_some_and(|member| values.iter().any(|value| *member == *value))
        };
        // A token that is bound to a key proves nothing without a proof of that key, which is not
        // looked for here (RFC 9449 §7.1, RFC 8705 §3).
        if claims.contains("cnf")
            || self.refused.iter().any(|name| claims.contains(name))
            || self.equal.iter().any(differs)
        {
            return Err(Fault::Claims);
        }
        let ahead = |date: Option<f64>| date.is_some_and(|date| date > now + leeway);
        if ahead(not_before) || ahead(issued) {
            return Err(Fault::NotYetValid);
        }
        // On or after it, a token must not be accepted (RFC 7519 §4.1.4).
        let outlives =
            self.max_lifetime.is_some_and(|most| expires > now + most.as_secs_f64() + leeway);
        if now - leeway >= expires || outlives {
            return Err(Fault::Expired);
        }
        // Within reason, as was seen to.
        Ok(Duration::from_secs_f64(expires) + self.leeway)
    }

    /// Takes the principal from claims that were judged well, but for the claims themselves.
    pub(crate) fn principal(&self, claims: &Members<'_>) -> Result<Principal, Fault> {
        let named = |name: &String| claims.text(name).filter(|name| !name.is_empty());
        let subject = self.subjects.iter().find_map(named).ok_or(Fault::Claims)?;
        let mut principal = Principal::new(subject)
            .with_scopes(self.scopes.iter().flat_map(|at| claims.words_at(at)))
            .with_roles(self.roles.iter().flat_map(|at| claims.words_at(at)));
        if let Some(issuer) = claims.text("iss") {
            principal = principal.with_issuer(issuer);
        }
        if let Some(tenant) = self.tenants.iter().find_map(|at| claims.text_at(at)) {
            principal = principal.with_tenant(tenant);
        }
        if let Some(tier) = self.tier.as_ref().and_then(|at| claims.text_at(at)) {
            principal = principal.with_tier(tier);
        }
        Ok(principal)
    }
}

/// A `NumericDate` (RFC 7519 §2) that may be left out, but must be a number within reason.
fn date(claims: &Members<'_>, name: &str) -> Result<Option<f64>, Fault> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    value
        .as_f64()
        .filter(|seconds| (0.0..=LAST_SECOND).contains(seconds))
        .map(Some)
        .ok_or(Fault::Claims)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rules() -> Rules {
        Rules {
            roles: vec![Pointer::new("/roles"), Pointer::new("/realm_access/roles")],
            tenants: vec![Pointer::new("/org~1id")],
            tier: Some(Pointer::new("/plan")),
            ..Rules::new("https://id.test".into(), "api".into())
        }
    }

    fn judged(rules: &Rules, claims: &Value, now: Duration) -> Result<Duration, Fault> {
        rules.judge(&serde_json::from_str(&claims.to_string()).unwrap(), now)
    }

    fn principal(claims: &Value) -> Result<Principal, Fault> {
        rules().principal(&serde_json::from_str(&claims.to_string()).unwrap())
    }

    #[allow(clippy::needless_pass_by_value, reason = "`json!` makes values")]
    fn judge(rules: &Rules, change: Value) -> Result<(), Fault> {
        let mut claims = json!({"iss": "https://id.test", "aud": "api", "exp": 2000, "sub": "a"});
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        judged(rules, &claims, Duration::from_secs(1000)).map(drop)
    }

    #[test]
    fn u24_dates_are_kept_within_the_leeway() {
        let rules = rules();
        assert_eq!(judge(&rules, json!({"nbf": 1020})), Ok(()));
        assert_eq!(judge(&rules, json!({"nbf": 1040})), Err(Fault::NotYetValid));
        assert_eq!(judge(&rules, json!({"iat": 1040})), Err(Fault::NotYetValid));
        assert_eq!(judge(&rules, json!({"exp": 980})), Ok(()));
        assert_eq!(judge(&rules, json!({"exp": 970})), Err(Fault::Expired));
        assert_eq!(judge(&rules, json!({"exp": 960})), Err(Fault::Expired));
        let bounded = Rules { max_lifetime: Some(Duration::from_secs(100)), ..rules };
        assert_eq!(judge(&bounded, json!({"exp": 1130})), Ok(()));
        assert_eq!(judge(&bounded, json!({"exp": 1131})), Err(Fault::Expired));
    }

    #[test]
    fn dates_are_numbers_of_seconds() {
        for name in ["exp", "nbf", "iat"] {
            let wrong = [json!("2000"), json!(null), json!(-1), json!([2000]), json!(u64::MAX)];
            for value in wrong.into_iter().chain([json!(1e300), json!(1_700_000_000_000_u64)]) {
                assert_eq!(
                    judge(&rules(), json!({name: value.clone()})),
                    Err(Fault::Claims),
                    "{name} {value}"
                );
            }
        }
        assert_eq!(judge(&rules(), json!({"exp": 2000.5})), Ok(()));
        let none = judged(&rules(), &json!({}), Duration::ZERO);
        assert_eq!(none, Err(Fault::Claims));
    }

    #[test]
    fn issuer_and_audience_are_required_and_typed() {
        let with = |name: &str, value| judge(&rules(), json!({name: value}));
        let issuers =
            [json!(null), json!(1), json!("https://id.test/"), json!(["https://id.test"])];
        for value in issuers {
            assert_eq!(with("iss", value.clone()), Err(Fault::Issuer), "{value}");
        }
        assert_eq!(with("aud", json!(["other", "api"])), Ok(()));
        let wrong = [json!(null), json!(7), json!({}), json!([["api"]]), json!([]), json!("ap")];
        for value in wrong.into_iter().chain([json!(["api", 1])]) {
            assert_eq!(with("aud", value.clone()), Err(Fault::Audience), "{value}");
        }
        let absent = json!({"exp": 2000, "iss": "https://id.test"});
        let now = Duration::from_secs(1000);
        assert_eq!(judged(&rules(), &absent, now), Err(Fault::Audience));
        let waived = Rules { issuer: Issuer::Unchecked, audience: Audience::Unchecked, ..rules() };
        let until = Duration::from_secs(2030);
        assert_eq!(judged(&waived, &json!({"exp": 2000}), now), Ok(until));
    }

    #[test]
    fn the_principal_is_found_in_all_dialects() {
        let claims = json!({
            "sub": "a", "iss": "https://id.test", "scope": "read  write", "scp": ["admin"],
            "roles": ["x"], "realm_access": {"roles": ["y"]}, "org/id": "acme", "plan": "gold",
        });
        let alice = principal(&claims).unwrap();
        assert_eq!(alice.subject(), "a");
        assert_eq!(alice.issuer(), Some("https://id.test"));
        assert_eq!(alice.scopes(), ["read", "write", "admin"]);
        assert_eq!(alice.roles(), ["x", "y"]);
        assert_eq!((alice.tenant(), alice.tier()), (Some("acme"), Some("gold")));
        for subject in [json!({}), json!({"sub": ""}), json!({"sub": 1})] {
            assert_eq!(principal(&subject).unwrap_err(), Fault::Claims);
        }
    }

    proptest! {
        /// Against the rule as one would say it, in whole seconds.
        #[test]
        fn dates_agree_with_a_naive_model(
            now in 0_u32..5000, exp in 0_u32..5000, nbf in proptest::option::of(0_u32..5000),
            leeway in 0_u32..300,
        ) {
            let rules = Rules { leeway: Duration::from_secs(leeway.into()), ..rules() };
            let mut claims = json!({"iss": "https://id.test", "aud": "api", "exp": exp});
            if let Some(nbf) = nbf {
                claims["nbf"] = nbf.into();
            }
            let now_at = Duration::from_secs(now.into());
            let expected = if nbf.is_some_and(|nbf| now + leeway < nbf) {
                Err(Fault::NotYetValid)
            } else if now < exp + leeway {
                Ok(())
            } else {
                Err(Fault::Expired)
            };
            prop_assert_eq!(judged(&rules, &claims, now_at).map(drop), expected);
        }
    }
}
