//! Any rule, over any context: an answer within the bounds, and the same one twice.

#![no_main]

use bartizan::flags::{ErrorCode, EvaluationContext, Flags};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|input: (&str, &str)| {
    let (rule, value) = input;
    let Ok(rule) = serde_json::from_str::<Value>(rule) else { return };
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    let document = json!({
        "flags": {"f": {"state": "ENABLED", "variants": {"a": "a", "b": "b"}, "targeting": rule}},
        "$evaluators": {"r": {"var": "a"}},
    });
    let Ok(flags) = Flags::from_json(&document.to_string()) else { return };
    let context = EvaluationContext::new().targeting_key("user").attribute("a", value);
    // The same rule where it is not compiled to a direct form.
    let wrapped = json!({"or": [document["flags"]["f"]["targeting"]]});
    // The time is the only thing that may differ, and it does not reach a variant's name.
    let first = flags.string_details("f", &context, "none");
    assert_eq!(first.reason, flags.string_details("f", &context, "none").reason);
    let mut document = document;
    document["flags"]["f"]["targeting"] = wrapped;
    if let Ok(flags) = Flags::from_json(&document.to_string()) {
        // One level more may be one too many.
        if flags.problems().is_empty() && first.error != Some(ErrorCode::ParseError) {
            assert_eq!(first.variant, flags.string_details("f", &context, "none").variant);
        }
    }
});
