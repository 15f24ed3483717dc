//! Any token, and any header and payload in the form of one, by keys of all families: none is
//! believed, since nobody here signs.

#![no_main]

use std::sync::LazyLock;

use bartizan::auth::KeySet;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<[KeySet; 2]> = LazyLock::new(|| {
    let public = KeySet::from_jwks(
        r#"{"keys":[
            {"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty":"EC","crv":"P-256","kid":"ec","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
        ]}"#,
    );
    let secret = KeySet::from_secret_jwks(
        r#"{"keys":[{"kty":"oct","alg":"HS256","kid":"hs","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}"#,
    );
    [public.expect("keys"), secret.expect("a key")]
});

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut part = || URL_SAFE_NO_PAD.encode(parts.next().unwrap_or_default());
    let built = format!("{}.{}.{}", part(), part(), part());
    let whole = String::from_utf8_lossy(data);
    for keys in &*KEYS {
        assert!(keys.verify(&built).is_err(), "{built}");
        assert!(keys.verify(&whole).is_err(), "{whole}");
    }
});
