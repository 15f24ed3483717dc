//! Operators that work on values.

use std::cmp::Ordering;

use serde_json::Value;

use super::scope::Data;
use super::{Evaluator, Outcome, Problem};
use crate::rule::Operator;
use crate::rule::val::{Val, compare, loose_equal, number, span, strict_equal, text, truthy};

/// Compares two values; the error says that they cannot be.
#[inline]
pub(in crate::rule) fn holds(
    operator: Operator,
    a: &Val<'_>,
    b: &Val<'_>,
) -> Result<bool, Problem> {
    use Operator as Op;
    let ordered = |holds: fn(Ordering) -> bool| match compare(a, b) {
        Some(order) => Ok(holds(order)),
        // An attribute that is absent is no reason for an error: it is neither less nor more.
        None if a.is_null() || b.is_null() => Ok(false),
        None => Err(Problem::thrown("NaN")),
    };
    match operator {
        Op::Equal => loose_equal(a, b).ok_or_else(|| Problem::thrown("NaN")),
        Op::NotEqual => loose_equal(a, b).map(|equal| !equal).ok_or_else(|| Problem::thrown("NaN")),
        Op::StrictEqual => Ok(strict_equal(a, b)),
        Op::StrictNotEqual => Ok(!strict_equal(a, b)),
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
fn fold<'a>(values: &[Val<'_>], first: f64, step: fn(f64, f64) -> f64) -> Outcome<'a> {
    let mut values = values.iter().map(|value| finite(number(value)));
    // One argument alone is taken as the second: negated, inverted, turned into a number.
    let start = if values.len() > 1 { values.next().unwrap_or(Ok(first))? } else { first };
    let total = values.try_fold(start, |sum, value| finite(step(sum, value?)))?;
    Ok(Val::Float(total))
}

fn list<'a>(items: Vec<Value>) -> Outcome<'a> {
    Ok(Val::owned(Value::Array(items)))
}

impl Evaluator<'_> {
    pub(super) fn apply<'a>(
        &mut self,
        operator: Operator,
        values: &[Val<'_>],
        data: Data<'_>,
    ) -> Outcome<'a> {
        use Operator as Op;
        let at = |index: usize| values.get(index).unwrap_or(&Val::Null);
        let (a, b) = (at(0), at(1));
        match operator {
            // These look at the outside only, or pay for what they keep.
            Op::Not | Op::Truthy | Op::Merge | Op::Cat | Op::Throw => {}
            _ => values.iter().try_for_each(|value| self.scan(value))?,
        }
        match operator {
            Op::Not => Ok(Val::Bool(!truthy(a))),
            Op::Truthy => Ok(Val::Bool(truthy(a))),
            Op::Max | Op::Min => Self::extreme(operator, values),
            Op::Add => fold(values, 0.0, |a, b| a + b),
            Op::Multiply => fold(values, 1.0, |a, b| a * b),
            Op::Subtract if values.is_empty() => Err(Problem::thrown("Invalid Arguments")),
            Op::Subtract => fold(values, 0.0, |a, b| a - b),
            Op::Divide if values.is_empty() => Err(Problem::thrown("Invalid Arguments")),
            Op::Divide => fold(values, 1.0, |a, b| a / b),
            Op::Remainder if values.len() < 2 => Err(Problem::thrown("Invalid Arguments")),
            Op::Remainder => fold(values, 0.0, |a, b| a % b),
            Op::In => Ok(Val::Bool(contains(b, a))),
            Op::StartsWith | Op::EndsWith => Ok(match (a.as_str(), b.as_str()) {
                (Some(a), Some(b)) if operator == Op::StartsWith => Val::Bool(a.starts_with(b)),
                (Some(a), Some(b)) => Val::Bool(a.ends_with(b)),
                _ => Val::Null,
            }),
            Op::Cat => self.cat(values),
            Op::Substr => {
                let chars: Vec<char> = text(a).chars().collect();
                let length = values.get(2).map(number);
                let (from, to) = span(chars.len(), number(b), length);
                let part = chars.get(from..to).unwrap_or_default();
                Ok(Val::owned(Value::String(part.iter().collect())))
            }
            Op::Merge => {
                let mut out = Vec::new();
                for value in values {
                    self.pay(value)?;
                    match value.items() {
                        Some(items) => out.extend_from_slice(&items),
                        None => out.push(value.clone().into_json()),
                    }
                }
                list(out)
            }
            Op::Missing => {
                let names = a.items().map(std::borrow::Cow::into_owned);
                let all = || values.iter().map(|value| value.clone().into_json()).collect();
                list(self.missing(&names.unwrap_or_else(all), data)?)
            }
            Op::MissingSome => {
                let names = b.items().unwrap_or_default();
                let missing = self.missing(&names, data)?;
                let enough = (names.len() - missing.len()) as f64 >= number(a);
                list(if enough { Vec::new() } else { missing })
            }
            Op::Throw => {
                self.pay(a)?;
                Err(match a.clone().into_json() {
                    error @ Value::Object(_) => Problem::Thrown(Box::new(error)),
                    kind => Problem::of(kind),
                })
            }
            // What is left takes rules and is evaluated by `call`.
            _ => Ok(Val::Null),
        }
    }

    fn extreme<'a>(operator: Operator, values: &[Val<'_>]) -> Outcome<'a> {
        let mut best: Option<f64> = None;
        for value in values {
            let value = finite(number(value))?;
            best = Some(match best {
                None => value,
                Some(best) if operator == Operator::Max => best.max(value),
                Some(best) => best.min(value),
            });
        }
        best.map(Val::Float).ok_or_else(|| Problem::thrown("Invalid Arguments"))
    }

    fn cat<'a>(&mut self, values: &[Val<'_>]) -> Outcome<'a> {
        let mut out = String::new();
        for value in values {
            let text = text(value);
            self.burn(text.len())?;
            out.push_str(&text);
        }
        Ok(Val::owned(Value::String(out)))
    }
}

/// Whether `needle` is an item of a list, or a part of a text.
fn contains(hay: &Val<'_>, needle: &Val<'_>) -> bool {
    match hay {
        Val::Tree(Value::Array(items)) => {
            items.iter().any(|item| strict_equal(needle, &Val::of(item)))
        }
        Val::Words(words) => {
            needle.as_str().is_some_and(|needle| words.iter().any(|word| word == needle))
        }
        Val::Text(hay) => hay.contains(&*text(needle)),
        Val::Owned(hay) => contains(&Val::of(hay), needle),
        _ => false,
    }
}
