//! JavaScript's coercions, as far as JsonLogic needs them.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

/// JsonLogic's truth: empty arrays are false, the string `"0"` is true.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(_) => true,
    }
}

/// The number a value stands for; NaN when it stands for none.
pub(super) fn number(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Value::String(text) => match text.trim() {
            "" => 0.0,
            // Rust would also read "inf" and "nan", which JavaScript does not.
            text if text.bytes().any(|byte| matches!(byte, b'i' | b'I' | b'n' | b'N')) => f64::NAN,
            text => text.parse().unwrap_or(f64::NAN),
        },
        Value::Array(_) | Value::Object(_) => f64::NAN,
    }
}

/// A number as JSON: integral values as integers, and null for what JSON cannot hold.
pub(super) fn json(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// The text a value stands for in `cat`, `in` and `substr`.
pub(super) fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::String(text) => Cow::Borrowed(text),
        // JavaScript joins arrays with a comma and prints a useless word for objects; JSON is
        // the more useful of the two for both.
        other => Cow::Owned(other.to_string()),
    }
}

/// `===`, but structural for arrays and objects.
pub(super) fn strict_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (left, right) => left == right,
    }
}

/// `==`: values of different types are compared as numbers. `None` if one of them stands for none.
///
/// An attribute that is absent is null, and that is no reason for an error: it equals nothing but
/// null and what counts as zero.
pub(super) fn loose_equal(left: &Value, right: &Value) -> Option<bool> {
    match (left, right) {
        (Value::String(a), Value::String(b)) => Some(a == b),
        (Value::Number(_), Value::Number(_)) => Some(strict_equal(left, right)),
        (Value::Null, Value::Null) => Some(true),
        _ => {
            let (a, b) = (number(left), number(right));
            let absent = left.is_null() || right.is_null();
            (absent || !(a.is_nan() || b.is_nan())).then_some(a == b)
        }
    }
}

/// `<`, `>` and their like: strings by code point, everything else as numbers. `None` if one
/// stands for none.
pub(super) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => number(left).partial_cmp(&number(right)),
    }
}

/// The bounds of `substr`, whose start and length both count from the end when negative.
pub(super) fn span(chars: usize, start: f64, length: Option<f64>) -> (usize, usize) {
    let chars_f = chars as f64;
    // Casts saturate, so that neither infinity nor NaN leaves the text.
    let from = if start < 0.0 { chars_f + start } else { start } as usize;
    let from = from.min(chars);
    let to = match length {
        None => chars,
        Some(length) if length < 0.0 => (chars_f + length) as usize,
        Some(length) => from.saturating_add(length as usize),
    };
    (from, to.clamp(from, chars))
}
