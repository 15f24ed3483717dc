//! From JSON to a [`Rule`].

use std::cell::Cell;

use serde_json::{Map, Value};

use super::operator::Operator;
use super::sem_ver::{Relation, Version};
use super::{Bucket, Key, MAX_DEPTH, Path, Rule, Weight};
use crate::bucket::Bucketing;
use crate::context::{Mentions, TARGETING_KEY};

/// How many nodes a rule may have once its references are resolved.
const MAX_NODES: usize = 4096;
/// The longest text that a rule may hold, in bytes.
const MAX_TEXT: usize = 64 << 10;

/// What references may amount to in all flags of a document together, in nodes and in texts of 32 bytes:
/// a name of a few letters stands for a whole rule, again and again.
const MAX_EXPANDED: usize = 2 << 20;

/// Compiles `rule`. Adds to `mentions` what it reads.
pub(crate) fn compile(
    rule: &Value,
    surroundings: Surroundings<'_>,
    mentions: &mut Mentions,
) -> Result<Rule, String> {
    Compiler { surroundings, mentions, nodes: 0, names: Vec::new() }.rule(rule, 0)
}

/// What a rule stands in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) flag: &'a str,
    /// What `$ref` may name.
    pub(crate) evaluators: &'a Map<String, Value>,
    pub(crate) bucketing: Bucketing,
    /// What references have amounted to so far.
    pub(crate) expanded: &'a Cell<usize>,
}

struct Compiler<'a, 'm> {
    surroundings: Surroundings<'a>,
    mentions: &'m mut Mentions,
    nodes: usize,
    /// The references being resolved, to tell a cycle.
    names: Vec<&'a str>,
}

impl<'a> Compiler<'a, '_> {
    /// Takes note of a node of the rule, and of its text.
    fn count(&mut self, node: &Value, depth: usize) -> Result<(), String> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(format!("nests deeper than {MAX_DEPTH} levels"));
        }
        if self.nodes > MAX_NODES {
            return Err(format!("has more than {MAX_NODES} nodes"));
        }
        let text = node.as_str().map_or(0, str::len);
        if text > MAX_TEXT {
            return Err(format!("has a text of more than {MAX_TEXT} bytes"));
        }
        let expanded = self.surroundings.expanded;
        if !self.names.is_empty() {
            expanded.set(expanded.get().saturating_add(1 + text / 32));
        }
        if expanded.get() > MAX_EXPANDED && !self.names.is_empty() {
            return Err("has references that amount to too much, with those before".to_owned());
        }
        Ok(())
    }

    fn rule(&mut self, rule: &'a Value, depth: usize) -> Result<Rule, String> {
        self.count(rule, depth)?;
        match rule {
            Value::Array(items) => self.list(items, depth + 1),
            Value::Object(members) => {
                let mut members = members.iter();
                match (members.next(), members.next()) {
                    (None, _) => Ok(Rule::Literal(rule.clone())),
                    (Some((symbol, arguments)), None) => {
                        self.operation(symbol, arguments, depth + 1)
                    }
                    (Some((a, _)), Some((b, _))) => {
                        Err(format!("has the operators `{a}` and `{b}` in one object"))
                    }
                }
            }
            literal => Ok(Rule::Literal(literal.clone())),
        }
    }

    fn rules(&mut self, rules: &'a [Value], depth: usize) -> Result<Vec<Rule>, String> {
        rules.iter().map(|rule| self.rule(rule, depth)).collect()
    }

    fn list(&mut self, items: &'a [Value], depth: usize) -> Result<Rule, String> {
        let rules = self.rules(items, depth)?;
        // A list of constants is a constant: `in` then needs no allocation.
        if rules.iter().all(|rule| matches!(rule, Rule::Literal(_))) {
            return Ok(Rule::Literal(Value::Array(items.to_vec())));
        }
        Ok(Rule::List(rules))
    }

    fn operation(
        &mut self,
        symbol: &'a str,
        arguments: &'a Value,
        depth: usize,
    ) -> Result<Rule, String> {
        let list = match arguments {
            Value::Array(list) => list.as_slice(),
            // JsonLogic lets a single argument stand without its brackets.
            single => std::slice::from_ref(single),
        };
        match symbol {
            "$ref" => self.reference(list, depth),
            "var" => self.var(list, depth),
            "val" => self.val(list, depth),
            "preserve" => {
                self.constant(arguments, depth)?;
                Ok(Rule::Literal(arguments.clone()))
            }
            "fractional" => self.fractional(list, depth),
            "sem_ver" => self.sem_ver(list, depth),
            _ => {
                // JsonLogic's older name for `if`.
                let name = if symbol == "?:" { "if" } else { symbol };
                let operator = Operator::parse(name)
                    .ok_or_else(|| format!("uses the unknown operator `{symbol}`"))?;
                self.call(operator, symbol, arguments, list, depth)
            }
        }
    }

    /// Takes note of a value that is no rule.
    fn constant(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        self.count(value, depth)?;
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.constant(item, depth + 1)),
            Value::Object(members) => members.iter().try_for_each(|(name, item)| {
                if name.len() > MAX_TEXT {
                    return Err(format!("has a name of more than {MAX_TEXT} bytes"));
                }
                self.constant(item, depth + 1)
            }),
            _ => Ok(()),
        }
    }

    fn call(
        &mut self,
        (operator, least, most): (Operator, usize, usize),
        symbol: &str,
        arguments: &'a Value,
        list: &'a [Value],
        depth: usize,
    ) -> Result<Rule, String> {
        if operator.is_lazy() && !arguments.is_array() {
            return Err(format!("gives `{symbol}` arguments that are not a list"));
        }
        if let Value::Object(members) = arguments
            && !members.is_empty()
            && most > 1
        {
            if matches!(operator, Operator::Missing | Operator::Exists) {
                self.mentions.add_all();
            }
            return Ok(Rule::Spread(operator, Box::new(self.rule(arguments, depth)?)));
        }
        if !(least..=most).contains(&list.len()) {
            return Err(format!("gives `{symbol}` {} arguments", list.len()));
        }
        if matches!(operator, Operator::Map | Operator::Filter) && list.contains(&Value::Null) {
            return Err(format!("gives `{symbol}` nothing to work on"));
        }
        let affix = matches!(operator, Operator::StartsWith | Operator::EndsWith);
        if affix && list.iter().any(|item| !item.is_string() && !item.is_object()) {
            return Err(format!("gives `{symbol}` an argument that is not a string"));
        }
        if matches!(operator, Operator::Missing | Operator::MissingSome | Operator::Exists) {
            self.mentions.add_all();
        }
        Ok(Rule::Call(operator, self.rules(list, depth)?))
    }

    fn reference(&mut self, list: &'a [Value], depth: usize) -> Result<Rule, String> {
        let [Value::String(name)] = list else {
            return Err("has a `$ref` that is not a name".to_owned());
        };
        if self.names.contains(&name.as_str()) {
            return Err(format!("refers to `{name}` from within `{name}`"));
        }
        let evaluators = self.surroundings.evaluators;
        let target = evaluators
            .get(name)
            .ok_or_else(|| format!("refers to `{name}`, which `$evaluators` lacks"))?;
        self.names.push(name);
        let rule = self.rule(target, depth)?;
        self.names.pop();
        Ok(rule)
    }

    fn var(&mut self, list: &'a [Value], depth: usize) -> Result<Rule, String> {
        let path = match list.first() {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(path)) => path.clone(),
            Some(Value::Number(index)) => index.to_string(),
            Some(rule @ Value::Object(_)) => {
                self.mentions.add_all();
                let path = Box::new(self.rule(rule, depth)?);
                return Ok(Rule::ComputedVar { path, default: self.default(list, depth)? });
            }
            Some(_) => return Err("has a `var` whose path is not text".to_owned()),
        };
        match path.as_str() {
            "$flagd.flagKey" => return Ok(Rule::FlagKey),
            "$flagd.timestamp" => return Ok(Rule::Timestamp),
            path if path.starts_with("$flagd.") => {
                return Err(format!("reads `{path}`, which does not exist"));
            }
            _ => {}
        }
        self.mentions.add(&path);
        Ok(Rule::Var { path: Path::new(&path), default: self.default(list, depth)? })
    }

    fn val(&mut self, list: &'a [Value], depth: usize) -> Result<Rule, String> {
        let (up, keys) = match list {
            [Value::Array(scopes), keys @ ..] => match scopes.as_slice() {
                // Scopes are counted outwards; the sign is a matter of taste.
                [up] => (up.as_i64().map(i64::unsigned_abs), keys),
                _ => (None, keys),
            },
            keys => (Some(0), keys),
        };
        match keys.first() {
            Some(Value::String(key)) => self.mentions.add(key),
            _ => self.mentions.add_all(),
        }
        let up = up.and_then(|up| usize::try_from(up).ok());
        let up = up.ok_or("has a `val` whose scope is not one whole number")?;
        Ok(Rule::Val { up, keys: self.rules(keys, depth)? })
    }

    /// What a `var` gives when there is no such attribute.
    fn default(&mut self, list: &'a [Value], depth: usize) -> Result<Option<Box<Rule>>, String> {
        match list {
            [_, default] => Ok(Some(Box::new(self.rule(default, depth)?))),
            [] | [_] => Ok(None),
            _ => Err(format!("gives `var` {} arguments", list.len())),
        }
    }

    fn sem_ver(&mut self, list: &'a [Value], depth: usize) -> Result<Rule, String> {
        let [left, Value::String(symbol), right] = list else {
            return Err("needs a version, a relation and a version in `sem_ver`".to_owned());
        };
        let relation = Relation::parse(symbol)
            .ok_or_else(|| format!("uses the unknown relation `{symbol}` in `sem_ver`"))?;
        for side in [left, right] {
            let literal = match side {
                Value::Object(_) => continue,
                Value::String(text) => Version::parse(text).is_some(),
                _ => false,
            };
            if !literal {
                return Err(format!("compares with {side}, which is not a version"));
            }
        }
        let operands = Box::new([self.rule(left, depth)?, self.rule(right, depth)?]);
        Ok(Rule::SemVer { relation, operands })
    }

    fn fractional(&mut self, list: &'a [Value], depth: usize) -> Result<Rule, String> {
        let (key, buckets) = match list {
            [key @ Value::Object(_), rest @ ..] => {
                (Key::Computed(Box::new(self.rule(key, depth)?)), rest)
            }
            [Value::Array(_), ..] => {
                self.mentions.add(TARGETING_KEY);
                let Surroundings { flag, bucketing, .. } = self.surroundings;
                (Key::OfFlag(bucketing.seed(flag)), list)
            }
            _ => return Err("has a `fractional` whose key is a constant".to_owned()),
        };
        let buckets: Vec<_> =
            buckets.iter().map(|bucket| self.bucket(bucket, depth)).collect::<Result<_, _>>()?;
        if buckets.is_empty() {
            return Err("has a `fractional` without variants".to_owned());
        }
        let fixed = buckets.iter().map(|bucket| u64::from(bucket.weight.fixed()));
        let total = u32::try_from(fixed.sum::<u64>()).unwrap_or(u32::MAX);
        if total > i32::MAX as u32 {
            return Err(format!("has weights that add up to more than {}", i32::MAX));
        }
        let computed = buckets.iter().any(|bucket| matches!(bucket.weight, Weight::Computed(_)));
        let total = (!computed).then_some(total);
        Ok(Rule::Fractional { key, buckets, total })
    }

    fn bucket(&mut self, bucket: &'a Value, depth: usize) -> Result<Bucket, String> {
        let (variant, weight) = match bucket.as_array().map(Vec::as_slice) {
            Some([variant]) => (variant, None),
            Some([variant, weight]) => (variant, Some(weight)),
            _ => return Err("has a `fractional` entry other than [variant, weight]".to_owned()),
        };
        let weight = match weight {
            None => Weight::Fixed(1),
            Some(rule @ Value::Object(_)) => Weight::Computed(self.rule(rule, depth)?),
            Some(literal) => {
                let weight = literal.as_u64().and_then(|weight| u32::try_from(weight).ok());
                Weight::Fixed(weight.ok_or_else(|| {
                    format!("has the weight {literal}, which is not a whole number from 0")
                })?)
            }
        };
        Ok(Bucket { variant: self.rule(variant, depth)?, weight })
    }
}
