//! Known attacks on token verification (after jwt_tool, PortSwigger's labs and the CVEs of this
//! field): each is refused, and makes nobody ask anybody anything.

#![cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::sync::LazyLock;
use std::time::Duration;

use bartizan_auth::{Authenticator, Engine, Jwks, Jwt};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use common::issuer::{Issuer, Keys as Published, Time, client, opaque};
use common::{ISSUER, KEY, Signer, claims, status};
use http::StatusCode;
use serde_json::{Value, json};

const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;

struct Target {
    time: Time,
    issuer: Issuer,
    auth: Authenticator,
    rsa: &'static Signer,
    ec: Signer,
    ed: Signer,
    evil: &'static Signer,
}

/// Made once: it takes a while.
static RSA: LazyLock<[Signer; 2]> = LazyLock::new(|| [Signer::rs(), Signer::rs()]);

impl Target {
    /// A service with the keys of a real issuer, of all families, and opaque tokens beside.
    async fn new() -> Self {
        let time = Time::hold();
        let [rsa, evil] = &*RSA;
        let (ec, ed) = (Signer::es(), Signer::ed());
        let keys = [rsa.jwk("rsa"), ec.jwk("ec"), ed.jwk("ed")];
        let issuer = Issuer::start(Published::of(&keys));
        let keys = Jwks::new(client(), &issuer.url("/keys")).unwrap().start();
        keys.ready().await;
        let auth = Authenticator::new("api")
            .scheme(Jwt::new(keys, ISSUER, "api"))
            .scheme(opaque(&issuer).opaque_only())
            .clock(time.clock.clone());
        let target = Self { time, issuer, auth, rsa, ec, ed, evil };
        let good = target.rsa.token("rsa", &target.time.clock, &json!({}));
        assert_eq!(status(&target.auth, &good).await, StatusCode::OK);
        target
    }

    fn good(&self) -> Value {
        claims(&self.time.clock, &json!({}))
    }

    /// All of `tokens` are refused, by what is in memory.
    async fn withstands(&self, tokens: impl IntoIterator<Item = String>) {
        for token in tokens {
            let shown = &token[..token.len().min(120)];
            assert_eq!(status(&self.auth, &token).await, UNAUTHORIZED, "{shown}");
        }
        assert_eq!(self.issuer.fetches().0, 1, "nobody asked for keys");
        assert_eq!(self.issuer.others(), 0, "nobody asked for anything else");
        assert!(self.issuer.introspected().is_empty(), "nobody asked about a token");
    }
}

fn encoded(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

fn unsigned(header: &Value, payload: &Value, signature: &str) -> String {
    format!("{}.{}.{signature}", encoded(header.to_string()), encoded(payload.to_string()))
}

#[tokio::test(start_paused = true)]
async fn no_signature_or_a_broken_one() {
    let target = Target::new().await;
    let mut tokens = Vec::new();
    for signer in [target.rsa, &target.ec, &target.ed] {
        let kid = signer.alg()[..2].to_lowercase();
        let kid = if kid == "rs" {
            "rsa"
        } else if kid == "es" {
            "ec"
        } else {
            "ed"
        };
        let good = signer.token(kid, &target.time.clock, &json!({}));
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let mut flipped = bytes.clone();
        flipped[10] ^= 1;
        tokens.extend([
            format!("{signed}."),
            format!("{signed}.{}", encoded(&flipped)),
            format!("{signed}.{}", encoded(&bytes[1..])),
            format!("{signed}.{}", encoded(&bytes[..bytes.len() / 2])),
            format!("{signed}.{}", encoded([&bytes[..], b"\0"].concat())),
            format!("{signed}.{}", encoded(vec![0; bytes.len()])),
            format!("{signed}.{}", encoded(vec![0xff; bytes.len()])),
            format!("{signed}.{}", STANDARD.encode(&bytes).replace('=', "+")),
            format!("{signed}.{signature}="),
            format!("{signed}.{signature}\u{e9}"),
            format!("{signed}. {signature}"),
            format!("{good}.{signature}"),
            good.replacen('.', ".\t", 1),
        ]);
        // Another's claims under a good signature.
        let eve = encoded(claims(&target.time.clock, &json!({"sub": "eve"})).to_string());
        let mut parts: Vec<_> = good.split('.').collect();
        parts[1] = &eve;
        tokens.push(parts.join("."));
    }
    // ECDSA: (0, 0) that fits every message where it is let through, and DER instead of r and s.
    let header = json!({"alg": "ES256", "kid": "ec"});
    tokens.push(unsigned(&header, &target.good(), &encoded([0; 64])));
    let good = target.ec.token("ec", &target.time.clock, &json!({}));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let integer = |bytes: &[u8]| [&[2, 33, 0][..], bytes].concat();
    let der = [&[0x30, 70][..], &integer(&bytes[..32]), &integer(&bytes[32..])].concat();
    tokens.push(format!("{signed}.{}", encoded(der)));
    // Ed25519: the point and scalar that small-order keys would fit.
    let header = json!({"alg": "EdDSA", "kid": "ed"});
    let neutral = [&[1][..], &[0; 63]].concat();
    tokens.push(unsigned(&header, &target.good(), &encoded(neutral)));
    target.withstands(tokens).await;
}

#[tokio::test(start_paused = true)]
async fn algorithm_none_in_every_spelling() {
    let target = Target::new().await;
    let mut tokens = Vec::new();
    for bits in 0..16_u8 {
        let letter = |(at, letter): (usize, char)| {
            if bits >> at & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
        };
        let alg: String = "none".chars().enumerate().map(letter).collect();
        for kid in [json!("rsa"), json!(null), json!("")] {
            for signature in ["", "AA", "none"] {
                let header = json!({"alg": alg, "kid": kid, "typ": "JWT"});
                tokens.push(unsigned(&header, &target.good(), signature));
            }
        }
    }
    for alg in ["", "null", " none", "none ", "n\u{f6}ne", "RS256,none"] {
        tokens.push(unsigned(&json!({"alg": alg, "kid": "rsa"}), &target.good(), ""));
    }
    for alg in [json!(null), json!(["none"]), json!({"RS256": 1}), json!(0), json!(false)] {
        tokens.push(unsigned(&json!({"alg": alg, "kid": "rsa"}), &target.good(), ""));
    }
    tokens.push(unsigned(&json!({"kid": "rsa"}), &target.good(), ""));
    target.withstands(tokens).await;
}

#[tokio::test(start_paused = true)]
async fn public_keys_as_secrets_and_weak_secrets() {
    let target = Target::new().await;
    let jwk = target.rsa.jwk("rsa");
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let pem = target.rsa.pem();
    let mut secrets = vec![
        pem.clone().into_bytes(),
        pem.trim_end().as_bytes().to_vec(),
        pem.replace('\n', "\r\n").into_bytes(),
        pem.lines().filter(|line| !line.starts_with('-')).collect::<String>().into_bytes(),
        jwk.to_string().into_bytes(),
        modulus,
        Vec::new(),
        vec![0],
        vec![0; 32],
    ];
    for weak in ["secret", "password", "jwt", "your-256-bit-secret", "changeme", "your_secret_key"]
    {
        secrets.push(weak.as_bytes().to_vec());
    }
    let mut tokens = Vec::new();
    for secret in secrets {
        let forger = Signer::Hs(secret);
        for header in [json!({"alg": "HS256", "kid": "rsa"}), json!({"alg": "HS256"})] {
            tokens.push(forger.sign(&header, &target.good()));
        }
    }
    target.withstands(tokens).await;
}

#[tokio::test(start_paused = true)]
async fn keys_in_headers_and_addresses_of_keys() {
    let target = Target::new().await;
    let evil = target.evil;
    let url = target.issuer.url("/evil");
    let chain = json!([STANDARD.encode("certificate")]);
    let headers = [
        json!({"alg": "RS256", "kid": "rsa", "jwk": evil.jwk("rsa")}),
        json!({"alg": "RS256", "jwk": evil.jwk("evil")}),
        json!({"alg": "RS256", "kid": "rsa", "jku": url}),
        json!({"alg": "RS256", "kid": "rsa", "jku": target.issuer.url("/keys")}),
        json!({"alg": "RS256", "kid": "rsa", "x5u": url}),
        json!({"alg": "RS256", "kid": "rsa", "x5c": chain}),
        json!({"alg": "RS256", "kid": "rsa", "x5t": "AA", "x5t#S256": "AA"}),
        json!({"alg": "RS256", "kid": "rsa", "iss": url}),
    ];
    target.withstands(headers.map(|header| evil.sign(&header, &target.good()))).await;
    // Nor does the issuer that a token names get asked.
    let named = claims(&target.time.clock, &json!({"iss": target.issuer.url("")}));
    target.withstands([evil.sign(&json!({"alg": "RS256", "kid": "rsa"}), &named)]).await;
}

#[tokio::test(start_paused = true)]
async fn rfc8725_3_10_key_identifiers_are_names_and_nothing_else() {
    let target = Target::new().await;
    let long = "k".repeat(5000);
    let kids = [
        "../../../../../../dev/null",
        "/dev/null",
        "../rsa",
        "rsa/",
        "./rsa",
        "file:///etc/passwd",
        "http://127.0.0.1/keys",
        "' UNION SELECT 'secret' --",
        "rsa' OR '1'='1",
        "rsa; sleep 10",
        "`sleep 10`",
        "$(curl http://127.0.0.1)",
        "|/usr/bin/curl 127.0.0.1",
        "{{7*7}}",
        "rsa\0",
        "rsa\r\nx-injected: 1",
        "RSA",
        " rsa",
        "",
        &*long,
    ];
    let forger = Signer::Hs(Vec::new());
    let mut tokens = Vec::new();
    for kid in kids {
        tokens.push(target.evil.sign(&json!({"alg": "RS256", "kid": kid}), &target.good()));
        tokens.push(forger.sign(&json!({"alg": "HS256", "kid": kid}), &target.good()));
    }
    for kid in [json!(null), json!(1), json!(["rsa"]), json!({"rsa": 1})] {
        tokens.push(target.rsa.sign(&json!({"alg": "RS256", "kid": kid}), &target.good()));
    }
    target.withstands(tokens).await;
    // Long after the last fetch unknown keys do cause one: of the document, at its own address.
    target.time.pass(Duration::from_secs(40)).await;
    let token = target.evil.sign(&json!({"alg": "RS256", "kid": "../evil"}), &target.good());
    assert_eq!(status(&target.auth, &token).await, UNAUTHORIZED);
    assert_eq!((target.issuer.fetches().0, target.issuer.others()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn keys_of_one_family_under_the_name_of_another() {
    let target = Target::new().await;
    let good = target.good();
    let mut tokens = Vec::new();
    for (signer, own) in [(target.rsa, "rsa"), (&target.ec, "ec"), (&target.ed, "ed")] {
        for kid in ["rsa", "ec", "ed"] {
            for alg in ["RS256", "ES256", "EdDSA", "PS256", "HS256"] {
                if (kid, alg) != (own, signer.alg()) {
                    tokens.push(signer.sign(&json!({"alg": alg, "kid": kid}), &good));
                }
            }
        }
    }
    target.withstands(tokens).await;
}

#[tokio::test(start_paused = true)]
async fn no_token_at_all() {
    let target = Target::new().await;
    let good = target.rsa.token("rsa", &target.time.clock, &json!({}));
    let texts = [
        "a",
        "..",
        "...",
        "....",
        "a.b.c",
        "e30.e30.",
        "e30.e30.e30",
        "null",
        "undefined",
        "true",
        "{}",
        "Bearer",
        &good.to_lowercase(),
        &good[1..],
        &good[..good.len() - 1],
        &URL_SAFE.encode(&good),
        &format!("\"{good}\""),
        &format!("{good},{good}"),
        &format!("{good} {good}"),
        &"a".repeat(9000),
        &"A.".repeat(4000),
        &format!("{}.{}.", encoded("{\"a\":".repeat(1500)), encoded("{}")),
    ];
    // What looks like an opaque token is for the issuer to say; these do not.
    let asked = |text: &&str| text.contains(['.', '"', ' ', '{', ',']) || text.len() > 8192;
    let texts: Vec<_> = texts.into_iter().filter(asked).map(str::to_owned).collect();
    assert!(texts.len() > 10);
    let (signed, opaque): (Vec<_>, Vec<_>) = texts.into_iter().partition(|text| {
        text.matches('.').count() == 2 || text.contains(['"', ' ', '{', ',']) || text.len() > 8192
    });
    target.withstands(signed).await;
    for text in opaque {
        assert_eq!(status(&target.auth, &text).await, UNAUTHORIZED, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn api4_a_flood_of_bad_tokens_leaves_nothing_behind() {
    let target = Target::new().await;
    let held = || target.auth.snapshot().value("bartizan_auth_remembered_bytes", "").unwrap();
    let before = held();
    for index in 0..3000 {
        let token =
            unsigned(&json!({"alg": "RS256", "kid": index.to_string()}), &target.good(), "AA");
        assert_eq!(status(&target.auth, &token).await, UNAUTHORIZED);
    }
    assert_eq!(held(), before);
    assert!(status(&target.auth, KEY).await == UNAUTHORIZED);
}
