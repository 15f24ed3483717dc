//! Operators that walk a list, and those that evaluate no more of their arguments than they need.

use serde_json::Value;

use super::apply::holds;
use super::scope::{Data, Frame};
use super::{Evaluator, Outcome, Problem};
use crate::rule::val::{Val, truthy};
use crate::rule::{Operator, Rule};

impl<'s> Evaluator<'s> {
    #[inline]
    pub(super) fn comparison<'a>(
        &mut self,
        operator: Operator,
        rules: &'a [Rule],
        frame: &Frame<'a>,
    ) -> Outcome<'a>
    where
        's: 'a,
    {
        let [first, rest @ ..] = rules else { return Ok(Val::Bool(false)) };
        let mut left = self.rule(first, frame)?;
        for rule in rest {
            let right = self.rule(rule, frame)?;
            self.scan(&left)?;
            self.scan(&right)?;
            if !holds(operator, &left, &right)? {
                return Ok(Val::Bool(false));
            }
            left = right;
        }
        Ok(Val::Bool(true))
    }

    #[inline]
    pub(super) fn choose<'a>(&mut self, rules: &'a [Rule], frame: &Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        let mut rules = rules;
        loop {
            match rules {
                [condition, then, rest @ ..] => {
                    if truthy(&self.rule(condition, frame)?) {
                        return self.rule(then, frame);
                    }
                    rules = rest;
                }
                [otherwise] => return self.rule(otherwise, frame),
                [] => return Ok(Val::Null),
            }
        }
    }

    pub(super) fn junction<'a>(
        &mut self,
        operator: Operator,
        rules: &'a [Rule],
        frame: &Frame<'a>,
    ) -> Outcome<'a>
    where
        's: 'a,
    {
        let mut last = match operator {
            Operator::Coalesce => Val::Null,
            _ => Val::Bool(false),
        };
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
    pub(super) fn attempt<'a>(&mut self, rules: &'a [Rule], frame: &Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        let mut error = Problem::thrown("Invalid Arguments");
        for (at, rule) in rules.iter().enumerate() {
            let result = match &error {
                Problem::Thrown(value) if at > 0 => {
                    let data = Data::Item(value);
                    let inner = Frame { data, index: 0, parent: Some(frame) };
                    self.nested(rule, &inner).map(Val::owned)
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
    fn nested(&mut self, body: &Rule, frame: &Frame<'_>) -> Result<Value, Problem> {
        let mut inner = Evaluator { scope: self.scope, fuel: self.fuel };
        let result = inner.rule(body, frame).and_then(|value| {
            inner.pay(&value)?;
            Ok(value.into_json())
        });
        self.fuel = inner.fuel;
        result
    }

    /// Pays for a list that is not kept as one.
    fn unfold(&mut self, list: &Val<'_>) -> Result<(), Problem> {
        if let Val::Words(words) = list { self.burn(words.len()) } else { Ok(()) }
    }

    pub(super) fn each<'a>(
        &mut self,
        operator: Operator,
        rules: &'a [Rule],
        frame: &Frame<'a>,
    ) -> Outcome<'a>
    where
        's: 'a,
    {
        let [list, body] = rules else { return Ok(Val::Null) };
        let list = self.rule(list, frame)?;
        self.unfold(&list)?;
        let Some(items) = list.items() else { return absent(operator) };
        let mut out = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let inner = Frame { data: Data::Item(item), index, parent: Some(frame) };
            let value = self.nested(body, &inner)?;
            let holds = truthy(&Val::of(&value));
            match operator {
                Operator::Map => out.push(value),
                Operator::Filter if holds => {
                    self.pay(&Val::of(item))?;
                    out.push(item.clone());
                }
                Operator::All if !holds => return Ok(Val::Bool(false)),
                Operator::Some if holds => return Ok(Val::Bool(true)),
                Operator::None if holds => return Ok(Val::Bool(false)),
                _ => {}
            }
        }
        Ok(match operator {
            // JsonLogic says that nothing holds for all of an empty list.
            Operator::All => Val::Bool(!items.is_empty()),
            Operator::Some => Val::Bool(false),
            Operator::None => Val::Bool(true),
            _ => Val::owned(Value::Array(out)),
        })
    }

    pub(super) fn reduce<'a>(&mut self, rules: &'a [Rule], frame: &Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        let [list, body, start @ ..] = rules else { return Ok(Val::Null) };
        let list = self.rule(list, frame)?;
        self.unfold(&list)?;
        let items = list.items().unwrap_or_default();
        let mut items = items.iter();
        let mut accumulator = match start {
            [start, ..] => self.rule(start, frame)?.into_json(),
            // Without a start the first item is it.
            [] => items.next().cloned().unwrap_or(Value::Null),
        };
        for (index, current) in items.enumerate() {
            let data = Data::Fold { current, accumulator: &accumulator };
            let next = self.nested(body, &Frame { data, index, parent: Some(frame) })?;
            accumulator = next;
        }
        Ok(Val::owned(accumulator))
    }
}

/// What a loop over something that is no list comes to.
fn absent<'a>(operator: Operator) -> Outcome<'a> {
    match operator {
        Operator::All | Operator::Some | Operator::None => {
            Err(Problem::thrown("Invalid Arguments"))
        }
        _ => Ok(Val::owned(Value::Array(Vec::new()))),
    }
}
