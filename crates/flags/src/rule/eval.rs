//! Evaluation of a compiled rule.
//!
//! Constants and attributes are borrowed, so that comparing them allocates nothing. Recursion is
//! bounded by the depth of the rule, and work by [`FUEL`].

mod apply;
mod list;
mod scope;

use std::cell::Cell;
use std::fmt;

use bartizan_core::Clock;
use serde_json::Value;

pub(super) use self::apply::holds;
use self::scope::{Data, Frame};
use super::sem_ver::Version;
use super::val::{Val, number, object, text};
use super::{Bucket, Key, MAX_DEPTH, Operator, Path, Rule, Weight};
use crate::bucket::{Bucketing, pick};
use crate::context::Attributes;

/// How many steps one evaluation may take, all of its conditions together; nested loops over long attributes would else multiply.
const FUEL: usize = 100_000;

/// What an evaluation reads besides the rule, and how far it may still go.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    flag: &'a str,
    pub(super) attributes: Attributes<'a>,
    bucketing: Bucketing,
    /// Read only by rules that ask for `$flagd.timestamp`.
    clock: &'a Clock,
    fuel: Cell<usize>,
}

impl<'a> Scope<'a> {
    pub(crate) const fn new(
        flag: &'a str,
        attributes: Attributes<'a>,
        bucketing: Bucketing,
        clock: &'a Clock,
    ) -> Self {
        Self { flag, attributes, bucketing, clock, fuel: Cell::new(FUEL) }
    }
}

/// Why an evaluation came to nothing.
#[derive(Debug)]
pub(crate) enum Problem {
    /// A value that the rule builds nests too deep.
    Depth,
    /// The rule takes too many steps.
    Steps,
    /// What `throw` or an operator threw: an object whose `type` says what, as `try` sees it.
    Thrown(Box<Value>),
}

impl Problem {
    /// An error of an operator, under JsonLogic's name for it.
    #[cold]
    fn thrown(kind: &'static str) -> Self {
        Self::of(Value::from(kind))
    }

    fn of(kind: Value) -> Self {
        Self::Thrown(Box::new(object("type", kind)))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Depth => "the rule builds a value that nests too deep",
            Self::Steps => "the rule takes too many steps",
            // The text of what is thrown may come from the request.
            Self::Thrown(_) => "the rule threw an error",
        })
    }
}

type Outcome<'a> = Result<Val<'a>, Problem>;

/// Evaluates `rule`; the error says why there is no result.
#[inline]
pub(crate) fn evaluate<'a>(rule: &'a Rule, scope: &'a Scope<'a>) -> Outcome<'a> {
    let frame = Frame::root(Data::Attributes(scope.attributes));
    let mut evaluator = Evaluator { scope, fuel: scope.fuel.get() };
    let outcome = evaluator.rule(rule, &frame);
    scope.fuel.set(evaluator.fuel);
    outcome
}

struct Evaluator<'s> {
    scope: &'s Scope<'s>,
    fuel: usize,
}

impl<'s> Evaluator<'s> {
    #[inline]
    fn burn(&mut self, steps: usize) -> Result<(), Problem> {
        self.fuel = self.fuel.checked_sub(steps).ok_or(Problem::Steps)?;
        Ok(())
    }

    /// Pays for every node of a value that is about to be stored in another one, and refuses one
    /// so deep that dropping it could exhaust the stack.
    fn pay(&mut self, value: &Val<'_>) -> Result<(), Problem> {
        match value {
            Val::Tree(value) => self.pay_for(value, 0),
            Val::Owned(value) => self.pay_for(value, 0),
            Val::Text(text) => self.burn(1 + text.len() / 16),
            Val::Words(words) => self.burn(1 + words.len()),
            Val::Headers(headers) => self.burn(1 + headers.len()),
            _ => self.burn(1),
        }
    }

    /// Pays for looking through a value that may be long.
    #[inline]
    fn scan(&mut self, value: &Val<'_>) -> Result<(), Problem> {
        match value {
            Val::Null | Val::Bool(_) | Val::Float(_) | Val::Number(_) => Ok(()),
            Val::Text(text) => self.burn(text.len() / 16),
            long => self.pay(long),
        }
    }

    fn pay_for(&mut self, value: &Value, depth: usize) -> Result<(), Problem> {
        if depth > 2 * MAX_DEPTH {
            return Err(Problem::Depth);
        }
        let mut all = match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.pay_for(item, depth + 1)),
            Value::Object(map) => map.values().try_for_each(|item| self.pay_for(item, depth + 1)),
            Value::String(text) => self.burn(text.len() / 16),
            _ => Ok(()),
        };
        if all.is_ok() {
            all = self.burn(1);
        }
        all
    }

    fn rule<'a>(&mut self, rule: &'a Rule, frame: &Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        self.burn(1)?;
        match rule {
            Rule::Literal(value) => Ok(Val::of(value)),
            Rule::List(rules) => {
                let mut items = Vec::with_capacity(rules.len());
                for rule in rules {
                    let item = self.rule(rule, frame)?;
                    self.pay(&item)?;
                    items.push(item.into_json());
                }
                Ok(Val::owned(Value::Array(items)))
            }
            Rule::FlagKey => Ok(Val::Text(self.scope.flag)),
            Rule::Timestamp => Ok(Val::Float(self.scope.clock.unix().as_secs() as f64)),
            Rule::Var { path, default } => self.var(path, default.as_deref(), frame),
            Rule::ComputedVar { path, default } => {
                let path = self.rule(path, frame)?;
                self.scan(&path)?;
                let path = Path::new(&text(&path));
                self.var(&path, default.as_deref(), frame)
            }
            Rule::SemVer { relation, operands } => {
                let left = self.rule(&operands[0], frame)?;
                let right = self.rule(&operands[1], frame)?;
                self.scan(&left)?;
                self.scan(&right)?;
                let (left, right) = (text(&left), text(&right));
                match (Version::parse(&left), Version::parse(&right)) {
                    (Some(left), Some(right)) => Ok(Val::Bool(relation.holds(&left, &right))),
                    _ => Ok(Val::Null),
                }
            }
            Rule::Fractional { key, buckets, total } => {
                self.fractional(key, buckets, *total, frame)
            }
            Rule::Val { up, keys } => self.val(*up, keys, frame),
            Rule::Call(operator, arguments) => self.call(*operator, arguments, frame),
            Rule::Spread(operator, argument) => self.spread(*operator, argument, frame),
        }
    }

    fn fractional<'a>(
        &mut self,
        key: &'a Key,
        buckets: &'a [Bucket],
        total: Option<u32>,
        frame: &Frame<'a>,
    ) -> Outcome<'a>
    where
        's: 'a,
    {
        let hash = match key {
            Key::Computed(key) => {
                let key = self.rule(key, frame)?;
                self.scan(&key)?;
                self.scope.bucketing.hash(&key)
            }
            Key::OfFlag(seed) => self.scope.attributes.key().map(|key| seed.hash(key)),
        };
        // Without a key nobody can be placed; the default variant is the safe answer.
        let Some(hash) = hash else { return Ok(Val::Null) };
        let index = match total {
            Some(total) => pick(hash, total, buckets.iter().map(|bucket| bucket.weight.fixed())),
            None => {
                let mut weights = Vec::with_capacity(buckets.len());
                for bucket in buckets {
                    weights.push(match &bucket.weight {
                        Weight::Fixed(weight) => *weight,
                        // The cast clamps: negative weights and NaN become zero.
                        Weight::Computed(rule) => number(&self.rule(rule, frame)?) as u32,
                    });
                }
                let total = weights.iter().map(|weight| u64::from(*weight)).sum::<u64>();
                let total = u32::try_from(total).unwrap_or(u32::MAX);
                pick(hash, total, weights.into_iter())
            }
        };
        match index.and_then(|index| buckets.get(index)) {
            Some(bucket) => self.rule(&bucket.variant, frame),
            None => Ok(Val::Null),
        }
    }

    fn call<'a>(&mut self, operator: Operator, rules: &'a [Rule], frame: &Frame<'a>) -> Outcome<'a>
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
    fn spread<'a>(&mut self, operator: Operator, rule: &'a Rule, frame: &Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        if matches!(operator, Operator::Try | Operator::Coalesce | Operator::Exists) {
            return self.call(operator, std::slice::from_ref(rule), frame);
        }
        let value = self.rule(rule, frame)?;
        let Some(items) = value.items() else {
            self.burn(1)?;
            return self.apply(operator, std::slice::from_ref(&value), frame.data);
        };
        self.burn(items.len())?;
        let values: Vec<_> = items.iter().map(Val::of).collect();
        self.apply(operator, &values, frame.data)
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
