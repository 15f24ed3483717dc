//! Project Wycheproof's vectors for signed tokens and key sets, as they are.
//! `data/` is from C2SP/wycheproof dac1dd47, Apache-2.0 (`data/LICENSE`).

#![cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use bartizan_auth::{Backend, KeySet};
use serde_json::{Value, json};

/// All that this build has, each of which must judge alike.
const BACKENDS: &[Backend] = &[
    #[cfg(feature = "aws-lc")]
    Backend::AwsLc,
    #[cfg(feature = "rust-crypto")]
    Backend::RustCrypto,
];

/// Cases whose label we contradict, and why.
const DISPUTED: [(u64, &str); 8] = [
    (346, "key for PS256, token PS384, labelled valid: against 338 and 340 of the same file"),
    (347, "ES512, which the backend lacks, under a key whose `alg` is misspelt \"ES521\""),
    (350, "as 346"),
    (351, "as 347"),
    (367, "labelled invalid, but byte for byte the valid 357 (C2SP/wycheproof#236)"),
    (370, "as 367"),
    (372, "labelled valid though a \"?\" stands in its base64url, against 361 to 364"),
    (373, "as 372"),
];

/// The cases, and those of them that came out other than labelled.
fn run(backend: Backend, json: &str) -> (usize, Vec<u64>) {
    let suite: Value = serde_json::from_str(json).unwrap();
    let (mut cases, mut other) = (0, Vec::new());
    for group in suite["testGroups"].as_array().unwrap() {
        let key = group.get("public").unwrap_or_else(|| &group["private"]);
        let document = if key.get("keys").is_some() { key.clone() } else { json!({"keys": [key]}) };
        let set = KeySet::from_secret_jwks_by(backend, &document.to_string());
        for test in group["tests"].as_array().unwrap() {
            cases += 1;
            let accepted =
                set.as_ref().is_ok_and(|set| set.verify(test["jws"].as_str().unwrap()).is_ok());
            if accepted != (test["result"] == "valid") {
                other.push(test["tcId"].as_u64().unwrap());
            }
        }
    }
    (cases, other)
}

#[test]
fn signatures_are_judged_as_labelled_but_for_eight_defects() {
    for &backend in BACKENDS {
        let (cases, other) = run(backend, include_str!("data/json_web_signature_test.json"));
        assert_eq!(cases, 401);
        assert_eq!(other, DISPUTED.map(|(case, _)| case), "{backend:?}");
        println!("bar: wycheproof-jws-{backend:?} {} 393 ok", cases - other.len());
    }
}

#[test]
fn key_sets_are_judged_as_labelled() {
    for &backend in BACKENDS {
        let judged = run(backend, include_str!("data/json_web_key_test.json"));
        assert_eq!(judged, (26, vec![]), "{backend:?}");
        println!("bar: wycheproof-jwk-{backend:?} 26 26 ok");
    }
}

/// Wycheproof has no EdDSA for JWS: RFC 8037, appendix A.4, instead.
#[test]
fn rfc_8037_is_verified() {
    let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let token = concat!(
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
    for &backend in BACKENDS {
        let set = KeySet::from_jwks_by(backend, jwks).unwrap();
        assert_eq!(set.verify(token).as_deref(), Ok(&b"Example of Ed25519 signing"[..]));
    }
}

/// RFC 7520 §4.1 to §4.4 and RFC 8037 as published in the JOSE cookbook, commit 13692b68
/// (`data/jose-cookbook/LICENSE`), and what must be refused: a detached payload and RFC 7797's
/// unencoded one.
#[test]
fn rfc_7520_8037_and_7797_examples() {
    let examples = [
        (include_str!("data/jose-cookbook/jws_4_1.rsa_v15_signature.json"), true),
        (include_str!("data/jose-cookbook/jws_4_2.rsa-pss_signature.json"), true),
        // P-521, which the backend lacks.
        (include_str!("data/jose-cookbook/jws_4_3.ecdsa_signature.json"), false),
        (include_str!("data/jose-cookbook/jws_4_4.hmac-sha2_integrity_protection.json"), true),
        (include_str!("data/jose-cookbook/jws_4_5.signature_with_detached_content.json"), false),
        (include_str!("data/jose-cookbook/curve25519_jws.json"), true),
        (include_str!("data/jose-cookbook/rfc7797_4.2.hmac-sha2_b64_false.json"), false),
        (include_str!("data/jose-cookbook/rfc7797_hmac-sha2_b64_false.json"), false),
    ];
    for (&backend, (text, expected)) in
        BACKENDS.iter().flat_map(|backend| examples.map(|example| (backend, example)))
    {
        let example: Value = serde_json::from_str(text).unwrap();
        let (input, title) = (&example["input"], example["title"].as_str().unwrap());
        let mut key = input["key"].clone();
        // The algorithm is bound to the key: where the example leaves it to the token, it is put there.
        key["alg"] = input["alg"].clone();
        let set = KeySet::from_secret_jwks_by(backend, &json!({"keys": [key]}).to_string());
        let token = example["output"]["compact"].as_str().unwrap_or("none");
        let payload = set.ok().and_then(|set| set.verify(token).ok());
        assert_eq!(payload.is_some(), expected, "{title}");
        if let Some(payload) = payload {
            assert_eq!(String::from_utf8(payload).unwrap(), input["payload"], "{title}");
        }
    }
}
