//! Any document of keys: it is refused, or all that is taken of it verifies nothing that is empty.

#![no_main]

use bartizan::auth::{Algorithm, KeySet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for set in [KeySet::from_jwks(text), KeySet::from_secret_jwks(text)].into_iter().flatten() {
        assert!(set.len() > 0 && set.len() + set.skipped().len() <= 128);
        assert!(set.verify("e30.e30.").is_err() && set.verify("").is_err());
    }
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        let _ = KeySet::public_pem(algorithm, text);
    }
});
