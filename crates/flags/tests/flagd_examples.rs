//! The positive and negative examples of flagd's own schema repository.

use std::fs;
use std::path::{Path, PathBuf};

use bartizan_flags::{EvaluationContext, Flags};
use serde_json::{Value, json};

fn data(folder: &str) -> Vec<(PathBuf, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder);
    let entries = fs::read_dir(folder).expect("the examples are there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.sort();
    let read = |path: &Path| {
        let text = fs::read_to_string(path).expect("an example is text");
        serde_json::from_str(&text).expect("an example is JSON")
    };
    files.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// A document whose only flag has `rule` as its targeting.
fn targeted(rule: &Value) -> Value {
    json!({
        "flags": {"f": {"state": "ENABLED", "variants": {"on": true}, "targeting": rule}},
        "$evaluators": {"some-ref": {"var": "x"}},
    })
}

/// Several examples are lists of rules dressed up as one product.
fn rules(document: &Value) -> Vec<Value> {
    match document.get("*").and_then(Value::as_array) {
        Some(rules) => rules.clone(),
        None => vec![document.clone()],
    }
}

fn problems(document: &Value) -> Vec<String> {
    match Flags::from_json(&document.to_string()) {
        Ok(flags) => flags.problems().iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}

#[test]
fn good_documents_load_whole() {
    let mut seen = 0;
    for (path, document) in data("flags/positive") {
        // The array form is flagd's own, and not that of a flag file.
        if document["flags"].is_object() {
            assert_eq!(problems(&document), [""; 0], "{}", path.display());
            seen += 1;
        }
    }
    assert_eq!(seen, 8);
}

/// The two examples of flagd's own daemon format. A flag file is what `flags.json` says, and that
/// has no array form: its negative examples hold one, so the daemon's array is refused as well.
#[test]
fn the_daemon_format_loads_as_far_as_it_is_a_flag_file() {
    let loaded = |(path, document): (PathBuf, Value)| {
        let sound = problems(&document).is_empty();
        assert_eq!(sound, document["flags"].is_object(), "{}", path.display());
        sound
    };
    let loaded: Vec<_> = data("flagd/positive").into_iter().map(loaded).collect();
    assert_eq!(loaded, [false, true]);
}

#[test]
fn the_minimal_example_loads() {
    let flags = Flags::from_json(include_str!("data/minimal.json")).unwrap();
    assert!(flags.problems().is_empty());
}

/// Whether an example comes to what its folder says.
fn holds(folder: &str, document: &Value) -> bool {
    let loads_whole = |document: &Value| problems(document).is_empty();
    match folder {
        // The array form is flagd's own, and not that of a flag file.
        "flags/positive" | "flagd/positive" => {
            loads_whole(document) == document["flags"].is_object()
        }
        "flags/negative" => problems(document).len() == 1,
        "targeting/positive" => rules(document).iter().all(|rule| loads_whole(&targeted(rule))),
        _ => problems(&targeted(document)).len() == 1,
    }
}

#[test]
fn no_example_is_left_out_and_each_comes_to_what_its_folder_says() {
    let folders = [
        "flags/positive",
        "flags/negative",
        "targeting/positive",
        "targeting/negative",
        "flagd/positive",
    ];
    let all: Vec<_> = folders
        .into_iter()
        .flat_map(|folder| data(folder).into_iter().map(move |one| (folder, one)))
        .collect();
    let held = all.iter().filter(|(folder, (_, document))| holds(folder, document)).count();
    let verdict = if (held, all.len()) == (36, 36) { "ok" } else { "short" };
    println!("bar: flagd_schema_examples {held} 36 {verdict}");
    assert_eq!(verdict, "ok", "of {}", all.len());
}

#[test]
fn each_bad_document_is_reported() {
    for (path, document) in data("flags/negative") {
        // Its `malformed-flag` is one sound flag and one bad one, so one problem as well.
        assert_eq!(problems(&document).len(), 1, "{}", path.display());
    }
}

#[test]
fn good_rules_compile() {
    for (path, document) in data("targeting/positive") {
        for rule in rules(&document) {
            assert_eq!(problems(&targeted(&rule)), [""; 0], "{}: {rule}", path.display());
        }
    }
}

#[test]
fn each_bad_rule_is_reported() {
    for (path, rule) in data("targeting/negative") {
        assert_eq!(problems(&targeted(&rule)).len(), 1, "{}", path.display());
    }
}

#[test]
fn the_full_example_answers() {
    let flags = Flags::from_json(include_str!("data/full.json")).unwrap();
    // Two of its flags hold rules that flagd's schema refuses.
    assert_eq!(flags.problems().len(), 2);
    let context = EvaluationContext::new()
        .attribute("fn", "Sulisław")
        .attribute("ln", "Świętopełk")
        .attribute("age", 29)
        .attribute("customer", false)
        .attribute("version", "3.1.0")
        .attribute("time", 1);
    assert_eq!(flags.string("context-aware", &context, ""), "INTERNAL");
    assert_eq!(flags.string("context-aware", &EvaluationContext::new(), ""), "EXTERNAL");
    assert_eq!(flags.string("major-minor-version-flag", &context, ""), "major");
    assert_eq!(flags.integer("timestamp-flag", &context, 0), -1);
    assert_eq!(flags.integer("myNumberFlag", &context, 0), 2);
    assert_eq!(flags.object("myObjectFlag", &context, Value::Null), json!({"key": "val"}));
}
