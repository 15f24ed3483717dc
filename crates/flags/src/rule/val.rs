//! Values while a rule runs, and JavaScript's coercions as far as JsonLogic needs them.

use std::borrow::Cow;
use std::cmp::Ordering;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Number, Value};

/// A value while a rule runs: three words, borrowed from the rule or the context wherever it can be,
/// so that passing and comparing values allocates nothing.
#[derive(Clone, Debug)]
pub(crate) enum Val<'a> {
    Null,
    Bool(bool),
    /// A number that was computed.
    Float(f64),
    Number(&'a Number),
    Text(&'a str),
    /// An array or an object.
    Tree(&'a Value),
    /// A list that is kept as text, as a caller's roles.
    Words(&'a [String]),
    /// The fields of a request that rules may read.
    Headers(&'a [(HeaderName, HeaderValue)]),
    /// What was built by the rule.
    Owned(Box<Value>),
}

impl<'a> Val<'a> {
    #[inline]
    pub(crate) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::Text(text),
            Value::Array(_) | Value::Object(_) => Self::Tree(value),
        }
    }

    /// The same value, borrowed.
    fn view(&self) -> Val<'_> {
        match self {
            Self::Owned(value) => Val::of(value),
            Self::Null => Val::Null,
            Self::Bool(flag) => Val::Bool(*flag),
            Self::Float(number) => Val::Float(*number),
            Self::Number(number) => Val::Number(number),
            Self::Text(text) => Val::Text(text),
            Self::Tree(value) => Val::Tree(value),
            Self::Words(words) => Val::Words(words),
            Self::Headers(headers) => Val::Headers(headers),
        }
    }

    /// As JSON, to keep.
    pub(crate) fn into_json(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(flag),
            Self::Float(number) => json(number),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::from(text),
            Self::Tree(value) => value.clone(),
            Self::Words(words) => Value::from(words),
            Self::Headers(headers) => {
                let text = |(name, value): &(HeaderName, HeaderValue)| {
                    Some((name.as_str().to_owned(), Value::from(value.to_str().ok()?)))
                };
                Value::Object(headers.iter().filter_map(text).collect())
            }
            Self::Owned(value) => *value,
        }
    }

    /// As JSON, to look at.
    pub(crate) fn as_json(&self) -> Cow<'_, Value> {
        match self {
            Self::Tree(value) => Cow::Borrowed(value),
            Self::Owned(value) => Cow::Borrowed(value),
            other => Cow::Owned(other.clone().into_json()),
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.view(), Val::Null)
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Owned(value) => value.as_str(),
            _ => None,
        }
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Option<Cow<'_, [Value]>> {
        match self.view() {
            Val::Tree(Value::Array(items)) => Some(Cow::Borrowed(items)),
            Val::Words(words) => {
                Some(Cow::Owned(words.iter().map(|word| Value::from(word.as_str())).collect()))
            }
            _ => None,
        }
    }

    /// What stands under `key`.
    pub(super) fn member(self, key: &str) -> Option<Self> {
        match self {
            Self::Tree(value) => member(value, key).map(Self::of),
            Self::Words(words) => Some(Self::Text(words.get(key.parse::<usize>().ok()?)?)),
            Self::Headers(headers) => {
                let (_, value) = headers.iter().find(|(name, _)| name.as_str() == key)?;
                value.to_str().ok().map(Self::Text)
            }
            Self::Owned(value) => member(&value, key).map(|found| Self::owned(found.clone())),
            _ => None,
        }
    }

    pub(super) fn owned(value: Value) -> Self {
        Self::Owned(Box::new(value))
    }
}

fn member<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(key),
        Value::Array(items) => key.parse::<usize>().ok().and_then(|at| items.get(at)),
        _ => None,
    }
}

/// JsonLogic's truth: empty arrays are false, the string `"0"` is true.
#[inline]
pub(super) fn truthy(value: &Val<'_>) -> bool {
    match value {
        Val::Bool(flag) => *flag,
        other => match other.view() {
            Val::Null => false,
            Val::Bool(flag) => flag,
            Val::Float(number) => number != 0.0,
            Val::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
            Val::Text(text) => !text.is_empty(),
            Val::Tree(Value::Array(items)) => !items.is_empty(),
            Val::Words(words) => !words.is_empty(),
            Val::Tree(_) | Val::Headers(_) | Val::Owned(_) => true,
        },
    }
}

/// The number a value stands for; NaN when it stands for none.
pub(super) fn number(value: &Val<'_>) -> f64 {
    match value.view() {
        Val::Null => 0.0,
        Val::Bool(flag) => f64::from(u8::from(flag)),
        Val::Float(number) => number,
        Val::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Val::Text(text) => match text.trim() {
            "" => 0.0,
            // Rust would also read "inf" and "nan", which JavaScript does not.
            text if text.bytes().any(|byte| matches!(byte, b'i' | b'I' | b'n' | b'N')) => f64::NAN,
            text => text.parse().unwrap_or(f64::NAN),
        },
        Val::Tree(_) | Val::Words(_) | Val::Headers(_) | Val::Owned(_) => f64::NAN,
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
pub(super) fn text<'a>(value: &'a Val<'_>) -> Cow<'a, str> {
    match value.view() {
        Val::Null => Cow::Borrowed(""),
        Val::Bool(true) => Cow::Borrowed("true"),
        Val::Bool(false) => Cow::Borrowed("false"),
        Val::Text(text) => Cow::Borrowed(text),
        // JavaScript joins arrays with a comma and prints a useless word for objects; JSON is
        // the more useful of the two for both.
        other => Cow::Owned(other.into_json().to_string()),
    }
}

/// `===`, but structural for arrays and objects.
pub(super) fn strict_equal(left: &Val<'_>, right: &Val<'_>) -> bool {
    match (left.view(), right.view()) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::Text(a), Val::Text(b)) => a == b,
        (Val::Number(a), Val::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Val::Number(a), Val::Float(b)) | (Val::Float(b), Val::Number(a)) => a.as_f64() == Some(b),
        (Val::Float(a), Val::Float(b)) => a == b,
        (Val::Tree(a), Val::Tree(b)) => a == b,
        (
            a @ (Val::Tree(_) | Val::Words(_) | Val::Headers(_)),
            b @ (Val::Tree(_) | Val::Words(_) | Val::Headers(_)),
        ) => a.as_json() == b.as_json(),
        _ => false,
    }
}

/// `==`: values of different types are compared as numbers. `None` if one of them stands for none.
///
/// An attribute that is absent is null, and that is no reason for an error: it equals nothing but
/// null and what counts as zero.
#[inline]
pub(super) fn loose_equal(left: &Val<'_>, right: &Val<'_>) -> Option<bool> {
    match (left, right) {
        (Val::Text(a), Val::Text(b)) => Some(a == b),
        _ => loose_equal_otherwise(&left.view(), &right.view()),
    }
}

fn loose_equal_otherwise(left: &Val<'_>, right: &Val<'_>) -> Option<bool> {
    match (left, right) {
        (Val::Text(a), Val::Text(b)) => Some(a == b),
        (Val::Null, Val::Null) => Some(true),
        (Val::Number(_) | Val::Float(_), Val::Number(_) | Val::Float(_)) => {
            Some(strict_equal(left, right))
        }
        _ => {
            let (a, b) = (number(left), number(right));
            let absent = matches!(left, Val::Null) || matches!(right, Val::Null);
            (absent || !(a.is_nan() || b.is_nan())).then_some(a == b)
        }
    }
}

/// `<`, `>` and their like: strings by code point, everything else as numbers. `None` if one
/// stands for none.
pub(super) fn compare(left: &Val<'_>, right: &Val<'_>) -> Option<Ordering> {
    match (left.as_str(), right.as_str()) {
        (Some(a), Some(b)) => Some(a.cmp(b)),
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

/// An object of one member, as errors are.
pub(super) fn object(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

const _: () = assert!(size_of::<Val<'_>>() <= 24, "values are handed about all the time");
