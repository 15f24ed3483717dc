//! A flag's whole targeting, in the forms that most of them have.
//!
//! Nearly every rule is a chain of `if` over attributes compared with text, ending in variants by
//! name or by percentage. Those are decided here, straight on the attributes; whatever is none of
//! them is left to [`eval`](super::eval), and means the same there.

use serde_json::Value;

use super::eval::{Problem, Scope, evaluate, holds};
use super::operator::Operator;
use super::val::truthy;
use super::{Key, Path, Rule, Val, Weight};
use crate::bucket::{Seed, pick};
use crate::context::{Attributes, Name};

/// What a targeting comes to.
#[derive(Debug)]
pub(crate) enum Decision<'a> {
    /// The variant that stands there.
    Variant(u32),
    /// What a rule gave, to be looked up among the variants.
    Value(Val<'a>),
}

#[derive(Debug)]
pub(crate) enum Plan {
    Variant(u32),
    If { cases: Vec<(Test, Self)>, otherwise: Box<Self> },
    Split { seed: Seed, total: u32, shares: Vec<(u32, Self)> },
    Rule(Rule),
}

/// A condition.
#[derive(Debug)]
pub(crate) enum Test {
    And(Vec<Self>),
    Affix { name: Name, text: Box<str>, at_start: bool },
    Equal { name: Name, text: Box<str>, operator: Operator },
    Not(Box<Self>),
    OneOf { name: Name, words: Vec<Box<str>> },
    Or(Vec<Self>),
    Rule(Rule),
}

impl Plan {
    /// `variant` tells where the variant of a name stands.
    pub(crate) fn new(rule: Rule, variant: &impl Fn(&str) -> Option<u32>) -> Self {
        match rule {
            Rule::Literal(Value::String(name)) => match variant(&name) {
                Some(at) => Self::Variant(at),
                None => Self::Rule(Rule::Literal(Value::String(name))),
            },
            Rule::Call(Operator::If, rules) => {
                let (mut cases, mut rules) = (Vec::new(), rules.into_iter());
                while let Some(rule) = rules.next() {
                    match rules.next() {
                        Some(then) => cases.push((Test::new(rule), Self::new(then, variant))),
                        None => {
                            let otherwise = Box::new(Self::new(rule, variant));
                            return Self::If { cases, otherwise };
                        }
                    }
                }
                Self::If { cases, otherwise: Box::new(Self::Rule(Rule::Literal(Value::Null))) }
            }
            Rule::Fractional { key: Key::OfFlag(seed), buckets, total: Some(total) } => {
                let mut shares = Vec::with_capacity(buckets.len());
                for bucket in buckets {
                    if let Weight::Fixed(weight) = bucket.weight {
                        shares.push((weight, Self::new(bucket.variant, variant)));
                    }
                }
                Self::Split { seed, total, shares }
            }
            rule => Self::Rule(rule),
        }
    }

    #[inline]
    pub(crate) fn decide<'a>(&'a self, scope: &'a Scope<'a>) -> Result<Decision<'a>, Problem> {
        let mut plan = self;
        loop {
            plan = match plan {
                Self::Variant(at) => return Ok(Decision::Variant(*at)),
                Self::If { cases, otherwise } => {
                    let mut chosen = &**otherwise;
                    for (test, then) in cases {
                        let holds = match test.at_once(scope.attributes) {
                            Some(holds) => holds,
                            None => test.holds(scope)?,
                        };
                        if holds {
                            chosen = then;
                            break;
                        }
                    }
                    // How nearly all of them end, told without another turn.
                    if let Self::Variant(at) = chosen {
                        return Ok(Decision::Variant(*at));
                    }
                    chosen
                }
                Self::Split { seed, total, shares } => {
                    let hash = scope.attributes.key().map(|key| seed.hash(key));
                    let weights = shares.iter().map(|(weight, _)| *weight);
                    let index = hash.and_then(|hash| pick(hash, *total, weights));
                    match index.and_then(|index| shares.get(index)) {
                        Some((_, plan)) => plan,
                        // Without a key nobody can be placed; the default variant is the safe answer.
                        None => return Ok(Decision::Value(Val::Null)),
                    }
                }
                Self::Rule(rule) => return evaluate(rule, scope).map(Decision::Value),
            };
        }
    }
}

impl Test {
    fn new(rule: Rule) -> Self {
        match rule {
            Rule::Call(Operator::And, rules) if !rules.is_empty() => {
                Self::And(rules.into_iter().map(Self::new).collect())
            }
            Rule::Call(Operator::Or, rules) => Self::Or(rules.into_iter().map(Self::new).collect()),
            Rule::Call(Operator::Not, mut rules) if rules.len() == 1 => match rules.pop() {
                Some(rule) => Self::Not(Box::new(Self::new(rule))),
                None => Self::Rule(Rule::Call(Operator::Not, rules)),
            },
            Rule::Call(operator, rules) => match <[Rule; 2]>::try_from(rules) {
                Ok([left, right]) => Self::pair(operator, left, right),
                Err(rules) => Self::Rule(Rule::Call(operator, rules)),
            },
            rule => Self::Rule(rule),
        }
    }

    /// Two operands, of which the frequent kinds are an attribute and a constant.
    fn pair(operator: Operator, left: Rule, right: Rule) -> Self {
        let (left, right) = match (operator, left, right) {
            // What is equal is so either way.
            (Operator::Equal | Operator::NotEqual, left @ Rule::Literal(_), right) => (right, left),
            (_, left, right) => (left, right),
        };
        match (operator, left, right) {
            (
                Operator::Equal | Operator::NotEqual,
                Rule::Var { path: Path::Name(name), default: None },
                Rule::Literal(Value::String(text)),
            ) => Self::Equal { name, text: text.into(), operator },
            (
                Operator::StartsWith | Operator::EndsWith,
                Rule::Var { path: Path::Name(name), default: None },
                Rule::Literal(Value::String(text)),
            ) => {
                let at_start = operator == Operator::StartsWith;
                Self::Affix { name, text: text.into(), at_start }
            }
            (
                Operator::In,
                Rule::Var { path: Path::Name(name), default: None },
                Rule::Literal(Value::Array(items)),
            ) if items.iter().all(Value::is_string) => {
                let words = items.iter().filter_map(Value::as_str).map(Into::into).collect();
                Self::OneOf { name, words }
            }
            (_, left, right) => Self::Rule(Rule::Call(operator, vec![left, right])),
        }
    }

    /// The most frequent test, of an attribute that is text: it does not pay for the room that all
    /// others take.
    // Not left to the optimiser, which makes of it a call that costs half as much as the test.
    #[inline(always)]
    fn at_once(&self, attributes: Attributes<'_>) -> Option<bool> {
        let Self::Equal { name, text, operator } = self else { return None };
        let equal = *attributes.text(name)? == **text;
        Some(equal == (*operator == Operator::Equal))
    }

    #[inline(never)]
    fn holds(&self, scope: &Scope<'_>) -> Result<bool, Problem> {
        match self {
            Self::And(tests) => {
                for test in tests {
                    if !test.holds(scope)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(tests) => {
                for test in tests {
                    if test.holds(scope)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(test) => test.holds(scope).map(|holds| !holds),
            Self::Affix { name, text, at_start } => Ok(match scope.attributes.text(name) {
                Some(found) if *at_start => found.starts_with(&**text),
                Some(found) => found.ends_with(&**text),
                None => false,
            }),
            Self::OneOf { name, words } => {
                let found = scope.attributes.text(name);
                Ok(found.is_some_and(|found| words.iter().any(|word| **word == *found)))
            }
            Self::Equal { name, text, operator } => {
                let found = || scope.attributes.get(name).unwrap_or(Val::Null);
                let at_once = self.at_once(scope.attributes).map(Ok);
                at_once.unwrap_or_else(|| holds(*operator, &found(), &Val::Text(text)))
            }
            Self::Rule(rule) => evaluate(rule, scope).map(|value| truthy(&value)),
        }
    }
}
