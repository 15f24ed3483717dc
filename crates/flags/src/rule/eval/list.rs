//! Operators that walk a list, and those that evaluate no more of their arguments than they need.

use std::borrow::Cow;

use serde_json::Value;

use super::apply::holds;
use super::scope::{Data, Frame};
use super::{Evaluator, Outcome, Problem, bool};
use crate::rule::value::truthy;
use crate::rule::{Operator, Rule};

impl<'s> Evaluator<'s> {
    #[inline]
    pub(super) fn comparison<'a>(
        &mut self,
        operator: Operator,
        rules: &'a [Rule],
        frame: Frame<'a>,
    ) -> Outcome<'a>
    where
        's: 'a,
    {
        let [first, rest @ ..] = rules else { return bool(false) };
        let mut left = self.rule(first, frame)?;
        for rule in rest {
            let right = self.rule(rule, frame)?;
            if !holds(operator, &left, &right)? {
                return bool(false);
            }
            left = right;
        }
        bool(true)
    }

    #[inline]
    pub(super) fn choose<'a>(&mut self, rules: &'a [Rule], frame: Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        for pair in rules.chunks(2) {
            match pair {
                [condition, then] => {
                    if truthy(&*self.rule(condition, frame)?) {
                        return self.rule(then, frame);
                    }
                }
                [otherwise, ..] => return self.rule(otherwise, frame),
                [] => {}
            }
        }
        Ok(Cow::Owned(Value::Null))
    }

    pub(super) fn junction<'a>(
        &mut self,
        operator: Operator,
        rules: &'a [Rule],
        frame: Frame<'a>,
    ) -> Outcome<'a>
    where
        's: 'a,
    {
        let mut last = Cow::Owned(match operator {
            Operator::Coalesce => Value::Null,
            _ => Value::Bool(false),
        });
        for rule in rules {
            last = self.rule(rule, frame)?;
            let over = match operator {
                Operator::And => !truthy(&last),
                Operator::Or => truthy(&last),
                _ => !last.is_null(),
            };
            if over {
                break;
            }
        }
        Ok(last)
    }

    /// `try`: each further argument is evaluated on the error of the one before.
    pub(super) fn attempt<'a>(&mut self, rules: &'a [Rule], frame: Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        let mut error = Problem::thrown("Invalid Arguments");
        for (at, rule) in rules.iter().enumerate() {
            let result = match &error {
                Problem::Thrown(value) if at > 0 => {
                    let data = Data::Item(value);
                    let inner = Frame { data, index: 0, parent: Some(&frame) };
                    self.nested(rule, inner).map(Cow::Owned)
                }
                _ => self.rule(rule, frame),
            };
            match result {
                Err(Problem::Thrown(value)) => error = Problem::Thrown(value),
                // A bound that is hit is the end, not a case to be handled by the rule.
                other => return other,
            }
        }
        Err(error)
    }

    /// Evaluates the body of a loop; what it returns may not borrow from the loop's item.
    fn nested(&mut self, body: &Rule, frame: Frame<'_>) -> Result<Value, Problem> {
        let mut inner = Evaluator { scope: self.scope, fuel: self.fuel };
        let result = inner.rule(body, frame).and_then(|value| {
            inner.pay(&value, 0)?;
            Ok(value.into_owned())
        });
        self.fuel = inner.fuel;
        result
    }

    pub(super) fn each<'a>(
        &mut self,
        operator: Operator,
        rules: &'a [Rule],
        frame: Frame<'a>,
    ) -> Outcome<'a>
    where
        's: 'a,
    {
        let [list, body] = rules else { return Ok(Cow::Owned(Value::Null)) };
        let list = self.rule(list, frame)?;
        let Some(items) = list.as_array() else { return absent(operator) };
        let mut out = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let inner = Frame { data: Data::Item(item), index, parent: Some(&frame) };
            let value = self.nested(body, inner)?;
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

    pub(super) fn reduce<'a>(&mut self, rules: &'a [Rule], frame: Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        let [list, body, start @ ..] = rules else { return Ok(Cow::Owned(Value::Null)) };
        let list = self.rule(list, frame)?;
        let mut items = list.as_array().map(Vec::as_slice).unwrap_or_default().iter();
        let mut accumulator = match start {
            [start, ..] => self.rule(start, frame)?.into_owned(),
            // Without a start the first item is it.
            [] => items.next().cloned().unwrap_or(Value::Null),
        };
        for (index, current) in items.enumerate() {
            let data = Data::Fold { current, accumulator: &accumulator };
            let next = self.nested(body, Frame { data, index, parent: Some(&frame) })?;
            accumulator = next;
        }
        Ok(Cow::Owned(accumulator))
    }
}

/// What a loop over something that is no list comes to.
fn absent<'a>(operator: Operator) -> Outcome<'a> {
    match operator {
        Operator::All | Operator::Some | Operator::None => {
            Err(Problem::thrown("Invalid Arguments"))
        }
        _ => Ok(Cow::Owned(Value::Array(Vec::new()))),
    }
}
