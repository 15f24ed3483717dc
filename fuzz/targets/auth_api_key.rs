//! Any key, record and table: nothing is let in that was not issued, and what is read is written as
//! it was.

#![no_main]

use std::time::Duration;

use bartizan::auth::{IssuedKeys, KeyRecord, KeyTable, Scheme, Verdict};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(record) = KeyRecord::from_json(text) {
        let json = record.to_json();
        assert_eq!(KeyRecord::from_json(&json).expect("it was written so").to_json(), json);
    }
    let table = KeyTable::from_json(text).unwrap_or_default();
    let keys = IssuedKeys::new(table, "bz", "live");
    for key in [text.to_owned(), format!("bz_live_{text}")] {
        let verdict = keys.verify(key.as_bytes(), Duration::from_secs(1));
        assert!(matches!(verdict, Verdict::Now(Err(_))), "{key}");
    }
});
