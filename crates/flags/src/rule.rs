//! Targeting rules: JsonLogic with flagd's operators, compiled once when a document is loaded.
//!
//! What can be wrong with a rule is found by [`compile`]; [`eval`] then works on a tree whose depth
//! and size are bounded.

mod compile;
mod eval;
mod operator;
mod plan;
mod sem_ver;
mod val;

use serde_json::Value;

pub(crate) use self::compile::{Surroundings, compile};
pub(crate) use self::eval::{Problem, Scope};
use self::operator::Operator;
pub(crate) use self::plan::{Decision, Plan};
use self::sem_ver::Relation;
pub(crate) use self::val::Val;
use crate::bucket::Seed;
use crate::context::Name;

/// How deep a rule may nest; evaluation recurses no deeper.
const MAX_DEPTH: usize = 64;

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
        key: Key,
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

impl Weight {
    const fn fixed(&self) -> u32 {
        match self {
            Self::Fixed(weight) => *weight,
            Self::Computed(_) => 0,
        }
    }
}

/// By what `fractional` places a caller.
#[derive(Debug)]
pub(crate) enum Key {
    Computed(Box<Rule>),
    /// The flag's name, hashed already, and the targeting key.
    OfFlag(Seed),
}

/// The way to an attribute.
#[derive(Debug)]
pub(crate) enum Path {
    /// All that there is.
    Whole,
    Name(Name),
    Way {
        whole: Name,
        first: Name,
        rest: Vec<String>,
    },
}

impl Path {
    fn new(whole: &str) -> Self {
        match whole.split_once('.') {
            None if whole.is_empty() => Self::Whole,
            None => Self::Name(Name::new(whole)),
            Some((first, rest)) => Self::Way {
                whole: Name::new(whole),
                first: Name::new(first),
                rest: rest.split('.').map(str::to_owned).collect(),
            },
        }
    }
}
