//! What ten million distinct bad credentials leave of memory: nothing.
//!
//! A quarter are tokens by keys that the issuer does not have, a quarter are API keys that were never
//! issued, and nearly half are no credentials at all. One in 64 has a signature that does not fit: to
//! see that takes longer than all else.
//! Prints the resident memory beyond what the process had after the first hundred thousand, in MiB, and
//! what the authenticator says that it remembers, in bytes; and exits with 1 if they have grown.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::process::ExitCode;
use std::task::{Context, Poll};

use bartizan::auth::{Authenticator, Decision, HttpClient, IssuedKeys, Jwks, Jwt, KeyTable, Keys};
use bartizan::core::Engine;
use bartizan_benches::Bars;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use tower_service::Service;

const CREDENTIALS: u32 = 10_000_000;
const WARM_UP: u32 = 100_000;

/// Answers every question with the same key.
#[derive(Clone)]
struct Issuer;

impl Service<Request<Full<Bytes>>> for Issuer {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        let document = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        ready(Ok(Response::new(Full::from(document))))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let client = HttpClient::new(Issuer);
    let jwks = Jwks::new(client, "https://id.example/keys").expect("an address");
    let keys: Keys = jwks.start();
    keys.ready().await;
    let auth = Authenticator::new("flood")
        .scheme(Jwt::new(keys, "https://id.example", "api"))
        .scheme(IssuedKeys::new(KeyTable::new(), "bz", "live").bearer());
    let (mut before, mut remembered) = (None, 0.0);
    let mut headers = HeaderMap::new();
    for number in 0..CREDENTIALS {
        if number == WARM_UP {
            (before, remembered) = (resident(), figure(&auth));
        }
        let value = HeaderValue::try_from(bad(number)).expect("ASCII");
        headers.insert("authorization", value);
        let decision = auth.decide(&Method::GET, &headers).await;
        assert!(matches!(decision, Decision::Refused(_)), "{decision:?}");
        if number % 4096 == 0 {
            // Whatever else there is to do gets its turn.
            tokio::task::yield_now().await;
        }
    }
    let mut bars = Bars::default();
    match (before, resident()) {
        (Some(before), Some(after)) => {
            let grown = after.saturating_sub(before) as f64 / f64::from(1 << 20);
            bars.at_most("10m-bad-credentials-resident-mib", grown, 1.0);
        }
        _ => println!("no /proc: resident memory is not known here"),
    }
    bars.at_most("10m-bad-credentials-remembered-bytes", figure(&auth) - remembered, 0.0);
    bars.exit()
}

fn figure(auth: &Authenticator) -> f64 {
    auth.snapshot().value("bartizan_auth_remembered_bytes", "").unwrap_or(f64::NAN)
}

/// The credential of this number.
fn bad(number: u32) -> String {
    match (number % 4, number % 64) {
        (0, _) => format!("Bearer {}.e30.AAAA", header(number)),
        (_, 1) => {
            format!("Bearer eyJhbGciOiJFZERTQSIsImtpZCI6ImsifQ.{number:012}.{}", "A".repeat(86))
        }
        (2, _) => format!("Bearer bz_live_{number:012}_{}", "A".repeat(49)),
        _ => format!("Bearer {number:064}"),
    }
}

/// `{"alg":"EdDSA","kid":"<number>"}` in base64url.
fn header(number: u32) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let text = format!(r#"{{"alg":"EdDSA","kid":"{number:012}"}}"#);
    let digit = |bits: u32| char::from(DIGITS[(bits & 63) as usize]);
    let group = |bytes: &[u8]| {
        let word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        [18, 12, 6, 0].map(|shift| digit(word >> shift))
    };
    assert_eq!(text.len() % 3, 0);
    text.as_bytes().chunks(3).flat_map(group).collect()
}

/// Resident memory, in bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}
