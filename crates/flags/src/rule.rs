//! Targeting rules: JsonLogic with flagd's operators, compiled once when a document is loaded.
//!
//! What can be wrong with a rule is found here; [`eval`] then works on a tree whose depth and size
//! are bounded.

mod eval;
mod operator;
mod sem_ver;
mod value;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

pub(crate) use self::eval::{Scope, evaluate};
use self::operator::Operator;
use self::sem_ver::{Relation, Version};

/// How deep a rule may nest; evaluation recurses no deeper.
const MAX_DEPTH: usize = 64;
/// How many nodes a rule may have once its references are resolved.
const MAX_NODES: usize = 4096;

/// A compiled rule.
#[derive(Debug)]
pub(crate) enum Rule {
    Literal(Value),
    /// An array literal with at least one computed item.
    List(Vec<Self>),
    FlagKey,
    Timestamp,
    Var {
        path: Path,
        default: Option<Box<Self>>,
    },
    /// A `var` whose path is itself a rule.
    ComputedVar {
        path: Box<Self>,
        default: Option<Box<Self>>,
    },
    /// `val`: keys one by one, from `up` scopes further out.
    Val {
        up: usize,
        keys: Vec<Self>,
    },
    Call(Operator, Vec<Self>),
    /// A call whose only argument is computed: if that is a list, its items are the arguments.
    Spread(Operator, Box<Self>),
    SemVer {
        relation: Relation,
        operands: Box<[Self; 2]>,
    },
    Fractional {
        key: Option<Box<Self>>,
        buckets: Vec<Bucket>,
        /// The sum of the weights, if none is computed.
        total: Option<u32>,
    },
}

/// One variant of `fractional`, with its weight.
#[derive(Debug)]
pub(crate) struct Bucket {
    variant: Rule,
    weight: Weight,
}

#[derive(Debug)]
enum Weight {
    Fixed(u32),
    Computed(Rule),
}

/// The way to an attribute; the undivided text is tried first, so that names may hold dots.
#[derive(Debug)]
pub(crate) struct Path {
    whole: String,
    parts: Vec<String>,
}

impl Path {
    fn new(whole: &str) -> Self {
        let parts = match whole {
            "" => Vec::new(),
            whole => whole.split('.').map(str::to_owned).collect(),
        };
        Self { whole: whole.to_owned(), parts }
    }
}

/// Which attributes a rule may read: the first parts of its paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mentions {
    pub(crate) names: BTreeSet<String>,
    /// A path that is computed, or the whole context, may be any of them.
    pub(crate) anything: bool,
}

impl Mentions {
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.anything || self.names.contains(name)
    }

    fn add(&mut self, path: &str) {
        match path.split('.').next() {
            None | Some("") => self.anything = true,
            Some(first) => {
                self.names.insert(first.to_owned());
            }
        }
    }
}

/// Compiles `rule`; `evaluators` are what `$ref` may name. Adds to `mentions` what it reads.
pub(crate) fn compile(
    rule: &Value,
    evaluators: &Map<String, Value>,
    mentions: &mut Mentions,
) -> Result<Rule, String> {
    Compiler { evaluators, mentions, nodes: 0, names: Vec::new() }.rule(rule, 0)
}

struct Compiler<'a, 'm> {
    evaluators: &'a Map<String, Value>,
    mentions: &'m mut Mentions,
    nodes: usize,
    /// The references being resolved, to tell a cycle.
    names: Vec<&'a str>,
}

impl<'a> Compiler<'a, '_> {
    fn rule(&mut self, rule: &'a Value, depth: usize) -> Result<Rule, String> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(format!("nests deeper than {MAX_DEPTH} levels"));
        }
        if self.nodes > MAX_NODES {
            return Err(format!("has more than {MAX_NODES} nodes"));
        }
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
            "preserve" => Ok(Rule::Literal(arguments.clone())),
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
            self.mentions.anything |= matches!(operator, Operator::Missing | Operator::Exists);
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
            self.mentions.anything = true;
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
        let evaluators = self.evaluators;
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
                self.mentions.anything = true;
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
            _ => self.mentions.anything = true,
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
            [key @ Value::Object(_), rest @ ..] => (Some(Box::new(self.rule(key, depth)?)), rest),
            [Value::Array(_), ..] => {
                self.mentions.add("targetingKey");
                (None, list)
            }
            _ => return Err("has a `fractional` whose key is a constant".to_owned()),
        };
        let buckets: Vec<_> =
            buckets.iter().map(|bucket| self.bucket(bucket, depth)).collect::<Result<_, _>>()?;
        if buckets.is_empty() {
            return Err("has a `fractional` without variants".to_owned());
        }
        let fixed = buckets.iter().map(|bucket| match bucket.weight {
            Weight::Fixed(weight) => u64::from(weight),
            Weight::Computed(_) => 0,
        });
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
