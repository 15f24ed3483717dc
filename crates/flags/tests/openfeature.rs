//! OpenFeature's own evaluation scenarios, read from its gherkin file: asked of the engine, and, with
//! the feature `open-feature`, through the SDK as well.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeMap;

use bartizan_flags::Flags;
use serde_json::{Map, Value, json};

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

/// Which provider a scenario wants.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Stable,
    NotReady,
}

/// What a scenario asks.
struct Ask<'a> {
    wanted: Wanted,
    kind: &'a str,
    key: &'a str,
    context: &'a [(String, Value)],
    default: &'a Value,
}

/// What it sees.
#[derive(Debug)]
struct Seen {
    value: Value,
    variant: Option<String>,
    reason: String,
    error: Option<String>,
    metadata: Map<String, Value>,
}

/// Runs one case; every step must be known.
fn run(case: &Case, evaluate: &dyn Fn(Ask<'_>) -> Seen) {
    let (mut wanted, mut context) = (Wanted::Stable, Vec::new());
    let (mut kind, mut key, mut default) = (String::new(), String::new(), Value::Null);
    let mut seen = None;
    for step in &case.steps {
        let quoted: Vec<&str> = step.split('"').collect();
        let say = format!("{}: {step}", case.name);
        let expect = |at: usize| quoted[at];
        if step == "a stable provider" {
            wanted = Wanted::Stable;
        } else if step == "a not ready provider" {
            wanted = Wanted::NotReady;
        } else if step.contains("-flag with key") {
            kind = step.split(['-', ' ']).nth(1).unwrap().to_owned();
            key = quoted[1].to_owned();
            // A default may hold quotes of its own.
            let text = step.split_once("fallback value \"").unwrap().1;
            default = typed(&kind, &text[..text.len() - 1]);
        } else if step.ends_with("with null value") {
            context.push((quoted[1].to_owned(), Value::Null));
        } else if step.starts_with("a context containing a key") {
            context.push((quoted[1].to_owned(), typed(quoted[3], quoted[5])));
        } else if step.starts_with("the flag was evaluated with details") {
            let ask = Ask { wanted, kind: &kind, key: &key, context: &context, default: &default };
            seen = Some(evaluate(ask));
        } else if step == "the evaluation should complete without blocking" {
            // It has completed: evaluation waits for nothing, and the SDK's futures end at once.
        } else {
            let seen: &Seen = seen.as_ref().expect("it was evaluated");
            if let Some(text) = step.strip_prefix("the resolved details value should be \"") {
                let expected = typed(&kind, &text[..text.len() - 1]);
                let close = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
                    (Some(a), Some(b)) => a == b,
                    _ => a == b,
                };
                assert!(close(&seen.value, &expected), "{say}: {seen:?}");
            } else if step.starts_with("the reason should be") {
                assert_eq!(seen.reason, expect(1), "{say}");
            } else if step.starts_with("the error-code should be") {
                assert_eq!(seen.error.as_deref(), Some(expect(1)), "{say}");
            } else if step.starts_with("the variant should be") {
                assert_eq!(seen.variant.as_deref(), Some(expect(1)), "{say}");
            } else if step.starts_with("the flag key should be") {
                assert_eq!(key, expect(1), "{say}");
            } else if step.starts_with("the resolved metadata should contain") {
                assert!(!case.table.is_empty(), "{say}");
                for row in &case.table {
                    let expected = typed(&row["metadata_type"], &row["value"]);
                    assert_eq!(seen.metadata[&row["key"]], expected, "{say}");
                }
            } else {
                panic!("unknown step: {say}");
            }
        }
    }
}

/// Runs all cases but those that are left out; says how many ran.
fn run_all(left_out: &[(&str, &str)], evaluate: &dyn Fn(Ask<'_>) -> Seen) -> usize {
    let cases = cases(include_str!("data/openfeature/evaluation_v2.feature"));
    assert_eq!(cases.len(), 82);
    let mut excluded: BTreeMap<&str, u32> = BTreeMap::new();
    let mut ran = 0;
    for case in &cases {
        match left_out.iter().find(|(name, _)| *name == case.name) {
            Some((name, _)) => *excluded.entry(name).or_default() += 1,
            None => {
                run(case, evaluate);
                ran += 1;
            }
        }
    }
    println!("{ran} cases hold; left out {excluded:?}");
    assert_eq!(excluded.len(), left_out.len(), "an exclusion that excludes nothing");
    ran
}

/// That so many scenarios were run, and held.
fn bar(case: &str, ran: usize, of: usize) {
    let verdict = if ran == of { "ok" } else { "short" };
    println!("bar: {case} {ran} {of} {verdict}");
    assert_eq!(verdict, "ok");
}

fn loaded() -> Flags {
    let flags = Flags::from_json(&document().to_string()).unwrap();
    assert!(flags.problems().is_empty(), "{:?}", flags.problems());
    flags
}

mod engine {
    use bartizan_flags::{Details, EvaluationContext};

    use super::*;

    /// Scenarios that are not about evaluation, or about what an engine in process does not have.
    const LEFT_OUT: [(&str, &str); 5] = [
        (
            "Provider in fatal state error",
            "a document that cannot be read leaves the last good one",
        ),
        ("CACHED reason", "an answer is remembered within a request, where it is as good as new"),
        ("Provider status accessibility", "see the SDK"),
        ("Evaluation options with hooks", "see the SDK"),
        ("Evaluation context immutability", "see the SDK; here, contexts are taken by reference"),
    ];

    fn seen<T: Into<Value>>(details: Details<T>) -> Seen {
        Seen {
            value: details.value.into(),
            variant: details.variant.map(|variant| variant.as_ref().to_owned()),
            reason: details.reason.as_str().to_uppercase(),
            error: details.error.map(|code| code.as_str().to_uppercase()),
            metadata: (*details.metadata).clone(),
        }
    }

    #[test]
    fn evaluation_scenarios_hold() {
        let (stable, not_ready) = (loaded(), Flags::empty());
        let ran = run_all(&LEFT_OUT, &|Ask { wanted, kind, key, context, default }| {
            let flags = if wanted == Wanted::Stable { &stable } else { &not_ready };
            let context = context.iter().fold(EvaluationContext::new(), |all, (name, value)| {
                all.attribute(name, value.clone())
            });
            match kind {
                "Boolean" => seen(flags.bool_details(key, &context, default.as_bool().unwrap())),
                "String" => seen(flags.string_details(key, &context, default.as_str().unwrap())),
                "Integer" => seen(flags.integer_details(key, &context, default.as_i64().unwrap())),
                "Float" => seen(flags.float_details(key, &context, default.as_f64().unwrap())),
                "Object" => seen(flags.object_details(key, &context, default.clone())),
                other => panic!("unknown type {other}"),
            }
        });
        bar("openfeature_scenarios", ran, 68);
    }
}

#[cfg(feature = "open-feature")]
mod sdk {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use bartizan_core::Clock;
    use bartizan_flags::OpenFeatureProvider;
    use open_feature::provider::{FeatureProvider, ProviderStatus};
    use open_feature::{
        Client, EvaluationContext, EvaluationDetails, EvaluationError, EvaluationOptions,
        EvaluationResult, FlagMetadataValue, Hook, HookContext, HookHints, OpenFeature,
        StructValue, Value as Their, async_trait,
    };

    use super::*;

    /// What version 0.3 of the SDK cannot express, and what no provider of ours can be in.
    const LEFT_OUT: [(&str, &str); 6] = [
        (
            "Provider in fatal state error",
            "a document that cannot be read leaves the last good one",
        ),
        ("CACHED reason", "the provider keeps no answers"),
        ("DISABLED reason", "the SDK takes no default, so there is no value to go with the reason"),
        ("Provider status accessibility", "below, without FATAL, which the SDK does not have"),
        ("Evaluation options with hooks", "below"),
        ("Evaluation context immutability", "below"),
    ];

    async fn client(name: &str, provider: OpenFeatureProvider) -> Client {
        let mut api = OpenFeature::singleton_mut().await;
        api.set_named_provider(name, provider).await;
        api.create_named_client(name)
    }

    fn ours(value: &Their) -> Value {
        match value {
            Their::Bool(value) => Value::from(*value),
            Their::Int(value) => Value::from(*value),
            Their::Float(value) => Value::from(*value),
            Their::String(value) => Value::from(value.as_str()),
            Their::Array(items) => items.iter().map(ours).collect(),
            Their::Struct(value) => of_struct(value),
        }
    }

    fn of_struct(value: &StructValue) -> Value {
        value.fields.iter().map(|(name, value)| (name.clone(), ours(value))).collect()
    }

    fn seen<T>(
        result: EvaluationResult<EvaluationDetails<T>>,
        default: &Value,
        value: impl FnOnce(T) -> Value,
    ) -> Seen {
        match result {
            Ok(details) => Seen {
                value: value(details.value),
                variant: details.variant,
                reason: details.reason.unwrap().to_string(),
                error: None,
                metadata: details
                    .flag_metadata
                    .values
                    .into_iter()
                    .map(|(name, value)| {
                        let value = match value {
                            FlagMetadataValue::Bool(value) => Value::from(value),
                            FlagMetadataValue::Int(value) => Value::from(value),
                            FlagMetadataValue::Float(value) => Value::from(value),
                            FlagMetadataValue::String(value) => Value::from(value),
                        };
                        (name, value)
                    })
                    .collect(),
            },
            // What the SDK leaves to the caller.
            Err(error) => Seen {
                value: default.clone(),
                variant: None,
                reason: "ERROR".to_owned(),
                error: Some(error.code.to_string()),
                metadata: Map::new(),
            },
        }
    }

    struct Any(StructValue);

    impl TryFrom<StructValue> for Any {
        type Error = String;

        fn try_from(value: StructValue) -> Result<Self, String> {
            Ok(Self(value))
        }
    }

    fn context(fields: &[(String, Value)]) -> EvaluationContext {
        fields.iter().fold(EvaluationContext::default(), |all, (name, value)| match value {
            // The SDK has no null; an attribute that is absent means the same.
            Value::Null => all,
            Value::Bool(value) => all.with_custom_field(name, *value),
            Value::Number(value) => all.with_custom_field(name, value.as_i64().unwrap()),
            other => all.with_custom_field(name, other.as_str().unwrap()),
        })
    }

    #[test]
    fn evaluation_scenarios_hold_through_the_sdk() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let stable = runtime.block_on(client("stable", OpenFeatureProvider::new(loaded())));
        let not_ready = OpenFeatureProvider::new(Flags::empty());
        let not_ready = runtime.block_on(client("not ready", not_ready));
        let ran = run_all(&LEFT_OUT, &|Ask { wanted, kind, key, context: fields, default }| {
            let client = if wanted == Wanted::Stable { &stable } else { &not_ready };
            let context = context(fields);
            let with = Some(&context);
            runtime.block_on(async {
                match kind {
                    "Boolean" => {
                        seen(client.get_bool_details(key, with, None).await, default, Value::from)
                    }
                    "String" => {
                        seen(client.get_string_details(key, with, None).await, default, Value::from)
                    }
                    "Integer" => {
                        seen(client.get_int_details(key, with, None).await, default, Value::from)
                    }
                    "Float" => {
                        seen(client.get_float_details(key, with, None).await, default, Value::from)
                    }
                    "Object" => {
                        let details = client.get_struct_details::<Any>(key, with, None).await;
                        seen(details, default, |value| of_struct(&value.0))
                    }
                    other => panic!("unknown type {other}"),
                }
            })
        });
        bar("openfeature_scenarios_through_the_sdk", ran, 63);
    }

    /// "Provider status accessibility", but for FATAL.
    #[test]
    fn a_providers_status_is_told() {
        let status = |flags: &Flags| OpenFeatureProvider::new(flags.clone()).status();
        let clock = Clock::manual();
        let flags = Flags::named("flags").clock(clock.clone());
        flags.stale_after(Duration::from_secs(60));
        assert_eq!(status(&flags), ProviderStatus::NotReady);
        assert!(flags.replace("{").is_err());
        assert_eq!(status(&flags), ProviderStatus::Error);
        let feed = flags.feed(0);
        feed.replace(&document().to_string()).unwrap();
        feed.confirm();
        assert_eq!(status(&flags), ProviderStatus::Ready);
        clock.advance(Duration::from_secs(61));
        assert_eq!(status(&flags), ProviderStatus::STALE);
    }

    /// Notes when it is asked.
    struct Noting(&'static str, Arc<Mutex<Vec<String>>>);

    impl Noting {
        fn note(&self, when: &str) {
            self.1.lock().unwrap().push(format!("{} {when}", self.0));
        }
    }

    #[async_trait]
    impl Hook for Noting {
        async fn before<'a>(
            &self,
            _: &HookContext<'a>,
            _: Option<&'a HookHints>,
        ) -> Result<Option<EvaluationContext>, EvaluationError> {
            self.note("before");
            Ok(None)
        }

        async fn after<'a>(
            &self,
            _: &HookContext<'a>,
            _: &EvaluationDetails<Their>,
            _: Option<&'a HookHints>,
        ) -> Result<(), EvaluationError> {
            self.note("after");
            Ok(())
        }

        async fn error<'a>(
            &self,
            _: &HookContext<'a>,
            _: &EvaluationError,
            _: Option<&'a HookHints>,
        ) {
            self.note("error");
        }

        async fn finally<'a>(
            &self,
            _: &HookContext<'a>,
            _: &EvaluationDetails<Their>,
            _: Option<&'a HookHints>,
        ) {
            self.note("finally");
        }
    }

    /// "Evaluation options with hooks" and "Evaluation context immutability".
    #[tokio::test]
    async fn hooks_run_around_the_provider_in_order_and_a_context_stays_as_it_is() {
        let client = client("hooks", OpenFeatureProvider::new(loaded())).await;
        let noted = Arc::default();
        let options = EvaluationOptions::default()
            .with_hook(Noting("first", Arc::clone(&noted)))
            .with_hook(Noting("second", Arc::clone(&noted)));
        let context = EvaluationContext::default().with_custom_field("email", "a@b.test");
        let before = context.clone();
        let details = client.get_bool_details("boolean-flag", Some(&context), Some(&options)).await;
        assert!(details.unwrap().value);
        assert_eq!(context, before);
        let noted = noted.lock().unwrap();
        assert_eq!(
            *noted,
            [
                "first before",
                "second before",
                "second after",
                "first after",
                "second finally",
                "first finally",
            ]
        );
    }
}
