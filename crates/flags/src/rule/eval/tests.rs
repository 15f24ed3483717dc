use std::cell::Cell;
use std::fs;
use std::path::Path;

use bartizan_core::Clock;
use serde_json::{Map, Value, json};

use super::scope::{Data, Frame};
use super::{Evaluator, FUEL, Problem, Scope};
use crate::EvaluationContext;
use crate::bucket::Bucketing;
use crate::context::{Attributes, Mentions};
use crate::rule::val::{Val, strict_equal};
use crate::rule::{Rule, Surroundings, compile};

pub(super) fn compiled(rule: &Value, evaluators: &Map<String, Value>) -> Result<Rule, String> {
    let expanded = Cell::new(0);
    let surroundings =
        Surroundings { flag: "f", evaluators, bucketing: Bucketing::V3, expanded: &expanded };
    compile(rule, surroundings, &mut Mentions::default())
}

pub(super) fn run(rule: &Value, attributes: &Value) -> Result<Value, String> {
    let none = Map::new();
    let rule = compiled(rule, &none)?;
    let mut context = EvaluationContext::new();
    for (name, value) in attributes.as_object().unwrap_or(&none) {
        context = context.attribute(name, value.clone());
    }
    let clock = Clock::manual();
    let scope = Scope::new("f", Attributes::of(&context), Bucketing::V3, &clock);
    let frame = match attributes {
        // A context is always an object; JsonLogic's own suite has other data as well.
        Value::Object(_) => Frame::root(Data::Attributes(scope.attributes)),
        other => Frame::root(Data::Item(other)),
    };
    let mut evaluator = Evaluator { scope: &scope, fuel: FUEL };
    evaluator.rule(&rule, &frame).map(Val::into_json).map_err(|problem| match problem {
        Problem::Thrown(error) => error["type"].as_str().unwrap_or_default().to_owned(),
        bound => bound.to_string(),
    })
}

#[test]
fn operators_answer_as_json_logic_says() {
    let data = json!({
        "a": {"b": 7}, "x.y": 1, "list": [1, 2, 3], "name": "apple", "empty": "",
        "pies": [{"filling": "pumpkin"}, {"filling": "apple"}], "version": "v2.1.0-rc.1",
    });
    for (rule, expected) in [
        (json!({"var": "a.b"}), json!(7)),
        (json!({"var": "x.y"}), json!(1)),
        (json!({"var": ["list.1"]}), json!(2)),
        (json!({"var": ["absent", 26]}), json!(26)),
        (json!({"var": "absent"}), json!(null)),
        (json!({"var": "$flagd.flagKey"}), json!("f")),
        (json!({"var": "$flagd.timestamp"}), json!(1_000_000)),
        (json!({"missing": ["name", "empty", "absent"]}), json!(["empty", "absent"])),
        (json!({"missing_some": [1, ["name", "absent"]]}), json!([])),
        (json!({"missing_some": [2, ["name", "absent"]]}), json!(["absent"])),
        (json!({"if": [false, 1, false, 2, 3]}), json!(3)),
        (json!({"if": [false, 1]}), json!(null)),
        (json!({"==": [1, "1"]}), json!(true)),
        (json!({"==": [null, 0]}), json!(true)),
        (json!({"==": [{"var": "absent"}, "paid"]}), json!(false)),
        (json!({"===": [1, "1"]}), json!(false)),
        (json!({"===": [1, 1.0]}), json!(true)),
        (json!({"!=": [1, 2]}), json!(true)),
        (json!({"!==": [1, "1"]}), json!(true)),
        (json!({"!": [[]]}), json!(true)),
        (json!({"!!": ["0"]}), json!(true)),
        (json!({"or": [false, 0, "a"]}), json!("a")),
        (json!({"and": [true, "a", 3]}), json!(3)),
        (json!({"<": [1, 2, 3]}), json!(true)),
        (json!({"<": [1, 4, 3]}), json!(false)),
        (json!({">=": ["b", "a"]}), json!(true)),
        (json!({"in": ["Spring", "Springfield"]}), json!(true)),
        (json!({"in": [2, {"var": "list"}]}), json!(true)),
        (json!({"cat": ["I ", 1, true]}), json!("I 1true")),
        (json!({"substr": ["jsonlogic", -5]}), json!("logic")),
        (json!({"substr": ["jsonlogic", 1, 3]}), json!("son")),
        (json!({"substr": ["jsonlogic", 4, -2]}), json!("log")),
        (json!({"substr": ["ü", 9, 9]}), json!("")),
        (json!({"+": ["3.25"]}), json!(3.25)),
        (json!({"-": [2]}), json!(-2)),
        (json!({"*": [2, 3, 4]}), json!(24)),
        (json!({"try": [{"/": [1, 0]}, {"val": "type"}]}), json!("NaN")),
        (json!({"%": [101, 2]}), json!(1)),
        (json!({"max": [1, 3, 2]}), json!(3)),
        (json!({"min": [1, 3, 2]}), json!(1)),
        (json!({"merge": [1, [2, 3]]}), json!([1, 2, 3])),
        (json!({"map": [{"var": "list"}, {"*": [{"var": ""}, 2]}]}), json!([2, 4, 6])),
        (json!({"filter": [{"var": "list"}, {"%": [{"var": ""}, 2]}]}), json!([1, 3])),
        (
            json!({"reduce": [{"var": "list"}, {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]}),
            json!(6),
        ),
        (json!({"all": [[], true]}), json!(false)),
        (json!({"none": [[-1], {">": [{"var": ""}, 0]}]}), json!(true)),
        (json!({"some": [{"var": "pies"}, {"==": [{"var": "filling"}, "apple"]}]}), json!(true)),
        (json!({"starts_with": [{"var": "name"}, "app"]}), json!(true)),
        (json!({"ends_with": [{"var": "name"}, "app"]}), json!(false)),
        (json!({"ends_with": [{"var": "list"}, "app"]}), json!(null)),
        (json!({"sem_ver": [{"var": "version"}, "<", "2.1.0"]}), json!(true)),
        (json!({"sem_ver": [{"var": "version"}, "~", "2.1"]}), json!(true)),
        (json!({"sem_ver": [{"var": "name"}, "=", "2.1.0"]}), json!(null)),
    ] {
        assert_eq!(run(&rule, &data), Ok(expected), "{rule}");
    }
}

#[test]
fn fractional_is_sticky_and_needs_a_key() {
    let rule = json!({"fractional": [["a", 50], ["b", 50]]});
    let user = json!({"targetingKey": "user"});
    assert_eq!(run(&rule, &user), run(&rule, &user));
    assert_eq!(run(&rule, &json!({})), Ok(Value::Null));
    let negative = json!({"fractional": [["a", {"-": [1, 9]}], ["b", 1]]});
    assert_eq!(run(&negative, &user), Ok(json!("b")));
}

#[test]
fn what_cannot_work_is_refused_when_compiled() {
    for rule in [
        json!({"launch": [1]}),
        json!({"==": [1]}),
        json!({"==": [1, 2], "!=": [1, 2]}),
        json!({"var": "$flagd.secret"}),
        json!({"$ref": "absent"}),
    ] {
        assert!(run(&rule, &json!({})).is_err(), "{rule}");
    }
}

#[test]
fn depth_and_sizes_are_bounded_when_compiled() {
    let deep = (0..100).fold(json!(1), |rule, _| json!({"!": [rule]}));
    assert!(run(&deep, &json!({})).unwrap_err().contains("deeper"));
    let many: Vec<_> = (0..5000).collect();
    assert!(run(&json!({"max": many}), &json!({})).unwrap_err().contains("nodes"));
    let long = "x".repeat(70_000);
    assert!(run(&json!({"in": ["x", [long]]}), &json!({})).unwrap_err().contains("bytes"));
}

#[test]
fn work_and_built_values_are_bounded_when_evaluated() {
    let list: Vec<_> = (0..1000).collect();
    let data = json!({"list": list});
    let square = json!({"map": [[1], {"map": [[1], {"var": ""}]}]});
    assert!(run(&square, &data).is_ok());
    // 1000 doublings of a string, and 1000 levels of nesting.
    let accumulator = json!({"var": "accumulator"});
    let doubling = json!({"reduce": [{"var": "list"}, {"cat": [accumulator, accumulator]}, "ab"]});
    assert!(run(&doubling, &data).is_err());
    let nesting = json!({"reduce": [{"var": "list"}, [accumulator], 0]});
    assert!(run(&nesting, &data).is_err());
    let merging = json!({"reduce": [{"var": "list"}, {"merge": [accumulator, accumulator]}, [1]]});
    assert!(run(&merging, &data).is_err());
}

#[test]
fn what_is_preserved_is_bounded_like_any_rule() {
    let preserved = |value: Value| run(&json!({"preserve": value}), &json!({})).map(|_| ());
    assert_eq!(preserved(json!({"a": [1, {"b": "c"}]})), Ok(()));
    let many: Vec<_> = (0..5000).collect();
    assert!(preserved(json!({"a": many})).unwrap_err().contains("nodes"));
    assert!(preserved(json!(["x".repeat(70_000)])).unwrap_err().contains("bytes"));
    let deep = (0..100).fold(json!(1), |value, _| json!([value]));
    assert!(preserved(deep).unwrap_err().contains("deeper"));
}

/// However few operators do it.
#[test]
fn looking_through_what_is_long_takes_steps() {
    let (list, long): (Vec<_>, Vec<_>) = ((0..1000).collect(), (1000..2500).collect());
    let data = json!({"list": list, "text": "x".repeat(200_000), "tree": {"a": long}});
    let each = |body: Value| run(&json!({"map": [{"var": "list"}, body]}), &data).map(|_| ());
    let outer = |name: &str| json!({"val": [[2], name]});
    assert_eq!(each(json!({"in": [{"var": ""}, [1, 2, 3]]})), Ok(()));
    let tree = json!({"preserve": {"a": long}});
    for body in [
        json!({"in": [{"var": ""}, long]}),
        json!({"in": ["y", outer("text")]}),
        json!({"substr": [outer("text"), -1]}),
        json!({"===": [tree, tree]}),
        json!({"<=": [outer("text"), outer("text")]}),
        json!({"starts_with": [outer("text"), outer("text")]}),
        json!({"sem_ver": [outer("text"), "=", "1.0.0"]}),
        json!({"fractional": [outer("tree"), ["a", 1]]}),
        json!({"var": {"cat": [outer("text")]}}),
    ] {
        let error = each(body.clone()).unwrap_err();
        assert!(error.contains("steps"), "{error}: {}", &body.to_string()[..20]);
    }
}

#[test]
fn a_reference_cannot_refer_to_itself() {
    let evaluators = json!({"a": {"$ref": "b"}, "b": {"!": [{"$ref": "a"}]}});
    let error = compiled(&json!({"$ref": "a"}), evaluators.as_object().unwrap()).unwrap_err();
    assert!(error.contains("from within"), "{error}");
}

/// JsonLogic's own suites, all of them; none is left out.
#[test]
fn json_logic_suites_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/jsonlogic/suites");
    let read = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(folder.join(name)).expect("the suite is there");
        serde_json::from_str(&text).expect("the suite is a list")
    };
    let (mut passed, mut failed) = (0, Vec::new());
    for name in read("index.json") {
        let name = name.as_str().expect("the index names files");
        for case in read(name).iter().filter(|case| case.is_object()) {
            let result = run(&case["rule"], case.get("data").unwrap_or(&Value::Null));
            let held = match (&result, case.get("error")) {
                (Ok(value), None) => strict_equal(&Val::of(value), &Val::of(&case["result"])),
                (Ok(_), Some(_)) | (Err(_), None) => false,
                // What can be told from the rule alone is refused when it is compiled, in words of
                // our own that name the mistake.
                (Err(_), Some(error)) if error["type"] == "Invalid Arguments" => true,
                (Err(problem), Some(error)) => error["type"] == problem.as_str(),
            };
            if held {
                passed += 1;
            } else {
                failed.push(format!("{name}: {case} gave {result:?}"));
            }
        }
    }
    let verdict = if passed == 1138 && failed.is_empty() { "ok" } else { "short" };
    println!("bar: json_logic_cases {passed} 1138 {verdict}");
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), passed + failed.len());
    assert_eq!(passed, 1138);
}
