//! Operators that work on values.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::scope::Data;
use super::{Evaluator, Outcome, Problem, bool};
use crate::rule::Operator;
use crate::rule::value::{compare, json, loose_equal, number, span, strict_equal, text, truthy};

const NULL: &Value = &Value::Null;

/// Compares two values; the error says that they cannot be.
#[inline]
pub(super) fn holds(operator: Operator, a: &Value, b: &Value) -> Result<bool, Problem> {
    use Operator as Op;
    let ordered = |holds: fn(Ordering) -> bool| {
        compare(a, b).map(holds).ok_or_else(|| Problem::thrown("NaN"))
    };
    match operator {
        Op::StrictEqual => Ok(strict_equal(a, b)),
        Op::StrictNotEqual => Ok(!strict_equal(a, b)),
        Op::Equal => loose_equal(a, b).ok_or_else(|| Problem::thrown("NaN")),
        Op::NotEqual => loose_equal(a, b).map(|equal| !equal).ok_or_else(|| Problem::thrown("NaN")),
        Op::Greater => ordered(Ordering::is_gt),
        Op::GreaterOrEqual => ordered(Ordering::is_ge),
        Op::Less => ordered(Ordering::is_lt),
        _ => ordered(Ordering::is_le),
    }
}

/// A number that JavaScript would call one: what is not is an error, which `try` can catch.
fn finite(number: f64) -> Result<f64, Problem> {
    if number.is_finite() { Ok(number) } else { Err(Problem::thrown("NaN")) }
}

/// Arithmetic from the left.
fn fold<'a>(values: &[Cow<'_, Value>], first: f64, step: fn(f64, f64) -> f64) -> Outcome<'a> {
    let mut values = values.iter().map(|value| finite(number(value)));
    // One argument alone is taken as the second: negated, inverted, turned into a number.
    let start = if values.len() > 1 { values.next().unwrap_or(Ok(first))? } else { first };
    let total = values.try_fold(start, |sum, value| finite(step(sum, value?)))?;
    Ok(Cow::Owned(json(total)))
}

impl Evaluator<'_> {
    pub(super) fn apply<'a>(
        &mut self,
        operator: Operator,
        values: &[Cow<'_, Value>],
        data: Data<'_>,
    ) -> Outcome<'a> {
        use Operator as Op;
        let at = |index: usize| values.get(index).map_or(NULL, |value| &**value);
        let (a, b) = (at(0), at(1));
        match operator {
            Op::Not => bool(!truthy(a)),
            Op::Truthy => bool(truthy(a)),
            Op::Max | Op::Min => self.extreme(operator, values),
            Op::Add => fold(values, 0.0, |a, b| a + b),
            Op::Multiply => fold(values, 1.0, |a, b| a * b),
            Op::Subtract if values.is_empty() => Err(Problem::thrown("Invalid Arguments")),
            Op::Subtract => fold(values, 0.0, |a, b| a - b),
            Op::Divide if values.is_empty() => Err(Problem::thrown("Invalid Arguments")),
            Op::Divide => fold(values, 1.0, |a, b| a / b),
            Op::Remainder if values.len() < 2 => Err(Problem::thrown("Invalid Arguments")),
            Op::Remainder => fold(values, 0.0, |a, b| a % b),
            Op::In => match b {
                Value::Array(items) => bool(items.iter().any(|item| strict_equal(a, item))),
                Value::String(hay) => bool(hay.contains(&*text(a))),
                _ => bool(false),
            },
            Op::StartsWith | Op::EndsWith => match (a, b) {
                (Value::String(a), Value::String(b)) if operator == Op::StartsWith => {
                    bool(a.starts_with(b))
                }
                (Value::String(a), Value::String(b)) => bool(a.ends_with(b)),
                _ => Ok(Cow::Owned(Value::Null)),
            },
            Op::Cat => self.cat(values),
            Op::Substr => {
                let chars: Vec<char> = text(a).chars().collect();
                let length = values.get(2).map(|value| number(value));
                let (from, to) = span(chars.len(), number(b), length);
                let part = chars.get(from..to).unwrap_or_default();
                Ok(Cow::Owned(Value::String(part.iter().collect())))
            }
            Op::Merge => {
                let mut out = Vec::new();
                for value in values {
                    self.pay(value, 0)?;
                    match &**value {
                        Value::Array(items) => out.extend_from_slice(items),
                        other => out.push(other.clone()),
                    }
                }
                Ok(Cow::Owned(Value::Array(out)))
            }
            Op::Missing => {
                let names = a.as_array().cloned();
                let names = names.unwrap_or_else(|| values.iter().map(|v| (**v).clone()).collect());
                Ok(Cow::Owned(Value::Array(self.missing(&names, data)?)))
            }
            Op::MissingSome => {
                let names = b.as_array().map_or(&[][..], Vec::as_slice);
                let missing = self.missing(names, data)?;
                let enough = (names.len() - missing.len()) as f64 >= number(a);
                Ok(Cow::Owned(Value::Array(if enough { Vec::new() } else { missing })))
            }
            Op::Throw => {
                self.pay(a, 0)?;
                Err(Problem::Thrown(match a {
                    Value::Object(_) => a.clone(),
                    other => Problem::object(other.clone()),
                }))
            }
            // What is left takes rules and is evaluated by `call`.
            _ => Ok(Cow::Owned(Value::Null)),
        }
    }

    fn extreme<'a>(&mut self, operator: Operator, values: &[Cow<'_, Value>]) -> Outcome<'a> {
        let mut best: Option<f64> = None;
        for value in values {
            let value = finite(number(value))?;
            best = Some(match best {
                None => value,
                Some(best) if operator == Operator::Max => best.max(value),
                Some(best) => best.min(value),
            });
        }
        best.map(|best| Cow::Owned(json(best))).ok_or_else(|| Problem::thrown("Invalid Arguments"))
    }

    fn cat<'a>(&mut self, values: &[Cow<'_, Value>]) -> Outcome<'a> {
        let mut out = String::new();
        for value in values {
            let text = text(value);
            self.burn(text.len())?;
            out.push_str(&text);
        }
        Ok(Cow::Owned(Value::String(out)))
    }
}
