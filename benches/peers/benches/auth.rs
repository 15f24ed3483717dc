//! Bartizan's auth beside tower-oauth2-resource-server (jsonwebtoken over AWS-LC) and jwt-authorizer
//! (jsonwebtoken over ring): a token in `Authorization`, keys from a JWKS document, issuer, audience
//! and dates checked, what the token says in the request's extensions.
//!
//! Tokens are some 800 bytes with twelve claims. The peers keep the few claims that their own type
//! has, ours keeps all of them. Neither peer remembers a token: for them a request is a request. Ours
//! is measured twice: as it is, with a token that it has seen; and with a cache that holds next to
//! nothing, and a thousand tokens in turn, so that each is verified, put into the cache and thrown out
//! again. All contestants get the same tokens in the same order, in short rounds that take turns, of
//! which the best counts; bars are held against the best peer of each algorithm.
//!
//! Allocations at first sight are held against the peers that use the same cryptography: AWS-LC
//! allocates for each public-key signature, ring does not. The tables tell all of them.
//!
//! Tokens are signed once, by the process that measures; those that count instructions read them.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{LazyLock, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use aws_lc_rs::{hmac, rsa};
use bartizan::auth::{AuthLayer, Authenticator, Jwt, KeySet, Principal, RequireLayer};
use bartizan_bench_peers::{Case, NoOp, Serve, Traffic, run_with};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::Full;
use jwt_authorizer::{JwtAuthorizer, RegisteredClaims, Validation};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::Layer;
use tower_oauth2_resource_server::claims::DefaultClaims;
use tower_oauth2_resource_server::server::OAuth2ResourceServer;
use tower_oauth2_resource_server::tenant::TenantConfiguration;

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "https://api.example";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const TOKENS: usize = 1000;
/// Room for a handful of tokens.
const TINY: usize = 32 * 1024;

/// An algorithm, its JWKS document, and tokens.
struct Issued {
    jwks: String,
    tokens: Vec<HeaderValue>,
}

/// In the order of `ALGORITHMS`.
static ISSUED: OnceLock<Vec<Issued>> = OnceLock::new();
const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "HS256"];

fn issued(algorithm: usize) -> &'static Issued {
    &ISSUED.get().expect("tokens were issued")[algorithm]
}

fn main() -> ExitCode {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("auth-tokens.json");
    if std::env::args().nth(1).as_deref() != Some("--serve") {
        std::fs::write(&file, issue().to_string()).expect("tokens can be kept");
    }
    let text = std::fs::read(&file).expect("tokens were kept");
    let all: Value = serde_json::from_slice(&text).expect("tokens were kept");
    let header = |token: &Value| {
        HeaderValue::try_from(format!("Bearer {}", token.as_str().expect("a token")))
            .expect("ASCII")
    };
    let read = |one: &Value| Issued {
        jwks: one["jwks"].to_string(),
        tokens: one["tokens"].as_array().expect("tokens").iter().map(header).collect(),
    };
    let all = all.as_array().expect("algorithms").iter().map(read).collect();
    assert!(ISSUED.set(all).is_ok(), "once");

    let cases = [
        repeat("rs256-known", introduce_same::<0>, 0),
        repeat("es256-known", introduce_same::<1>, 1),
        repeat("hs256-known", introduce_same::<2>, 2),
        first("rs256-first", introduce::<0>, 0),
        first("es256-first", introduce::<1>, 1),
        first("hs256-first", introduce::<2>, 2),
        guard(),
    ];
    run_with(&cases, |results, bars| {
        let best = |case: &str, peers: &[&str]| {
            let each = peers.iter().map(|peer| results.over(case, peer).nanoseconds);
            each.fold(f64::INFINITY, f64::min)
        };
        for (algorithm, _) in PEERS {
            let known = results.over(&format!("{algorithm}-known"), "bartizan");
            bars.at_most(&format!("{algorithm}-known-nanoseconds"), known.nanoseconds, 300.0);
            bars.at_most(&format!("{algorithm}-known-allocations"), known.allocations, 3.0);
        }
        let known = results.over("rs256-known", "bartizan").nanoseconds;
        let times = best("rs256-first", PEERS[0].1) / known;
        bars.at_least("rs256-known-times-cheaper-than-best-peer", times.round(), 50.0);
        for (algorithm, peers) in PEERS {
            let case = format!("{algorithm}-first");
            let ours = results.over(&case, "bartizan");
            let time = ours.nanoseconds / best(&case, peers);
            bars.at_most(&format!("{case}-time-vs-best-peer"), time, 1.0);
            let theirs = results.over(&case, peers[0]);
            bars.at_most(
                &format!("{case}-allocations-vs-{}", peers[0]),
                ours.allocations,
                theirs.allocations,
            );
        }
        let guard = results.over("scope-guard", "bartizan");
        bars.at_most("scope-guard-nanoseconds", guard.nanoseconds, 50.0);
    })
}

/// The peers that can do it, of which the first shares most with ours.
const PEERS: [(&str, &[&str]); 3] = [
    ("rs256", &["tower-oauth2-resource-server", "jwt-authorizer"]),
    ("es256", &["tower-oauth2-resource-server", "jwt-authorizer"]),
    ("hs256", &["jwt-authorizer"]),
];

/// A caller who is known and has the scope, among six.
fn guard() -> Case {
    fn introduce(request: &mut Request<()>, _: std::net::SocketAddr) {
        static CALLER: LazyLock<Principal> = LazyLock::new(|| {
            let scopes = "openid profile email orders:read orders:write customers:read";
            Principal::new("alice").with_scopes(scopes.split(' '))
        });
        request.extensions_mut().insert(CALLER.clone());
    }
    let traffic = Traffic { introduce, ..Traffic::default() };
    let no_op = move || Serve::new(inner(), traffic);
    Case::new("scope-guard", no_op, move || {
        let guard = RequireLayer::new(Authenticator::new("bench")).scopes(["orders:write"]);
        Serve::new(guard.layer(inner()), traffic)
    })
}

/// One token, again and again, to a service that has seen it.
fn repeat(name: &str, introduce: Introduce, algorithm: usize) -> Case {
    let traffic = Traffic { introduce, ..Traffic::default() };
    let no_op = move || Serve::new(inner(), traffic);
    Case::new(name, no_op, move || Serve::new(ours(algorithm, 16 << 20).layer(inner()), traffic))
}

/// A thousand tokens in turn.
fn first(name: &str, introduce: Introduce, algorithm: usize) -> Case {
    let traffic = Traffic { addresses: TOKENS as u32, introduce, ..Traffic::default() };
    let no_op = move || Serve::new(inner(), traffic);
    let case =
        Case::new(name, no_op, move || Serve::new(ours(algorithm, TINY).layer(inner()), traffic))
            .dear();
    let case = case.beside("jwt-authorizer", move || {
        let runtime = runtime();
        let jwks = &issued(algorithm).jwks;
        let validation = Validation::new().iss(&[ISSUER]).aud(&[AUDIENCE]).nbf(true);
        let layer = runtime.block_on(async {
            let builder = JwtAuthorizer::<RegisteredClaims>::from_jwks_text(jwks);
            let authorizer = builder.validation(validation).build().await.expect("keys");
            jwt_authorizer::IntoLayer::into_layer(authorizer)
        });
        Serve::new(layer.layer(NoOp::<axum_07::body::Body>::new()), traffic)
    });
    if ALGORITHMS[algorithm] == "HS256" {
        return case;
    }
    case.beside("tower-oauth2-resource-server", move || {
        let runtime = runtime();
        let layer = runtime.block_on(async {
            let tenant = TenantConfiguration::static_builder(issued(algorithm).jwks.clone())
                .identifier(ISSUER)
                .audiences(&[AUDIENCE])
                .build()
                .expect("a tenant");
            let server = <OAuth2ResourceServer<DefaultClaims>>::builder()
                .add_tenant(tenant)
                .build()
                .await
                .expect("a server");
            server.into_layer::<Full<Bytes>>()
        });
        Serve::new(layer.layer(inner()), traffic)
    })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

const fn inner() -> NoOp<Full<Bytes>> {
    NoOp::new()
}

fn ours(algorithm: usize, cache_bytes: usize) -> AuthLayer {
    let keys = KeySet::from_secret_jwks(&issued(algorithm).jwks).expect("keys");
    let jwt = Jwt::new(keys, ISSUER, AUDIENCE).cache_bytes(cache_bytes);
    AuthLayer::new(Authenticator::new("bench").scheme(jwt))
}

type Introduce = fn(&mut Request<()>, std::net::SocketAddr);

/// A token by the address that the request comes from. The no-op gets one too.
fn introduce<const ALGORITHM: usize>(request: &mut Request<()>, from: std::net::SocketAddr) {
    let std::net::IpAddr::V4(address) = from.ip() else { unreachable!("requests come over IPv4") };
    let token = &issued(ALGORITHM).tokens[address.to_bits() as usize & 0xffff];
    request.headers_mut().insert("authorization", token.clone());
}

fn introduce_same<const ALGORITHM: usize>(request: &mut Request<()>, _: std::net::SocketAddr) {
    request.headers_mut().insert("authorization", issued(ALGORITHM).tokens[0].clone());
}

/// Documents and tokens of all algorithms.
fn issue() -> Value {
    let random = SystemRandom::new();
    let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let rsa: RsaKeyPair = rsa::KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(rsa.public_key());
    let (n, e) = (b64(&public.n), b64(&public.e));
    let rsa_jwk = json!({"kty": "RSA", "kid": "k", "alg": "RS256", "use": "sig", "n": n, "e": e});
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let (x, y) = ec.public_key().as_ref()[1..].split_at(32);
    let ec_jwk = json!({
        "kty": "EC", "kid": "k", "alg": "ES256", "use": "sig", "crv": "P-256", "x": b64(x), "y": b64(y),
    });
    let secret = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let oct_jwk = json!({"kty": "oct", "kid": "k", "alg": "HS256", "k": b64(SECRET.as_bytes())});

    let tokens = |algorithm: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| -> Vec<String> {
        let token = |number: usize| {
            let header = json!({"alg": algorithm, "typ": "JWT", "kid": "k"});
            let message = format!(
                "{}.{}",
                b64(header.to_string().as_bytes()),
                b64(claims(number).as_bytes())
            );
            let signature = b64(&sign(message.as_bytes()));
            format!("{message}.{signature}")
        };
        (0..TOKENS).map(token).collect()
    };
    let rs = tokens("RS256", &|message| {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a signature");
        signature
    });
    let es = tokens("ES256", &|message| {
        ec.sign(&random, message).expect("a signature").as_ref().to_vec()
    });
    let hs = tokens("HS256", &|message| hmac::sign(&secret, message).as_ref().to_vec());
    json!([
        {"jwks": {"keys": [rsa_jwk]}, "tokens": rs},
        {"jwks": {"keys": [ec_jwk]}, "tokens": es},
        {"jwks": {"keys": [oct_jwk]}, "tokens": hs},
    ])
}

fn claims(number: usize) -> String {
    // Good for years, whenever it is run.
    json!({
        "iss": ISSUER, "aud": [AUDIENCE], "sub": format!("auth0|5f7c8ec7c33c6c004bbafe{number:04}"),
        "exp": 4_000_000_000_u64, "iat": 1_700_000_000, "nbf": 1_700_000_000,
        "jti": format!("b0f1a2c3-0000-4000-8000-{number:012}"),
        "scope": "openid profile email orders:read orders:write customers:read",
        "azp": "my_client_id", "email": "alice@example.com",
        "roles": ["admin", "editor", "viewer"],
        "realm_access": {"roles": ["offline_access", "uma_authorization"]},
    })
    .to_string()
}
