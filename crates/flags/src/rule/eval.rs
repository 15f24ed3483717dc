//! Evaluation of a compiled rule.
//!
//! Constants and attributes are borrowed, so that comparing them allocates nothing. Recursion is
//! bounded by the depth of the rule, and work by [`FUEL`].

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::sem_ver::Version;
use super::value::{compare, json, loose_equal, number, span, strict_equal, text, truthy};
use super::{Bucket, MAX_DEPTH, Operator, Path, Rule, Weight};
use crate::bucket::{Bucketing, pick};

/// How many steps one evaluation may take; nested loops over long attributes would else multiply.
const FUEL: usize = 100_000;

/// What an evaluation reads besides the rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) flag: &'a str,
    pub(crate) attributes: &'a Map<String, Value>,
    pub(crate) bucketing: Bucketing,
    /// Seconds since the Unix epoch.
    pub(crate) timestamp: u64,
}

/// What `var` reads.
#[derive(Clone, Copy)]
enum Data<'a> {
    Attributes(&'a Map<String, Value>),
    Item(&'a Value),
    Fold { current: &'a Value, accumulator: &'a Value },
}

type Outcome<'a> = Result<Cow<'a, Value>, &'static str>;

/// Evaluates `rule`; the error says which bound was hit.
pub(crate) fn evaluate<'a>(rule: &'a Rule, scope: Scope<'a>) -> Outcome<'a> {
    Evaluator { scope, fuel: FUEL }.rule(rule, Data::Attributes(scope.attributes))
}

struct Evaluator<'s> {
    scope: Scope<'s>,
    fuel: usize,
}

fn bool<'a>(value: bool) -> Outcome<'a> {
    Ok(Cow::Owned(Value::Bool(value)))
}

impl<'s> Evaluator<'s> {
    fn burn(&mut self, steps: usize) -> Result<(), &'static str> {
        self.fuel = self.fuel.checked_sub(steps).ok_or("the rule takes too many steps")?;
        Ok(())
    }

    /// Pays for every node of a value that is about to be stored in another one, and refuses one
    /// so deep that dropping it could exhaust the stack.
    fn pay(&mut self, value: &Value, depth: usize) -> Result<(), &'static str> {
        if depth > 2 * MAX_DEPTH {
            return Err("the rule builds a value that nests too deep");
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.pay(item, depth + 1))?,
            Value::Object(map) => map.values().try_for_each(|item| self.pay(item, depth + 1))?,
            Value::String(text) => self.burn(text.len() / 16)?,
            _ => {}
        }
        self.burn(1)
    }

    fn rule<'a>(&mut self, rule: &'a Rule, data: Data<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        self.burn(1)?;
        match rule {
            Rule::Literal(value) => Ok(Cow::Borrowed(value)),
            Rule::List(rules) => {
                let mut items = Vec::with_capacity(rules.len());
                for rule in rules {
                    let item = self.rule(rule, data)?;
                    self.pay(&item, 0)?;
                    items.push(item.into_owned());
                }
                Ok(Cow::Owned(Value::Array(items)))
            }
            Rule::FlagKey => Ok(Cow::Owned(Value::from(self.scope.flag))),
            Rule::Timestamp => Ok(Cow::Owned(Value::from(self.scope.timestamp))),
            Rule::Var { path, default } => self.var(path, default.as_deref(), data),
            Rule::ComputedVar { path, default } => {
                let path = Path::new(&text(&*self.rule(path, data)?));
                self.var(&path, default.as_deref(), data)
            }
            Rule::SemVer { relation, operands } => {
                let left = self.rule(&operands[0], data)?;
                let right = self.rule(&operands[1], data)?;
                let (left, right) = (text(&left), text(&right));
                match (Version::parse(&left), Version::parse(&right)) {
                    (Some(left), Some(right)) => bool(relation.holds(&left, &right)),
                    _ => Ok(Cow::Owned(Value::Null)),
                }
            }
            Rule::Fractional { key, buckets } => self.fractional(key.as_deref(), buckets, data),
            Rule::Call(operator, arguments) => self.call(*operator, arguments, data),
        }
    }

    fn var<'a>(&mut self, path: &Path, default: Option<&'a Rule>, data: Data<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        match (self.lookup(path, data)?, default) {
            (Some(value), _) if !value.is_null() => Ok(value),
            (_, Some(default)) => self.rule(default, data),
            _ => Ok(Cow::Owned(Value::Null)),
        }
    }

    fn lookup<'a>(
        &mut self,
        path: &Path,
        data: Data<'a>,
    ) -> Result<Option<Cow<'a, Value>>, &'static str> {
        let mut parts = path.parts.iter().map(String::as_str);
        let start = match data {
            Data::Attributes(map) => match map.get(&path.whole) {
                Some(value) => return Ok(Some(Cow::Borrowed(value))),
                None => match parts.next() {
                    Some(first) => map.get(first),
                    None => {
                        let whole = Value::Object(map.clone());
                        self.pay(&whole, 0)?;
                        return Ok(Some(Cow::Owned(whole)));
                    }
                },
            },
            Data::Item(value) => Some(value),
            Data::Fold { current, accumulator } => match parts.next() {
                Some("current") => Some(current),
                Some("accumulator") => Some(accumulator),
                _ => None,
            },
        };
        let found = parts.try_fold(start, |value, part| {
            Some(match value? {
                Value::Object(map) => map.get(part),
                Value::Array(items) => part.parse::<usize>().ok().and_then(|at| items.get(at)),
                _ => None,
            })
        });
        Ok(found.flatten().map(Cow::Borrowed))
    }

    fn fractional<'a>(
        &mut self,
        key: Option<&'a Rule>,
        buckets: &'a [Bucket],
        data: Data<'a>,
    ) -> Outcome<'a>
    where
        's: 'a,
    {
        let hash = match key {
            Some(key) => {
                let key = self.rule(key, data)?;
                self.scope.bucketing.hash(&key)
            }
            None => {
                let key = self.scope.attributes.get("targetingKey").and_then(Value::as_str);
                key.map(|key| self.scope.bucketing.default_hash(self.scope.flag, key))
            }
        };
        // Without a key nobody can be placed; the default variant is the safe answer.
        let Some(hash) = hash else { return Ok(Cow::Owned(Value::Null)) };
        let mut weights = Vec::with_capacity(buckets.len());
        for bucket in buckets {
            weights.push(match &bucket.weight {
                Weight::Fixed(weight) => *weight,
                // The cast clamps: negative weights and NaN become zero.
                Weight::Computed(rule) => number(&*self.rule(rule, data)?) as u32,
            });
        }
        match pick(hash, &weights).and_then(|index| buckets.get(index)) {
            Some(bucket) => self.rule(&bucket.variant, data),
            None => Ok(Cow::Owned(Value::Null)),
        }
    }

    fn call<'a>(&mut self, operator: Operator, rules: &'a [Rule], data: Data<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        use Operator as Op;
        match operator {
            // These evaluate no more of their arguments than they need.
            Op::If => {
                for pair in rules.chunks(2) {
                    match pair {
                        [condition, then] => {
                            if truthy(&*self.rule(condition, data)?) {
                                return self.rule(then, data);
                            }
                        }
                        [otherwise, ..] => return self.rule(otherwise, data),
                        [] => {}
                    }
                }
                Ok(Cow::Owned(Value::Null))
            }
            Op::And | Op::Or => {
                let mut last = Cow::Owned(Value::Null);
                for rule in rules {
                    last = self.rule(rule, data)?;
                    if truthy(&last) == (operator == Op::Or) {
                        break;
                    }
                }
                Ok(last)
            }
            Op::Map | Op::Filter | Op::All | Op::Some | Op::None => {
                let [list, body] = rules else { return Ok(Cow::Owned(Value::Null)) };
                let list = self.rule(list, data)?;
                self.each(operator, list.as_array().map_or(&[], Vec::as_slice), body)
            }
            Op::Reduce => {
                let [list, body, start] = rules else { return Ok(Cow::Owned(Value::Null)) };
                let list = self.rule(list, data)?;
                let mut accumulator = self.rule(start, data)?.into_owned();
                for current in list.as_array().map_or(&[][..], Vec::as_slice) {
                    let fold = Data::Fold { current, accumulator: &accumulator };
                    let next = self.nested(body, fold)?;
                    accumulator = next;
                }
                Ok(Cow::Owned(accumulator))
            }
            _ => {
                // Two arguments are by far the most frequent; they need no list.
                if let [left, right] = rules {
                    let (left, right) = (self.rule(left, data)?, self.rule(right, data)?);
                    return self.apply(operator, &[left, right], data);
                }
                let values: Vec<_> =
                    rules.iter().map(|rule| self.rule(rule, data)).collect::<Result<_, _>>()?;
                self.apply(operator, &values, data)
            }
        }
    }

    /// Evaluates the body of a loop; what it returns may not borrow from the loop's item.
    fn nested(&mut self, body: &Rule, data: Data<'_>) -> Result<Value, &'static str> {
        let mut inner = Evaluator { scope: self.scope, fuel: self.fuel };
        let result = inner.rule(body, data).and_then(|value| {
            inner.pay(&value, 0)?;
            Ok(value.into_owned())
        });
        self.fuel = inner.fuel;
        result
    }

    fn each<'a>(&mut self, operator: Operator, items: &[Value], body: &Rule) -> Outcome<'a> {
        let mut out = Vec::new();
        for item in items {
            let value = self.nested(body, Data::Item(item))?;
            match operator {
                Operator::Map => out.push(value),
                Operator::Filter if truthy(&value) => {
                    self.pay(item, 0)?;
                    out.push(item.clone());
                }
                Operator::All if !truthy(&value) => return bool(false),
                Operator::Some if truthy(&value) => return bool(true),
                Operator::None if truthy(&value) => return bool(false),
                _ => {}
            }
        }
        match operator {
            // JsonLogic says that nothing holds for all of an empty list.
            Operator::All => bool(!items.is_empty()),
            Operator::Some => bool(false),
            Operator::None => bool(true),
            _ => Ok(Cow::Owned(Value::Array(out))),
        }
    }

    fn apply<'a>(
        &mut self,
        operator: Operator,
        values: &[Cow<'_, Value>],
        data: Data<'_>,
    ) -> Outcome<'a> {
        use Operator as Op;
        const NULL: &Value = &Value::Null;
        let at = |index: usize| values.get(index).map_or(NULL, |value| &**value);
        let (a, b) = (at(0), at(1));
        let ordered = |holds: fn(Ordering) -> bool| {
            let pairs = values.windows(2);
            bool(pairs.into_iter().all(|pair| compare(&pair[0], &pair[1]).is_some_and(holds)))
        };
        let fold = |step: fn(f64, f64) -> f64, start: f64| {
            Ok(Cow::Owned(json(values.iter().map(|value| number(value)).fold(start, step))))
        };
        let null = Ok(Cow::Owned(Value::Null));
        match operator {
            Op::Equal => bool(loose_equal(a, b)),
            Op::NotEqual => bool(!loose_equal(a, b)),
            Op::StrictEqual => bool(strict_equal(a, b)),
            Op::StrictNotEqual => bool(!strict_equal(a, b)),
            Op::Not => bool(!truthy(a)),
            Op::Truthy => bool(truthy(a)),
            Op::Greater => ordered(Ordering::is_gt),
            Op::GreaterOrEqual => ordered(Ordering::is_ge),
            Op::Less => ordered(Ordering::is_lt),
            Op::LessOrEqual => ordered(Ordering::is_le),
            Op::Max => fold(f64::max, f64::NEG_INFINITY),
            Op::Min => fold(f64::min, f64::INFINITY),
            Op::Add => fold(|a, b| a + b, 0.0),
            Op::Multiply => fold(|a, b| a * b, 1.0),
            Op::Subtract if values.len() == 1 => Ok(Cow::Owned(json(-number(a)))),
            Op::Subtract => Ok(Cow::Owned(json(number(a) - number(b)))),
            Op::Divide => Ok(Cow::Owned(json(number(a) / number(b)))),
            Op::Remainder => Ok(Cow::Owned(json(number(a) % number(b)))),
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
                _ => null,
            },
            Op::Cat => {
                let mut out = String::new();
                for value in values {
                    let text = text(value);
                    self.burn(text.len())?;
                    out.push_str(&text);
                }
                Ok(Cow::Owned(Value::String(out)))
            }
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
            // Handled by `call`, since they do not take evaluated arguments.
            Op::If | Op::And | Op::Or | Op::Map | Op::Filter | Op::Reduce => null,
            Op::All | Op::Some | Op::None => null,
        }
    }

    fn missing(&mut self, names: &[Value], data: Data<'_>) -> Result<Vec<Value>, &'static str> {
        let mut missing = Vec::new();
        for name in names {
            self.burn(1)?;
            let found = self.lookup(&Path::new(&text(name)), data)?;
            if found.is_none_or(|value| value.is_null() || value.as_str() == Some("")) {
                missing.push(name.clone());
            }
        }
        Ok(missing)
    }
}

#[cfg(test)]
mod tests;
