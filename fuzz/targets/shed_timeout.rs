//! What requests say about how long their callers wait.

#![no_main]

use bartizan::shed::Deadlines;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let name = HeaderName::from_static("x-timeout");
    let mut fields = HeaderMap::new();
    fields.insert("grpc-timeout", value.clone());
    let grpc = Deadlines::grpc().timeout(&fields);
    fields.insert(&name, value);
    // Both are read by the same words, but for bare milliseconds.
    assert_eq!(Deadlines::header(name).timeout(&fields), grpc);
    if let Some(timeout) = grpc {
        assert!(timeout.as_secs() <= 99_999_999 * 3600);
    }
});
