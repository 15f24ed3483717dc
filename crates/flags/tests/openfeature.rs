//! OpenFeature's own evaluation scenarios, read from its gherkin file.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeMap;

use bartizan_flags::{Details, EvaluationContext, Flags};
use serde_json::{Map, Value, json};

/// Scenarios that are not about evaluation, or about what an engine in process does not have.
const LEFT_OUT: [(&str, &str); 5] = [
    ("Provider in fatal state error", "a document that cannot be read leaves the last good one"),
    ("CACHED reason", "an answer is remembered within a request, where it is as good as new"),
    ("Provider status accessibility", "a provider's life cycle belongs to an SDK"),
    ("Evaluation options with hooks", "hooks belong to an SDK"),
    ("Evaluation context immutability", "the borrow checker sees to it: contexts are taken by &"),
];

type Row = BTreeMap<String, String>;

/// A scenario once for each of its examples.
struct Case {
    name: String,
    steps: Vec<String>,
    table: Vec<Row>,
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

fn cases(feature: &str) -> Vec<Case> {
    let (mut out, mut name, mut steps) = (Vec::new(), String::new(), Vec::<String>::new());
    let (mut header, mut table) = (Vec::new(), Vec::<Row>::new());
    let mut in_examples = false;
    let mut filled = false;
    let lines = feature.lines().map(str::trim).filter(|line| !line.is_empty());
    for line in lines.chain(["Scenario:"]) {
        if let Some(title) = line.strip_prefix("Scenario").and_then(|line| line.split_once(':')) {
            if !steps.is_empty() && !filled {
                out.push(Case { name: name.clone(), steps: steps.clone(), table: table.clone() });
            }
            (name, steps, table, in_examples, filled) =
                (title.1.trim().to_owned(), Vec::new(), Vec::new(), false, false);
            header.clear();
        } else if line.starts_with("Examples") {
            (in_examples, filled) = (true, true);
            header.clear();
        } else if line.starts_with('|') {
            if header.is_empty() {
                header = cells(line);
                continue;
            }
            let row: Row = header.iter().cloned().zip(cells(line)).collect();
            if in_examples {
                let fill = |step: &String| {
                    row.iter().fold(step.clone(), |step, (name, value)| {
                        step.replace(&format!("<{name}>"), value)
                    })
                };
                let steps = steps.iter().map(fill).collect();
                out.push(Case { name: name.clone(), steps, table: Vec::new() });
            } else {
                table.push(row);
            }
        } else if !line.starts_with(['#', '@']) && !name.is_empty() {
            let word = ["Given ", "And ", "When ", "Then "];
            let step = word.iter().find_map(|word| line.strip_prefix(word));
            steps.extend(step.map(str::to_owned));
        }
    }
    out
}

/// The flags of OpenFeature's test data as a flagd document; its conditions are written in
/// JavaScript, so they are translated here.
fn document() -> Value {
    let source: Map<String, Value> =
        serde_json::from_str(include_str!("data/openfeature/test-flags.json")).unwrap();
    let email = json!({"==": [{"var": "email"}, "ballmer@macrosoft.com"]});
    let flag = |(name, flag): (String, Value)| {
        let rule = match flag["contextEvaluator"].as_str() {
            None => json!({}),
            Some("email == 'ballmer@macrosoft.com' ? 'zero' : ''") => {
                json!({"if": [email, "zero", null]})
            }
            Some(_) => json!({"if": [{"and": [
                {"!": [{"var": "customer"}]}, email, {">": [{"var": "age"}, 10]},
            ]}, "internal", null]}),
        };
        let metadata = match &flag["flagMetadata"] {
            Value::Null => json!({}),
            metadata => metadata.clone(),
        };
        let state = if flag["disabled"] == true { "DISABLED" } else { "ENABLED" };
        let flag = json!({
            "state": state, "variants": flag["variants"], "metadata": metadata,
            "defaultVariant": flag["defaultVariant"], "targeting": rule,
        });
        (name, flag)
    };
    json!({"flags": source.into_iter().map(flag).collect::<Map<_, _>>()})
}

fn typed(kind: &str, text: &str) -> Value {
    match kind {
        "String" => Value::from(text),
        _ => serde_json::from_str(&text.replace("\\\"", "\"")).unwrap(),
    }
}

fn evaluate(
    flags: &Flags,
    kind: &str,
    key: &str,
    context: &EvaluationContext,
    default: &Value,
) -> Details<Value> {
    fn plain<T: Into<Value>>(details: Details<T>) -> Details<Value> {
        let nobody = EvaluationContext::new();
        let mut out = Flags::empty().object_details("", &nobody, details.value.into());
        (out.variant, out.reason) = (details.variant, details.reason);
        (out.error, out.metadata) = (details.error, details.metadata);
        out
    }
    match kind {
        "Boolean" => plain(flags.bool_details(key, context, default.as_bool().unwrap())),
        "String" => plain(flags.string_details(key, context, default.as_str().unwrap())),
        "Integer" => plain(flags.integer_details(key, context, default.as_i64().unwrap())),
        "Float" => plain(flags.float_details(key, context, default.as_f64().unwrap())),
        "Object" => flags.object_details(key, context, default.clone()),
        other => panic!("unknown type {other}"),
    }
}

/// Runs one case; true if it came to every step.
fn run(case: &Case, loaded: &Flags) {
    let unloaded = Flags::empty();
    let (mut flags, mut context) = (loaded, EvaluationContext::new());
    let (mut kind, mut key, mut default) = (String::new(), String::new(), Value::Null);
    let mut details = None;
    for step in &case.steps {
        let quoted: Vec<&str> = step.split('"').collect();
        let say = format!("{}: {step}", case.name);
        let expect = |at: usize| quoted[at];
        if step == "a stable provider" {
            flags = loaded;
        } else if step == "a not ready provider" {
            flags = &unloaded;
        } else if step.contains("-flag with key") {
            kind = step.split(['-', ' ']).nth(1).unwrap().to_owned();
            key = quoted[1].to_owned();
            // A default may hold quotes of its own.
            let text = step.split_once("fallback value \"").unwrap().1;
            default = typed(&kind, &text[..text.len() - 1]);
        } else if step.ends_with("with null value") {
            context = context.attribute(quoted[1], Value::Null);
        } else if step.starts_with("a context containing a key") {
            context = context.attribute(quoted[1], typed(quoted[3], quoted[5]));
        } else if step.starts_with("the flag was evaluated with details") {
            details = Some(evaluate(flags, &kind, &key, &context, &default));
        } else if step == "the evaluation should complete without blocking" {
            // Evaluation is no future: it has completed.
        } else {
            let details: &Details<Value> = details.as_ref().expect("it was evaluated");
            if let Some(text) = step.strip_prefix("the resolved details value should be \"") {
                let expected = typed(&kind, &text[..text.len() - 1]);
                let close = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
                    (Some(a), Some(b)) => a == b,
                    _ => a == b,
                };
                assert!(close(&details.value, &expected), "{say}: {details:?}");
            } else if step.starts_with("the reason should be") {
                assert_eq!(details.reason.as_str().to_uppercase(), expect(1), "{say}");
            } else if step.starts_with("the error-code should be") {
                let code = details.error.expect("there is an error").as_str();
                assert_eq!(code.to_uppercase(), expect(1), "{say}");
            } else if step.starts_with("the variant should be") {
                assert_eq!(details.variant.as_deref(), Some(expect(1)), "{say}");
            } else if step.starts_with("the flag key should be") {
                assert_eq!(key, expect(1), "{say}");
            } else if step.starts_with("the resolved metadata should contain") {
                assert!(!case.table.is_empty(), "{say}");
                for row in &case.table {
                    let expected = typed(&row["metadata_type"], &row["value"]);
                    assert_eq!(details.metadata[&row["key"]], expected, "{say}");
                }
            } else {
                panic!("unknown step: {say}");
            }
        }
    }
}

#[test]
fn evaluation_scenarios_hold() {
    let flags = Flags::from_json(&document().to_string()).unwrap();
    assert!(flags.problems().is_empty(), "{:?}", flags.problems());
    let cases = cases(include_str!("data/openfeature/evaluation_v2.feature"));
    let mut left_out: BTreeMap<&str, u32> = BTreeMap::new();
    let mut ran = 0;
    for case in &cases {
        match LEFT_OUT.iter().find(|(name, _)| *name == case.name) {
            Some((name, _)) => *left_out.entry(name).or_default() += 1,
            None => {
                run(case, &flags);
                ran += 1;
            }
        }
    }
    println!("{ran} cases hold; left out {left_out:?}");
    assert_eq!(left_out.len(), LEFT_OUT.len(), "an exclusion that excludes nothing");
    assert_eq!((ran, cases.len()), (68, 82));
}
