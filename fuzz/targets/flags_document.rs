//! A document is read or refused, flag by flag, and whatever is left of it can be evaluated.

#![no_main]

use bartizan::flags::{EvaluationContext, Flags};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let flags = Flags::empty();
    let nobody = EvaluationContext::new();
    if flags.replace(text).is_ok() {
        let problems = flags.problems().len();
        assert!(flags.replace(text).is_ok(), "the same document is refused the second time");
        assert_eq!(flags.problems().len(), problems, "{text}");
    }
    let _ = flags.bool_details("a", &nobody, true);
    let _ = flags.object_details("", &nobody, serde_json::Value::Null);
});
