//! Issuers of tokens, signing with keys that are made anew for each test.

#![allow(dead_code, reason = "each test file uses its share")]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

pub(crate) mod issuer;

use std::convert::Infallible;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use aws_lc_rs::{hmac, rsa};
use axum::body::Body;
use bartizan_auth::{AuthLayer, Authenticator, Clock, Jwt, Keys, Principal};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt};

pub(crate) const ISSUER: &str = "https://id.test";

pub(crate) enum Signer {
    Ed(Ed25519KeyPair),
    Es(EcdsaKeyPair),
    Hs(Vec<u8>),
    Rs(RsaKeyPair),
}

impl Signer {
    pub(crate) fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn es() -> Self {
        Self::Es(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn rs() -> Self {
        Self::Rs(rsa::KeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn alg(&self) -> &'static str {
        match self {
            Self::Ed(_) => "EdDSA",
            Self::Es(_) => "ES256",
            Self::Hs(_) => "HS256",
            Self::Rs(_) => "RS256",
        }
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(pair.public_key().as_ref())})
            }
            Self::Es(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": b64(x), "y": b64(y)})
            }
            Self::Hs(secret) => {
                json!({"kty": "oct", "alg": "HS256", "kid": kid, "k": b64(secret)})
            }
            Self::Rs(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "use": "sig", "kid": kid, "n": b64(&public.n), "e": b64(&public.e)})
            }
        }
    }

    pub(crate) fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Ed(pair) => pair.public_key().as_der().unwrap(),
            Self::Es(pair) => pair.public_key().as_der().unwrap(),
            Self::Rs(pair) => pair.public_key().as_der().unwrap(),
            Self::Hs(_) => panic!("a secret is not public"),
        };
        let base64 = STANDARD.encode(der.as_ref());
        let lines: Vec<_> =
            base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    pub(crate) fn sign(&self, header: &Value, payload: &Value) -> String {
        self.sign_text(&header.to_string(), &payload.to_string())
    }

    pub(crate) fn sign_text(&self, header: &str, payload: &str) -> String {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Self::Es(pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Hs(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
            }
            Self::Rs(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let message = message.as_bytes();
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token that is valid for a minute of `clock`, with `change` made to its claims.
    pub(crate) fn token(&self, kid: &str, clock: &Clock, change: &Value) -> String {
        let header = json!({"alg": self.alg(), "kid": kid, "typ": "JWT"});
        self.sign(&header, &claims(clock, change))
    }
}

/// Good claims, with `change` made to them; what is changed to null is left out.
pub(crate) fn claims(clock: &Clock, change: &Value) -> Value {
    let expires = (clock.unix() + Duration::from_secs(60)).as_secs();
    let mut claims = json!({"iss": ISSUER, "aud": "api", "sub": "alice", "exp": expires});
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

pub(crate) const KEY: &str = "bz_0123456789abcdefghijklmn";

/// Answers with the caller's subject, and the field `authorization` as it came.
pub(crate) async fn whoami(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let subject = request.extensions().get::<Principal>().map_or("nobody", Principal::subject);
    let seen = request.headers().contains_key("authorization");
    Ok(Response::builder()
        .header("who", subject)
        .header("seen", seen.to_string())
        .body(Body::empty())
        .unwrap())
}

pub(crate) async fn ask(auth: &Authenticator, request: http::request::Builder) -> Response<()> {
    let service = ServiceBuilder::new().layer(AuthLayer::new(auth.clone())).service_fn(whoami);
    service.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().map(drop)
}

pub(crate) async fn status(auth: &Authenticator, token: &str) -> StatusCode {
    ask(auth, bearer(token)).await.status()
}

/// As [`status`], if that can be said without a wait.
pub(crate) fn at_once(auth: &Authenticator, token: &str) -> Option<StatusCode> {
    let asked = std::pin::pin!(status(auth, token));
    match asked.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(status) => Some(status),
        Poll::Pending => None,
    }
}

pub(crate) fn bearer(token: &str) -> http::request::Builder {
    Request::get("/").header("authorization", format!("Bearer {token}"))
}

pub(crate) fn with_keys(keys: impl Into<Keys>, clock: &Clock) -> Authenticator {
    Authenticator::new("api").scheme(Jwt::new(keys, ISSUER, "api")).clock(clock.clone())
}
