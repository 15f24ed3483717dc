//! A secret that comes too late. A test of its own, since keys are the process's.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use bartizan_core::Key;
use bartizan_core::key::share;

#[test]
fn a_secret_comes_before_the_first_key_or_not_at_all() {
    let before = Key::of("alice");
    let late = share(b"a secret of some length").unwrap_err().to_string();
    assert!(late.contains("at the start of `main`"), "{late}");
    assert_eq!(Key::of("alice"), before);
}
