//! Evaluation of a compiled rule.
//!
//! Constants and attributes are borrowed, so that comparing them allocates nothing. Recursion is
//! bounded by the depth of the rule, and work by [`FUEL`].

mod apply;
mod list;
mod scope;

use std::borrow::Cow;
use std::fmt;

use bartizan_core::Clock;
use serde_json::{Map, Value};

use self::scope::{Data, Frame};
use super::sem_ver::Version;
use super::value::{number, text};
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
    /// Read only by rules that ask for `$flagd.timestamp`.
    pub(crate) clock: &'a Clock,
}

/// Why an evaluation came to nothing.
#[derive(Debug)]
pub(crate) enum Problem {
    /// A bound was hit.
    Bound(&'static str),
    /// What `throw` or an operator threw: an object whose `type` says what, as `try` sees it.
    Thrown(Value),
}

impl Problem {
    /// An error of an operator, under JsonLogic's name for it.
    #[cold]
    fn thrown(kind: &'static str) -> Self {
        Self::Thrown(Self::object(Value::from(kind)))
    }

    fn object(kind: Value) -> Value {
        Value::Object(Map::from_iter([("type".to_owned(), kind)]))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound(problem) => f.write_str(problem),
            // The text of what is thrown may come from the request.
            Self::Thrown(_) => f.write_str("the rule threw an error"),
        }
    }
}

type Outcome<'a> = Result<Cow<'a, Value>, Problem>;

/// Evaluates `rule`; the error says why there is no result.
#[inline]
pub(crate) fn evaluate<'a>(rule: &'a Rule, scope: Scope<'a>) -> Outcome<'a> {
    let frame = Frame::root(Data::Attributes(scope.attributes));
    Evaluator { scope, fuel: FUEL }.rule(rule, frame)
}

struct Evaluator<'s> {
    scope: Scope<'s>,
    fuel: usize,
}

fn bool<'a>(value: bool) -> Outcome<'a> {
    Ok(Cow::Owned(Value::Bool(value)))
}

impl<'s> Evaluator<'s> {
    fn burn(&mut self, steps: usize) -> Result<(), Problem> {
        self.fuel =
            self.fuel.checked_sub(steps).ok_or(Problem::Bound("the rule takes too many steps"))?;
        Ok(())
    }

    /// Pays for every node of a value that is about to be stored in another one, and refuses one
    /// so deep that dropping it could exhaust the stack.
    fn pay(&mut self, value: &Value, depth: usize) -> Result<(), Problem> {
        if depth > 2 * MAX_DEPTH {
            return Err(Problem::Bound("the rule builds a value that nests too deep"));
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.pay(item, depth + 1))?,
            Value::Object(map) => map.values().try_for_each(|item| self.pay(item, depth + 1))?,
            Value::String(text) => self.burn(text.len() / 16)?,
            _ => {}
        }
        self.burn(1)
    }

    fn rule<'a>(&mut self, rule: &'a Rule, frame: Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        self.burn(1)?;
        match rule {
            Rule::Literal(value) => Ok(Cow::Borrowed(value)),
            Rule::List(rules) => {
                let mut items = Vec::with_capacity(rules.len());
                for rule in rules {
                    let item = self.rule(rule, frame)?;
                    self.pay(&item, 0)?;
                    items.push(item.into_owned());
                }
                Ok(Cow::Owned(Value::Array(items)))
            }
            Rule::FlagKey => Ok(Cow::Owned(Value::from(self.scope.flag))),
            Rule::Timestamp => Ok(Cow::Owned(Value::from(self.scope.clock.unix().as_secs()))),
            Rule::Var { path, default } => self.var(path, default.as_deref(), frame),
            Rule::ComputedVar { path, default } => {
                let path = Path::new(&text(&*self.rule(path, frame)?));
                self.var(&path, default.as_deref(), frame)
            }
            Rule::SemVer { relation, operands } => {
                let left = self.rule(&operands[0], frame)?;
                let right = self.rule(&operands[1], frame)?;
                let (left, right) = (text(&left), text(&right));
                match (Version::parse(&left), Version::parse(&right)) {
                    (Some(left), Some(right)) => bool(relation.holds(&left, &right)),
                    _ => Ok(Cow::Owned(Value::Null)),
                }
            }
            Rule::Fractional { key, buckets, total } => {
                self.fractional(key.as_deref(), buckets, *total, frame)
            }
            Rule::Val { up, keys } => self.val(*up, keys, frame),
            Rule::Call(operator, arguments) => self.call(*operator, arguments, frame),
            Rule::Spread(operator, argument) => self.spread(*operator, argument, frame),
        }
    }

    fn fractional<'a>(
        &mut self,
        key: Option<&'a Rule>,
        buckets: &'a [Bucket],
        total: Option<u32>,
        frame: Frame<'a>,
    ) -> Outcome<'a>
    where
        's: 'a,
    {
        let hash = match key {
            Some(key) => {
                let key = self.rule(key, frame)?;
                self.scope.bucketing.hash(&key)
            }
            None => {
                let key = self.scope.attributes.get("targetingKey").and_then(Value::as_str);
                key.map(|key| self.scope.bucketing.default_hash(self.scope.flag, key))
            }
        };
        // Without a key nobody can be placed; the default variant is the safe answer.
        let Some(hash) = hash else { return Ok(Cow::Owned(Value::Null)) };
        let fixed = |bucket: &Bucket| match bucket.weight {
            Weight::Fixed(weight) => weight,
            Weight::Computed(_) => 0,
        };
        let index = match total {
            Some(total) => pick(hash, total, buckets.iter().map(fixed)),
            None => {
                let mut weights = Vec::with_capacity(buckets.len());
                for bucket in buckets {
                    weights.push(match &bucket.weight {
                        Weight::Fixed(weight) => *weight,
                        // The cast clamps: negative weights and NaN become zero.
                        Weight::Computed(rule) => number(&*self.rule(rule, frame)?) as u32,
                    });
                }
                let total = weights.iter().map(|weight| u64::from(*weight)).sum::<u64>();
                let total = u32::try_from(total).unwrap_or(u32::MAX);
                pick(hash, total, weights.into_iter())
            }
        };
        match index.and_then(|index| buckets.get(index)) {
            Some(bucket) => self.rule(&bucket.variant, frame),
            None => Ok(Cow::Owned(Value::Null)),
        }
    }

    fn call<'a>(&mut self, operator: Operator, rules: &'a [Rule], frame: Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        use Operator as Op;
        match operator {
            Op::If => self.choose(rules, frame),
            Op::And | Op::Or | Op::Coalesce => self.junction(operator, rules, frame),
            Op::Map | Op::Filter | Op::All | Op::Some | Op::None => {
                self.each(operator, rules, frame)
            }
            Op::Reduce => self.reduce(rules, frame),
            Op::Try => self.attempt(rules, frame),
            Op::Exists => self.exists(rules, frame),
            _ if operator.compares() => self.comparison(operator, rules, frame),
            _ => {
                // Two arguments are by far the most frequent; they need no list.
                if let [left, right] = rules {
                    let (left, right) = (self.rule(left, frame)?, self.rule(right, frame)?);
                    return self.apply(operator, &[left, right], frame.data);
                }
                let values: Vec<_> =
                    rules.iter().map(|rule| self.rule(rule, frame)).collect::<Result<_, _>>()?;
                self.apply(operator, &values, frame.data)
            }
        }
    }

    /// A call whose arguments are the items of a computed list.
    fn spread<'a>(&mut self, operator: Operator, rule: &'a Rule, frame: Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        if matches!(operator, Operator::Try | Operator::Coalesce | Operator::Exists) {
            return self.call(operator, std::slice::from_ref(rule), frame);
        }
        let value = self.rule(rule, frame)?;
        let one = std::slice::from_ref(&*value);
        let items = value.as_array().map_or(one, Vec::as_slice);
        self.burn(items.len())?;
        let values: Vec<_> = items.iter().map(Cow::Borrowed).collect();
        self.apply(operator, &values, frame.data)
    }
}

#[cfg(test)]
mod tests;
