//! A quota is read or refused, and is read again as it is written.

#![no_main]

use bartizan::rate_limit::{Key, Quota, RateLimiter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(quota) = text.parse::<Quota>() else { return };
    assert_eq!(quota.to_string().parse::<Quota>(), Ok(quota), "{text}");
    // Whatever it is, the first request is within it.
    assert!(RateLimiter::new(quota).memory(64).check(Key::of("a")).allowed, "{text}");
});
