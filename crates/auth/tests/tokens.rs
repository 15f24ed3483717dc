//! Which tokens are believed.

#![cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::time::Duration;

use axum::body::Body;
use bartizan_auth::{
    Algorithm, ApiKeys, AuthLayer, Authenticator, Clock, Engine, Jwt, KeySet, Keys, Principal,
};
use common::{ISSUER, KEY, Signer, ask, bearer, claims, jwks, status, whoami, with_keys};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt};

#[tokio::test]
async fn tokens_of_all_families_are_verified_by_jwks_and_by_static_keys() {
    let clock = Clock::manual();
    let signers = [Signer::rs(), Signer::es(), Signer::ed()];
    let set: Vec<_> = signers.iter().map(|signer| signer.jwk(signer.alg())).collect();
    let auth = with_keys(KeySet::from_jwks(&jwks(&set)).unwrap(), &clock);
    for signer in &signers {
        let token = signer.token(signer.alg(), &clock, &json!({}));
        assert_eq!(ask(&auth, bearer(&token)).await.headers()["who"], "alice");
        let (rest, signature) = token.rsplit_once('.').unwrap();
        let flipped = if signature.starts_with('A') { "B" } else { "A" };
        let spoilt = format!("{rest}.{flipped}{}", &signature[1..]);
        assert_eq!(status(&auth, &spoilt).await, StatusCode::UNAUTHORIZED);
        // By its PEM, and not by another family's.
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
            let set = KeySet::public_pem(algorithm, &signer.pem());
            assert_eq!(set.is_ok(), algorithm.as_str() == signer.alg(), "{algorithm}");
            if let Ok(set) = set {
                assert_eq!(status(&with_keys(set, &clock), &token).await, StatusCode::OK);
            }
        }
    }
    let secret = Signer::Hs(vec![7; 32]);
    let auth = with_keys(KeySet::secret(Algorithm::Hs256, &[7; 32]).unwrap(), &clock);
    assert_eq!(status(&auth, &secret.token("any", &clock, &json!({}))).await, StatusCode::OK);
    assert!(KeySet::secret(Algorithm::Hs256, &[7; 31]).is_err());
}

#[tokio::test]
async fn u24_clocks_may_differ_by_the_leeway() {
    let (clock, signer) = (Clock::manual(), Signer::ed());
    let auth = with_keys(KeySet::from_jwks(&jwks(&[signer.jwk("k")])).unwrap(), &clock);
    let now = clock.unix().as_secs();
    let cases = [
        (json!({"nbf": now + 20}), StatusCode::OK),
        (json!({"nbf": now + 40}), StatusCode::UNAUTHORIZED),
        (json!({"exp": now - 20}), StatusCode::OK),
        (json!({"exp": now - 40}), StatusCode::UNAUTHORIZED),
        (json!({"iat": now + 40}), StatusCode::UNAUTHORIZED),
        (json!({"exp": null}), StatusCode::UNAUTHORIZED),
    ];
    for (change, expected) in cases {
        let response = ask(&auth, bearer(&signer.token("k", &clock, &change))).await;
        assert_eq!(response.status(), expected, "{change}");
        if expected == StatusCode::UNAUTHORIZED {
            let challenge = response.headers()["www-authenticate"].to_str().unwrap();
            assert!(
                challenge.starts_with(r#"Bearer realm="api", error="invalid_token""#),
                "{challenge}"
            );
        }
    }
    // Five minutes are the most there is.
    let keys = KeySet::from_jwks(&jwks(&[signer.jwk("k")])).unwrap();
    let lenient = Jwt::new(keys, ISSUER, "api").leeway(Duration::MAX);
    let auth = Authenticator::new("api").scheme(lenient).clock(clock.clone());
    let at = |exp| signer.token("k", &clock, &json!({"exp": exp}));
    assert_eq!(status(&auth, &at(now - 299)).await, StatusCode::OK);
    assert_eq!(status(&auth, &at(now - 300)).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn u26_neither_algorithm_nor_issuer_can_be_confused() {
    let (clock, a, b) = (Clock::manual(), Signer::rs(), Signer::rs());
    let set = |signer: &Signer, kid| KeySet::from_jwks(&jwks(&[signer.jwk(kid)])).unwrap();
    let auth = Authenticator::new("api")
        .scheme(Jwt::new(set(&a, "a"), ISSUER, "api"))
        .scheme(Jwt::new(set(&b, "b"), "https://b.test", "api"))
        .clock(clock.clone());
    let from_b = json!({"iss": "https://b.test"});
    assert_eq!(status(&auth, &a.token("a", &clock, &json!({}))).await, StatusCode::OK);
    assert_eq!(status(&auth, &b.token("b", &clock, &from_b)).await, StatusCode::OK);

    let good = claims(&clock, &json!({}));
    let forged = Signer::Hs(a.pem().into_bytes());
    let mut refused = vec![
        forged.sign(&json!({"alg": "HS256", "kid": "a"}), &good),
        forged.sign(&json!({"alg": "HS256"}), &good),
        // A key of B for A, and of A for B.
        b.token("b", &clock, &json!({})),
        b.token("a", &clock, &json!({})),
        a.token("a", &clock, &from_b),
    ];
    for alg in ["none", "None", "NONE", "rs256", "RS512", "PS256", "ES256", ""] {
        refused.push(a.sign(&json!({"alg": alg, "kid": "a"}), &good));
        let unsigned = a.sign(&json!({"alg": alg, "kid": "a"}), &good);
        refused.push(unsigned[..=unsigned.rfind('.').unwrap()].to_owned());
    }
    for claim in ["iss", "aud", "sub", "exp"] {
        refused.push(a.token("a", &clock, &json!({claim: null})));
    }
    let wrong =
        [json!({"aud": "other"}), json!({"aud": []}), json!({"iss": [ISSUER]}), json!({"sub": ""})];
    refused.extend(wrong.map(|change| a.token("a", &clock, &change)));
    let headers = [
        json!({"alg": "RS256", "kid": "a", "crit": ["exp"], "exp": 1}),
        json!({"alg": "RS256", "kid": "a", "crit": []}),
        json!({"alg": "RS256", "kid": "a", "b64": false}),
        json!({"alg": "RS256", "kid": "a", "zip": "DEF"}),
        json!({"alg": "RS256", "kid": "a", "typ": "dpop+jwt"}),
        json!({"alg": "RS256", "kid": "../../dev/null"}),
        json!({"alg": "RS256", "kid": 1}),
        json!({"alg": "RS256", "kid": "c", "jwk": b.jwk("c")}),
        json!({"alg": null, "kid": "a"}),
        json!({"kid": "a"}),
        json!([]),
    ];
    refused.extend(headers.map(|header| a.sign(&header, &good)));
    let header = r#"{"alg":"RS256","kid":"a"}"#;
    let twice = format!(r#"{{"sub":"eve",{}"#, &good.to_string()[1..]);
    for payload in ["[1]", "null", "\"x\"", "foo", &twice] {
        refused.push(a.sign_text(header, payload));
    }
    refused.push(a.sign_text(r#"{"alg":"none","alg":"RS256","kid":"a"}"#, &good.to_string()));
    refused.push(a.token("a", &clock, &json!({"filler": "x".repeat(8192)})));
    for token in &refused {
        assert_eq!(status(&auth, token).await, StatusCode::UNAUTHORIZED, "{token}");
    }
}

#[tokio::test]
async fn keys_are_replaced_while_running_and_the_last_good_ones_kept() {
    let (clock, old, new) = (Clock::manual(), Signer::es(), Signer::ed());
    let keys = Keys::pending();
    let auth = with_keys(keys.clone(), &clock);
    let tokens = [old.token("1", &clock, &json!({})), new.token("2", &clock, &json!({}))];
    let response = ask(&auth, bearer(&tokens[0])).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "5");

    keys.replace_jwks(&jwks(&[old.jwk("1")])).unwrap();
    assert_eq!(status(&auth, &tokens[0]).await, StatusCode::OK);
    assert_eq!(status(&auth, &tokens[1]).await, StatusCode::UNAUTHORIZED);
    let mixed = [new.jwk("2"), Signer::Hs(vec![1; 32]).jwk("3")];
    let twice = [new.jwk("2"), old.jwk("2")];
    for broken in
        ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"PQ"}]}"#, &jwks(&mixed), &jwks(&twice)]
    {
        assert!(keys.replace_jwks(broken).is_err(), "{broken}");
    }
    assert!(keys.replace_jwks(&jwks(&[Signer::Hs(vec![1; 32]).jwk("3")])).is_err());
    assert_eq!(status(&auth, &tokens[0]).await, StatusCode::OK);

    // A key of an unknown type takes none of the others down.
    let both = jwks(&[json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}), new.jwk("2")]);
    let set = KeySet::from_jwks(&both).unwrap();
    assert_eq!((set.len(), set.skipped()[0].field()), (1, "keys[0]"));
    keys.replace(set);
    assert_eq!(status(&auth, &tokens[0]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&auth, &tokens[1]).await, StatusCode::OK);
}

#[tokio::test]
async fn nothing_tells_a_secret() {
    let (clock, signer) =
        (Clock::manual(), Signer::Hs(b"the secret of this test, 32 bytes".to_vec()));
    let set = KeySet::secret(Algorithm::Hs256, b"the secret of this test, 32 bytes").unwrap();
    let keys = ApiKeys::new();
    keys.insert(KEY, Principal::new("alice")).unwrap();
    let auth = with_keys(set, &clock).scheme(keys);
    let layer = AuthLayer::new(auth.clone());
    let shown = format!("{layer:?} {auth:?} {:#?}", auth.snapshot());
    for secret in ["the secret", "116, 104, 101", KEY, "alice"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let token = signer.token("k", &clock, &json!({"exp": 1}));
    let service = ServiceBuilder::new().layer(layer).service_fn(whoami);
    let request = bearer(&token).body(Body::empty()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let head = format!("{:?}", response.headers());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains(r#""code":"invalid_token""#) && body.contains("has expired"));
    for part in token.split('.') {
        assert!(!head.contains(part) && !body.contains(part));
    }
}
