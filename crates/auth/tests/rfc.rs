//! What the RFCs say of tokens, statement by statement (`http_rfc.rs` has what they say of HTTP), each test named by its section.

#![cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::time::Duration;

use bartizan_auth::{Algorithm, Audience, Authenticator, Clock, Engine, Issuer, Jwt, KeySet, Oidc};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{ISSUER, Signer, ask, claims, jwks, status, with_keys};
use http::{Request, StatusCode};
use serde_json::{Value, json};

const OK: StatusCode = StatusCode::OK;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;

/// A key, the time, and an authenticator that `change` was made to.
struct Bench {
    signer: Signer,
    clock: Clock,
    auth: Authenticator,
}

impl Bench {
    fn new() -> Self {
        Self::with(|jwt| jwt)
    }

    fn with(change: impl FnOnce(Jwt) -> Jwt) -> Self {
        let (signer, clock) = (Signer::ed(), Clock::manual());
        let keys = KeySet::from_jwks(&jwks(&[signer.jwk("k")])).unwrap();
        let jwt = change(Jwt::new(keys, ISSUER, "api"));
        let auth = Authenticator::new("api").scheme(jwt).clock(clock.clone());
        Self { signer, clock, auth }
    }

    /// The answer to a token with this change to good claims.
    async fn claims(&self, change: Value) -> StatusCode {
        status(&self.auth, &self.signer.token("k", &self.clock, &change)).await
    }

    /// The answer to a token with this change to a good header.
    async fn header(&self, change: Value) -> StatusCode {
        let mut header = json!({"alg": "EdDSA", "kid": "k"});
        for (name, value) in change.as_object().unwrap() {
            header[name] = value.clone();
        }
        status(&self.auth, &self.signer.sign(&header, &claims(&self.clock, &json!({})))).await
    }

    fn after(&self, seconds: i64) -> i64 {
        self.clock.unix().as_secs() as i64 + seconds
    }
}

#[tokio::test]
async fn rfc8725_3_1_the_algorithm_is_the_keys() {
    let (clock, rsa, ec) = (Clock::manual(), Signer::rs(), Signer::es());
    let set = KeySet::from_jwks(&jwks(&[rsa.jwk("rsa"), ec.jwk("ec")])).unwrap();
    let auth = with_keys(set, &clock);
    let good = claims(&clock, &json!({}));
    assert_eq!(status(&auth, &rsa.token("rsa", &clock, &json!({}))).await, OK);
    for alg in ["RS384", "RS512", "PS256", "ES256", "HS256", "EdDSA", "none", "NONE", "nOnE"] {
        let token = rsa.sign(&json!({"alg": alg, "kid": "rsa"}), &good);
        assert_eq!(status(&auth, &token).await, UNAUTHORIZED, "{alg}");
    }
    for secret in [rsa.pem(), ec.pem(), String::new()] {
        let forged = Signer::Hs(secret.into_bytes());
        for kid in ["rsa", "ec"] {
            let token = forged.sign(&json!({"alg": "HS256", "kid": kid}), &good);
            assert_eq!(status(&auth, &token).await, UNAUTHORIZED);
        }
    }
    // The token's own spelling of `alg` makes no difference, its value does.
    let escaped = rsa.sign_text(r#"{"\u0061lg":"\u0052S256","kid":"rsa"}"#, &good.to_string());
    assert_eq!(status(&auth, &escaped).await, OK);
    let twice =
        rsa.sign_text(r#"{"alg":"RS256","\u0061lg":"RS256","kid":"rsa"}"#, &good.to_string());
    assert_eq!(status(&auth, &twice).await, UNAUTHORIZED);
}

#[tokio::test]
async fn rfc8725_3_2_weak_algorithms_and_keys_are_none() {
    let bench = Bench::with(|jwt| jwt.accept_id_tokens().leeway(Duration::MAX));
    for alg in ["none", "None", "RSA1_5", "RSA-OAEP", "dir", "HS1", "ES256K", "ES512"] {
        assert_eq!(bench.header(json!({"alg": alg})).await, UNAUTHORIZED, "{alg}");
    }
    // Secrets do not come from an issuer, short moduli from nobody.
    assert!(KeySet::from_jwks(&jwks(&[Signer::Hs(vec![1; 64]).jwk("s")])).is_err());
    let modulus =
        |bytes: usize| URL_SAFE_NO_PAD.encode([&[0xc1][..], &vec![0x55; bytes - 1]].concat());
    let rsa = |bytes, e: &str| json!({"kty": "RSA", "n": modulus(bytes), "e": e});
    assert!(KeySet::from_jwks(&jwks(&[rsa(256, "AQAB")])).is_ok());
    for weak in
        [rsa(255, "AQAB"), rsa(128, "AQAB"), rsa(256, "AQ"), rsa(256, "Ag"), rsa(2049, "AQAB")]
    {
        assert!(KeySet::from_jwks(&jwks(std::slice::from_ref(&weak))).is_err(), "{weak}");
    }
}

#[tokio::test]
async fn rfc8725_3_3_nested_and_encrypted_tokens_are_refused() {
    let bench = Bench::new();
    let good = bench.signer.token("k", &bench.clock, &json!({}));
    assert_eq!(status(&bench.auth, &good).await, OK);
    for token in
        [format!("{good}.a.b"), format!("{good}."), good.replace('.', ".."), format!(".{good}")]
    {
        assert_eq!(status(&bench.auth, &token).await, UNAUTHORIZED);
    }
    let nested = bench.signer.sign_text(r#"{"alg":"EdDSA","kid":"k","cty":"JWT"}"#, &good);
    assert_eq!(status(&bench.auth, &nested).await, UNAUTHORIZED);
    assert_eq!(bench.header(json!({"alg": "dir", "enc": "A128GCM"})).await, UNAUTHORIZED);
    assert_eq!(bench.header(json!({"enc": "A128GCM"})).await, UNAUTHORIZED);
}

#[tokio::test]
async fn rfc8725_3_4_points_off_their_curve_are_dropped_and_counted() {
    let (clock, good) = (Clock::manual(), Signer::ed());
    let (ec, ed) = (Signer::es().jwk("a"), Signer::ed().jwk("b"));
    let change = |jwk: &Value, name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    let zeros = |bytes: usize| json!(URL_SAFE_NO_PAD.encode(vec![0; bytes]));
    let bad = [
        change(&ec, "x", ec["y"].clone()),
        change(&ec, "x", zeros(32)),
        change(&ec, "x", zeros(31)),
        change(&ec, "crv", json!("P-384")),
        change(&ec, "crv", json!("secp256k1")),
        change(&ec, "crv", Value::Null),
        change(&ec, "alg", json!("ES384")),
        change(&ed, "x", zeros(31)),
        change(&ed, "x", zeros(33)),
        change(&ed, "crv", json!("Ed448")),
        // Of small order: 0, 1, and -1 with the other sign.
        change(&ed, "x", zeros(32)),
        change(&ed, "x", json!(URL_SAFE_NO_PAD.encode([&[1][..], &[0; 31]].concat()))),
        change(&ed, "x", json!(URL_SAFE_NO_PAD.encode([&[0xec][..], &[0xff; 31]].concat()))),
    ];
    for bad in bad {
        let set = KeySet::from_jwks(&jwks(&[bad.clone(), good.jwk("k")])).unwrap();
        assert_eq!((set.len(), set.skipped().len()), (1, 1), "{bad}");
        assert_eq!(status(&with_keys(set, &clock), &good.token("k", &clock, &json!({}))).await, OK);
    }
}

#[test]
fn rfc8725_3_5_secrets_are_as_long_as_their_hash() {
    for (algorithm, bytes) in
        [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)]
    {
        assert!(KeySet::secret(algorithm, &vec![7; bytes]).is_ok());
        for short in [bytes - 1, 1, 0] {
            assert!(KeySet::secret(algorithm, &vec![7; short]).is_err(), "{algorithm} {short}");
        }
    }
    assert!(KeySet::secret(Algorithm::Rs256, &[7; 64]).is_err());
}

#[tokio::test]
async fn rfc8725_3_6_compressed_tokens_are_refused() {
    let bench = Bench::new();
    for header in [
        json!({"zip": "DEF"}),
        json!({"zip": null}),
        json!({"p2c": 1_000_000_000}),
        json!({"epk": {}}),
    ] {
        assert_eq!(bench.header(header.clone()).await, UNAUTHORIZED, "{header}");
    }
}

#[tokio::test]
async fn rfc8725_3_7_texts_are_utf_8() {
    let bench = Bench::new();
    let raw = |header: &[u8], payload: &[u8]| {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let Signer::Ed(pair) = &bench.signer else { unreachable!() };
        let signature = pair.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    };
    let header = br#"{"alg":"EdDSA","kid":"k"}"#;
    let good = claims(&bench.clock, &json!({})).to_string();
    assert_eq!(status(&bench.auth, &raw(header, good.as_bytes())).await, OK);
    let with = |text: &[u8]| [br#"{"x":""#, text, br#"","#, &good.as_bytes()[1..]].concat();
    for text in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", br"\ud800", br"\udc00\ud800"] {
        assert_eq!(status(&bench.auth, &raw(header, &with(text))).await, UNAUTHORIZED);
    }
    let bad = [
        &b"{\"alg\":\"EdDSA\",\"kid\":\"k\xff\"}"[..],
        br#"{"alg":"EdDSA","kid":"k","x":"\ud800"}"#,
    ];
    for header in bad {
        assert_eq!(status(&bench.auth, &raw(header, good.as_bytes())).await, UNAUTHORIZED);
    }
}

#[tokio::test]
async fn rfc8725_3_8_issuer_and_subject_are_checked() {
    let bench = Bench::new();
    let slash = format!("{ISSUER}/");
    let issuers = [json!(null), json!(slash), json!(""), json!([ISSUER]), json!({}), json!(1)];
    for issuer in issuers.into_iter().chain([json!("https://ID.test"), json!("https://id.test ")]) {
        assert_eq!(bench.claims(json!({"iss": issuer.clone()})).await, UNAUTHORIZED, "{issuer}");
    }
    for subject in [json!(null), json!(""), json!(1), json!(["alice"])] {
        assert_eq!(bench.claims(json!({"sub": subject})).await, UNAUTHORIZED, "{subject}");
    }
    // An issuer that is not known falls back to nobody's keys.
    assert_eq!(bench.claims(json!({"iss": "https://other.test"})).await, UNAUTHORIZED);
    let waived = Bench::with(|jwt| {
        let keys = jwt.keys().clone();
        Jwt::new(keys, Issuer::Unchecked, "api")
    });
    assert_eq!(waived.claims(json!({"iss": "https://other.test"})).await, OK);
}

#[tokio::test]
async fn rfc8725_3_9_audience_is_checked() {
    let bench = Bench::new();
    assert_eq!(bench.claims(json!({"aud": ["other", "api"]})).await, OK);
    let wrong = [json!(null), json!(""), json!([]), json!("other"), json!(["other"]), json!(7)];
    let more = [
        json!({}),
        json!([["api"]]),
        json!(["api", 1]),
        json!("API"),
        json!("api "),
        json!({"api": 1}),
    ];
    for audience in wrong.into_iter().chain(more) {
        assert_eq!(bench.claims(json!({"aud": audience})).await, UNAUTHORIZED, "{audience}");
    }
    let waived = Bench::with(|jwt| Jwt::new(jwt.keys().clone(), ISSUER, Audience::Unchecked));
    assert_eq!(waived.claims(json!({"aud": null})).await, OK);
}

#[tokio::test]
async fn rfc8725_3_11_and_rfc9068_2_1_types_are_told_apart() {
    let bench = Bench::new();
    for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt", "Application/JWT", "AT+JWT"] {
        assert_eq!(bench.header(json!({"typ": typ})).await, OK, "{typ}");
    }
    let others =
        ["dpop+jwt", "logout+jwt", "secevent+jwt", "entity-statement+jwt", "", "at+jwt2", "JOSE"];
    for typ in others {
        assert_eq!(bench.header(json!({"typ": typ})).await, UNAUTHORIZED, "{typ}");
    }
    for typ in [json!(1), json!(null), json!(["JWT"])] {
        assert_eq!(bench.header(json!({"typ": typ})).await, UNAUTHORIZED);
    }
    let strict = Bench::with(|jwt| jwt.token_type("at+jwt"));
    for (typ, expected) in [("at+jwt", OK), ("application/AT+jwt", OK), ("JWT", UNAUTHORIZED)] {
        assert_eq!(strict.header(json!({"typ": typ})).await, expected);
    }
    assert_eq!(strict.header(json!({})).await, UNAUTHORIZED);
}

#[tokio::test]
async fn rfc8725_3_12_id_tokens_are_not_access_tokens() {
    let bench = Bench::new();
    for claim in [json!({"nonce": "n"}), json!({"at_hash": "h"}), json!({"c_hash": "h"})] {
        assert_eq!(bench.claims(claim.clone()).await, UNAUTHORIZED, "{claim}");
    }
    let told = Bench::with(Jwt::accept_id_tokens);
    assert_eq!(told.claims(json!({"nonce": "n", "at_hash": "h"})).await, OK);
    let cognito = Bench::with(|jwt| {
        let keys = jwt.keys().clone();
        Oidc::cognito("eu-west-1", "eu-west-1_Ab", "client").unwrap().jwt_by(keys)
    });
    let name = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Ab";
    let access = json!({"iss": name, "aud": null, "client_id": "client", "token_use": "access"});
    assert_eq!(cognito.claims(access).await, OK);
    let id = json!({"iss": name, "aud": "client", "token_use": "id"});
    assert_eq!(cognito.claims(id).await, UNAUTHORIZED);
    let id = json!({"iss": name, "client_id": "client", "token_use": "id"});
    assert_eq!(cognito.claims(id).await, UNAUTHORIZED);
}

#[tokio::test]
async fn rfc9449_7_1_and_rfc8705_3_bound_tokens_are_no_bearer_tokens() {
    let bench = Bench::new();
    for bound in [json!({"jkt": "a"}), json!({"x5t#S256": "a"}), json!({}), json!("a")] {
        assert_eq!(bench.claims(json!({"cnf": bound})).await, UNAUTHORIZED, "{bound}");
    }
}

#[tokio::test]
async fn rfc7515_4_1_11_critical_extensions_are_refused() {
    let bench = Bench::new();
    let crits =
        [json!(["exp"]), json!([]), json!(["alg"]), json!(["absent"]), json!("exp"), json!(null)];
    for crit in crits {
        assert_eq!(bench.header(json!({"crit": crit})).await, UNAUTHORIZED, "{crit}");
    }
    // RFC 7797: an unencoded payload, whether it is said to be critical or not.
    for b64 in [json!(false), json!(true)] {
        assert_eq!(bench.header(json!({"b64": b64})).await, UNAUTHORIZED);
        assert_eq!(bench.header(json!({"b64": b64, "crit": ["b64"]})).await, UNAUTHORIZED);
    }
}

#[tokio::test]
async fn rfc7519_4_and_7_2_claims_are_one_object_without_duplicates() {
    let bench = Bench::new();
    let header = r#"{"alg":"EdDSA","kid":"k"}"#;
    let good = claims(&bench.clock, &json!({})).to_string();
    let exp = bench.after(60);
    let array = format!(r#"[{exp},0,"alice","{ISSUER}","api"]"#);
    let payloads = [
        array,
        "null".to_owned(),
        "1".to_owned(),
        r#""text""#.to_owned(),
        String::new(),
        "{".to_owned(),
        format!("{good}{good}"),
        format!("{good} x"),
        format!(r#"{{"sub":"eve",{}"#, &good[1..]),
        format!(r#"{{"s\u0075b":"eve",{}"#, &good[1..]),
        format!(r#"{{"custom":1,"custom":2,{}"#, &good[1..]),
        format!(r#"{{"deep":{}{}"#, "[".repeat(10_000), &good[1..]),
        format!(r#"{{"deep":{}1{},{}"#, "[".repeat(500), "]".repeat(500), &good[1..]),
    ];
    for payload in payloads {
        let token = bench.signer.sign_text(header, &payload);
        assert_eq!(
            status(&bench.auth, &token).await,
            UNAUTHORIZED,
            "{}",
            &payload[..payload.len().min(80)]
        );
    }
    let spaced = bench.signer.sign_text(header, &format!(" \n{good}\t "));
    assert_eq!(status(&bench.auth, &spaced).await, OK);
}

#[tokio::test]
async fn rfc7519_4_1_4_to_6_dates_are_numbers_and_kept() {
    let bench = Bench::with(|jwt| jwt.max_lifetime(Duration::from_secs(3600)));
    let at = |seconds| bench.after(seconds);
    let good =
        [json!({"exp": at(3600)}), json!({"nbf": at(0)}), json!({"exp": at(60) as f64 + 0.5})];
    for change in good {
        assert_eq!(bench.claims(change.clone()).await, OK, "{change}");
    }
    for name in ["exp", "nbf", "iat"] {
        let now = at(0).to_string();
        for value in [
            json!(now),
            json!(-1),
            json!([1]),
            json!({}),
            json!(true),
            json!(u64::MAX),
            json!(1e308),
        ] {
            assert_eq!(
                bench.claims(json!({name: value.clone()})).await,
                UNAUTHORIZED,
                "{name} {value}"
            );
        }
        // Milliseconds are years ahead.
        assert_eq!(bench.claims(json!({name: at(60) * 1000})).await, UNAUTHORIZED);
    }
    let bad = [
        json!({"exp": null}),
        json!({"exp": at(-31)}),
        json!({"exp": at(3700)}),
        json!({"nbf": at(40)}),
        json!({"iat": at(40)}),
    ];
    for change in bad {
        assert_eq!(bench.claims(change.clone()).await, UNAUTHORIZED, "{change}");
    }
}

#[tokio::test]
async fn rfc7519_7_2_long_tokens_are_refused_before_they_are_decoded() {
    let bench = Bench::with(|jwt| jwt.max_bytes(1000));
    assert_eq!(bench.claims(json!({"filler": "x".repeat(300)})).await, OK);
    assert_eq!(bench.claims(json!({"filler": "x".repeat(800)})).await, UNAUTHORIZED);
    // Nothing of it was looked at: what is no token at all is too long first.
    for text in ["A".repeat(1 << 20), "\"".repeat(1001), format!("..{}", ".".repeat(1000))] {
        let long = Request::get("/").header("authorization", format!("Bearer {text}"));
        assert_eq!(ask(&bench.auth, long).await.status(), UNAUTHORIZED);
    }
    let denied = |why| bench.auth.snapshot().value("bartizan_auth_denials_total", why);
    assert_eq!((denied("too_large"), denied("malformed")), (Some(4.0), Some(0.0)));
}

#[test]
fn rfc7517_5_what_is_no_key_takes_no_other_down() {
    let good = Signer::ed().jwk("k").to_string();
    let others = [
        "null",
        "7",
        "-7",
        "0.5",
        "true",
        "\"key\"",
        "[[{}],1]",
        "{}",
        r#"{"kty":"OKP","kty":"RSA"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","x":"AA","x":"AA"}"#,
    ];
    for other in others {
        for keys in [format!("{other},{good}"), format!("{good},{other}")] {
            let set = KeySet::from_jwks(&format!(r#"{{"keys":[{keys}]}}"#)).unwrap();
            assert_eq!((set.len(), set.skipped().len()), (1, 1), "{other}");
        }
        assert!(KeySet::from_jwks(&format!(r#"{{"keys":[{other}]}}"#)).is_err(), "{other}");
    }
    // What is no JSON is no document.
    assert!(KeySet::from_jwks(&format!(r#"{{"keys":[{good},nul]}}"#)).is_err());
}

#[test]
fn api10_rfc7517_9_2_a_private_key_that_is_published_is_no_key() {
    let (good, mut leaked) = (Signer::ed().jwk("good"), Signer::ed().jwk("leaked"));
    leaked["d"] = json!("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let document = jwks(&[leaked.clone(), good]);
    let set = KeySet::from_jwks(&document).unwrap();
    assert_eq!((set.len(), set.skipped()[0].field()), (1, "keys[0]"));
    assert!(!format!("{:?}", set.skipped()).contains("nWGxne"));
    assert!(KeySet::from_jwks(&jwks(&[leaked])).is_err());
    // A file of one's own may hold both parts.
    assert_eq!(KeySet::from_secret_jwks(&document).unwrap().len(), 2);
}
