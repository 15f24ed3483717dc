//! Any fields, to an authenticator of all schemes: nobody is let in, and nothing panics.

#![no_main]

use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use bartizan::auth::{
    Algorithm, AllOf, ApiKeys, Authenticator, Basic, Decision, IssuedKeys, Jwt, KeySet, KeyTable,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

static AUTH: LazyLock<Authenticator> = LazyLock::new(|| {
    let keys = KeySet::secret(Algorithm::Hs256, &[7; 32]).expect("long enough");
    let second = ApiKeys::new().header(HeaderName::from_static("x-second"));
    Authenticator::new("fuzz")
        .scheme(Jwt::new(keys, "https://id.test", "fuzz"))
        .scheme(IssuedKeys::new(KeyTable::new(), "bz", "live").bearer())
        .scheme(Basic::new().expect("randomness"))
        .scheme(AllOf::new(ApiKeys::new()).and(second))
});

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().build().expect("a runtime"));

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    let names = ["authorization", "x-api-key", "x-second"];
    for (index, value) in data.split(|byte| *byte == b'\n').take(4).enumerate() {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(names[index % 3], value);
        }
    }
    // A password has to be hashed elsewhere, by a runtime: that is not waited for here.
    let _runtime = RUNTIME.enter();
    let decision = pin!(AUTH.decide(&Method::GET, &headers));
    if let Poll::Ready(decision) = decision.poll(&mut Context::from_waker(Waker::noop())) {
        assert!(matches!(decision, Decision::Refused(_)), "{decision:?}");
    }
});
