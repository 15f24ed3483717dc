//! The evaluator beside datalogic-rs, and the direct forms beside the evaluator, on rules by chance.

use bartizan_core::Clock;
use datalogic_rs::Engine;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::tests::{compiled, run};
use super::{Scope, evaluate};
use crate::EvaluationContext;
use crate::bucket::Bucketing;
use crate::context::Attributes;
use crate::rule::val::{Val, strict_equal};
use crate::rule::{Decision, Plan};

/// None of them is empty: JavaScript takes that for zero where datalogic-rs does not.
const TEXTS: [&str; 5] = ["a", "premium", "free", "7", "on"];

fn text() -> impl Strategy<Value = Value> {
    prop::sample::select(&TEXTS[..]).prop_map(Value::from)
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-20_i64..20).prop_map(Value::from),
        (-8_i64..8).prop_map(|n| json!(n as f64 / 4.0))
    ]
}

fn plain() -> impl Strategy<Value = Value> {
    prop_oneof![text(), number(), any::<bool>().prop_map(Value::from), Just(Value::Null)]
}

/// Attributes of stated types, each of which may be absent.
fn data() -> impl Strategy<Value = Value> {
    (
        prop::option::of(text()),
        prop::option::of(number()),
        prop::option::of(any::<bool>()),
        prop::option::of(prop::collection::vec(number(), 0..4)),
        prop::option::of(text()),
    )
        .prop_map(|(text, number, flag, list, inner)| {
            let mut data = Map::new();
            let mut set = |name: &str, value: Option<Value>| {
                if let Some(value) = value {
                    data.insert(name.to_owned(), value);
                }
            };
            set("text", text);
            set("number", number);
            set("flag", flag.map(Value::from));
            set("list", list.map(Value::from));
            set("deep", inner.map(|inner| json!({"er": inner})));
            Value::Object(data)
        })
}

fn var() -> impl Strategy<Value = Value> {
    prop::sample::select(&["text", "number", "flag", "list", "list.1", "deep.er", "gone"][..])
        .prop_map(|name| json!({"var": name}))
}

/// Rules over numbers, where the two agree on what is none.
fn arithmetic() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![number(), Just(json!({"var": ["number", 3]}))];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let pair = prop::sample::select(&["+", "-", "*", "min", "max"][..]);
        // By zero, datalogic-rs gives the largest number there is unless told otherwise; here, as in
        // JsonLogic's suites, that is thrown.
        let (divide, divisor) = (prop::sample::select(&["/", "%"][..]), 1_i64..9);
        prop_oneof![
            (divide, inner.clone(), divisor).prop_map(|(op, a, b)| json!({op: [a, b]})),
            (pair, inner.clone(), inner.clone()).prop_map(|(op, a, b)| json!({op: [a, b]})),
            inner.clone().prop_map(|a| json!({"-": [a]})),
            (inner.clone(), inner).prop_map(|(a, b)| json!({"if": [{"<": [a, b]}, a, b]})),
        ]
    })
}

/// Conditions and choices over attributes.
fn rule() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![3 => var(), 2 => plain()];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let compare = prop::sample::select(
            &["==", "!=", "===", "!==", "<", "<=", ">", ">=", "and", "or"][..],
        );
        let one = prop::sample::select(&["!", "!!"][..]);
        let loop_over = prop::sample::select(&["all", "some", "none", "filter", "map"][..]);
        prop_oneof![
            4 => (compare, inner.clone(), inner.clone()).prop_map(|(op, a, b)| json!({op: [a, b]})),
            1 => (one, inner.clone()).prop_map(|(op, a)| json!({op: [a]})),
            2 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| json!({"if": [a, b, c]})),
            1 => (var(), prop::collection::vec(plain(), 0..3))
                .prop_map(|(a, list)| json!({"in": [a, list]})),
            1 => (loop_over, number())
                .prop_map(|(op, n)| json!({op: [{"var": "list"}, {">": [{"var": ""}, n]}]})),
            1 => prop::collection::vec(text(), 1..3).prop_map(|all| json!({"cat": all})),
            1 => inner.prop_map(|a| json!({"var": ["gone", a]})),
        ]
    })
    .boxed()
}

/// What a targeting looks like: choices that end in names of variants.
fn targeting() -> BoxedStrategy<Value> {
    let variant = prop::sample::select(&["on", "off", "gone"][..]).prop_map(Value::from);
    let affix = (prop::sample::select(&["starts_with", "ends_with"][..]), text());
    let condition = prop_oneof![
        rule(),
        (var(), text()).prop_map(|(a, b)| json!({"==": [a, b]})),
        (text(), var()).prop_map(|(a, b)| json!({"!=": [a, b]})),
        (var(), prop::collection::vec(text(), 0..3)).prop_map(|(a, all)| json!({"in": [a, all]})),
        affix.prop_map(|(op, b)| json!({op: [{"var": "text"}, b]})),
    ]
    .boxed();
    let joined = prop_oneof![
        2 => condition.clone(),
        1 => (condition.clone(), condition.clone()).prop_map(|(a, b)| json!({"and": [a, b]})),
        1 => (condition.clone(), condition.clone()).prop_map(|(a, b)| json!({"or": [a, b]})),
        1 => condition.prop_map(|a| json!({"!": [a]})),
    ]
    .boxed();
    let end = prop_oneof![
        4 => variant,
        1 => Just(Value::Null),
        1 => rule(),
        1 => (0_u32..5, 0_u32..5)
            .prop_map(|(a, b)| json!({"fractional": [["on", a], ["off", b]]})),
    ];
    end.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            (joined.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| json!({"if": [a, b, c]})),
            (joined.clone(), inner).prop_map(|(a, b)| json!({"if": [a, b]})),
        ]
    })
    .boxed()
}

/// Both give the same. What throws is judged by JsonLogic's suites: there datalogic-rs is more lenient
/// with text that is no number, and stricter with what is absent. Such cases count for nothing, so
/// that the others are as many as they should be.
fn agree(rule: &Value, data: &Value) -> Result<(), TestCaseError> {
    let ours = run(rule, data);
    let theirs = Engine::new().eval_str(rule.to_string().as_str(), data.to_string().as_str());
    let (Ok(ours), Ok(theirs)) = (ours, theirs) else {
        return Err(TestCaseError::reject("one of them throws"));
    };
    let theirs = serde_json::from_str(&theirs).expect("it is JSON");
    prop_assert!(close(&ours, &theirs), "{} over {}: {} and {}", rule, data, ours, theirs);
    Ok(())
}

fn close(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= 1e-9 * a.abs().max(1.0)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b))
        }
        _ => strict_equal(&Val::of(ours), &Val::of(theirs)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_global_rejects: 8000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn numbers_come_out_as_datalogic_has_them(rule in arithmetic(), data in data()) {
        agree(&rule, &data)?;
    }

    #[test]
    fn conditions_come_out_as_datalogic_has_them(rule in rule(), data in data()) {
        agree(&rule, &data)?;
    }

    /// The direct forms mean what the rule means.
    #[test]
    fn a_plan_decides_as_its_rule_does(rule in targeting(), data in data(), key in "[a-c]?") {
        let none = Map::new();
        let compile = || compiled(&rule, &none);
        let (Ok(one), Ok(two)) = (compile(), compile()) else { return Ok(()) };
        let variants = ["on", "off"];
        let place = |name: &str| variants.iter().position(|own| *own == name).map(|at| at as u32);
        let plan = Plan::new(one, &place);
        let mut context = EvaluationContext::new();
        for (name, value) in data.as_object().unwrap_or(&none) {
            context = context.attribute(name, value.clone());
        }
        if !key.is_empty() {
            context = context.targeting_key(key);
        }
        let clock = Clock::manual();
        let attributes = Attributes::of(&context);
        let scope = Scope::new("f", attributes, Bucketing::V3, &clock);
        let decided = plan.decide(&scope).map(|decision| match decision {
            Decision::Variant(at) => Value::from(variants[at as usize]),
            Decision::Value(value) => value.into_json(),
        });
        let evaluated = evaluate(&two, &scope).map(Val::into_json);
        prop_assert_eq!(decided.map_err(|_| ()), evaluated.map_err(|_| ()), "{}", rule);
    }
}
