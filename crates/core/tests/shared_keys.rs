//! Keys of processes that share a secret. A test of its own, since the secret is the process's.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use bartizan_core::Key;
use bartizan_core::key::share;

#[test]
fn keys_are_the_same_in_every_process_of_one_secret() {
    assert!(share(b"fifteen bytes..").unwrap_err().to_string().contains("16 bytes"));

    share(b"a secret of some length").unwrap();
    // What another process has found, so that this one must find it too.
    #[cfg(target_endian = "little")]
    assert_eq!(Key::of("alice").as_u128(), 0xf075_c8bc_6a54_5b5f_99ee_b1c5_80fd_3ccf);
    assert_ne!(Key::of("alice"), Key::of("bob"));
    assert_eq!(Key::of("alice").and(Key::of("bob")), Key::of("alice").and(Key::of("bob")));

    share(b"a secret of some length").unwrap();
    let other = share(b"another secret, too late").unwrap_err().to_string();
    assert!(other.contains("differs"), "{other}");
    assert!(!other.contains("another secret"), "{other}");
}
