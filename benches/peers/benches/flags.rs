//! Bartizan's flags beside unleash-yggdrasil, datalogic-rs, and open-feature's flagd provider.
//!
//! The rule is `plan == premium`, else half of the users by their key; the user is on another plan
//! and pays for both steps. Contexts are built beforehand. datalogic-rs has no percentages without
//! its feature `flagd`, which would change the provider's as well: it does the first step alone,
//! once with its rule handed to it, and once with what ours does besides: found by name, and counted.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bartizan::core::Switch;
use bartizan::flags::{EvaluationContext, Flag, Flags, FlagsLayer, RequestFlags};
use bartizan_bench_peers::{Bars, Case, NoOp, Results, Serve, Traffic, run_with};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use open_feature::provider::FeatureProvider;
use open_feature_flagd::{FlagdOptions, FlagdProvider, ResolverType};
use serde_json::json;
use tower::{Layer, Service};
use unleash_yggdrasil::{EngineState, UpdateMessage};

static NEW_SEARCH: Flag<bool> = Flag::new("new-search", false);
static KILLED: Flag<bool> = Flag::new("killed", false);

fn main() -> ExitCode {
    let rule = case("rule", || {
        let (flags, context) = (flags(), context());
        alone(move || {
            black_box(NEW_SEARCH.get(&flags, &context));
        })
    })
    .beside("yggdrasil", || {
        let (state, context) = (yggdrasil(), yggdrasil_context());
        alone(move || {
            black_box(state.is_enabled("new-search", &context, &None));
        })
    })
    .beside("open-feature-flagd", flagd);
    let comparison = case("comparison", || {
        let (flags, context) = (flags(), context());
        let flag: Flag<bool> = Flag::new("compared", false);
        alone(move || {
            black_box(flag.get(&flags, &context));
        })
    })
    .beside("datalogic-rs", datalogic)
    .beside("datalogic-rs-by-name", datalogic_by_name);
    let bound = case("kill-switch-bound", || {
        let switch = Switch::default();
        flags().control("killed", switch.clone());
        alone(move || {
            black_box(switch.mode(|| None));
        })
    });
    let named = case("kill-switch-by-name", || {
        let (flags, nobody) = (flags(), EvaluationContext::new());
        alone(move || {
            black_box(KILLED.get(&flags, &nobody));
        })
    })
    .beside("yggdrasil", || {
        let (state, context) = (yggdrasil(), yggdrasil_context());
        alone(move || {
            black_box(state.is_enabled("killed", &context, &None));
        })
    });
    let layer = case("layer", || {
        let service = FlagsLayer::new(flags()).layer(Evaluating(inner()));
        Serve::new(service, Traffic::default())
    });
    // `http` allocates for whatever is put in a request's extensions: the no-op puts something there.
    let in_extensions = Case::new(
        "layer-in-extensions",
        || Serve::new(Inserting(inner()), Traffic::default()),
        || {
            let layer = FlagsLayer::new(flags()).in_extensions();
            Serve::new(layer.layer(Evaluating(inner())), Traffic::default())
        },
    );
    run_with(&[rule, comparison, bound, named, layer, in_extensions], hold)
}

fn hold(results: &Results<'_>, bars: &mut Bars) {
    let time = |case, who| results.over(case, who).nanoseconds;
    let rule = time("rule", "bartizan");
    bars.at_most("rule-ns", rule, 60.0);
    bars.at_most("rule-allocations", results.over("rule", "bartizan").allocations, 0.0);
    bars.at_most("rule-time-to-yggdrasil", rule / time("rule", "yggdrasil"), 0.5);
    bars.at_most("rule-time-to-flagd", rule / time("rule", "open-feature-flagd"), 0.5);
    let ratio = time("comparison", "bartizan") / time("comparison", "datalogic-rs");
    // A flag looked up, evaluated and counted, beside a bare rule.
    bars.at_most("comparison-time-to-datalogic", ratio, 1.0);
    bars.at_most("kill-switch-by-name-ns", time("kill-switch-by-name", "bartizan"), 10.0);
    bars.at_most("kill-switch-bound-ns", time("kill-switch-bound", "bartizan"), 10.0);
    let named = time("kill-switch-by-name", "bartizan");
    bars.at_most(
        "kill-switch-by-name-to-yggdrasil",
        named / time("kill-switch-by-name", "yggdrasil"),
        1.0,
    );
    bars.at_most("layer-and-evaluation-ns", time("layer", "bartizan"), 150.0);
    bars.at_most("layer-allocations", results.over("layer", "bartizan").allocations, 0.0);
    bars.at_most("layer-in-extensions-ns", time("layer-in-extensions", "bartizan"), 150.0);
    let allocations = results.over("layer-in-extensions", "bartizan").allocations;
    bars.at_most("layer-in-extensions-allocations", allocations, 0.0);
}

fn case(name: &str, ours: impl Fn() -> Serve + 'static) -> Case {
    Case::new(name, || Serve::new(inner(), Traffic::default()), ours)
}

const fn inner() -> NoOp<Full<Bytes>> {
    NoOp::new()
}

/// 200 flags, of which a few are asked for.
fn document() -> String {
    let boolean = json!({"on": true, "off": false});
    let premium = json!({"==": [{"var": "plan"}, "premium"]});
    let flag = |rule| json!({"state": "ENABLED", "variants": boolean, "defaultVariant": "off", "targeting": rule});
    let half = json!({"fractional": [["on", 50], ["off", 50]]});
    let mut flags = serde_json::Map::new();
    for n in 0..197 {
        flags.insert(format!("flag-{n}"), flag(json!({})));
    }
    flags.insert("new-search".into(), flag(json!({"if": [premium, "on", half]})));
    flags.insert("compared".into(), flag(json!({"if": [premium, "on", "off"]})));
    flags.insert("killed".into(), flag(json!({})));
    json!({"metadata": {"bucketing": "v3"}, "flags": flags}).to_string()
}

fn flags() -> Flags {
    Flags::from_json(&document()).expect("a sound document")
}

fn context() -> EvaluationContext {
    EvaluationContext::new()
        .targeting_key("user-1234")
        .attribute("plan", "free")
        .attribute("country", "CH")
        .attribute("version", "1.2.3")
        .attribute("beta", false)
}

fn yggdrasil() -> EngineState {
    let constraint = json!({"contextName": "plan", "operator": "IN", "values": ["premium"]});
    let mut features = vec![
        json!({"name": "new-search", "enabled": true, "strategies": [
            {"name": "default", "constraints": [constraint], "parameters": {}},
            {"name": "flexibleRollout", "parameters":
                {"rollout": "50", "stickiness": "userId", "groupId": "new-search"}},
        ]}),
        json!({"name": "killed", "enabled": false, "strategies": [
            {"name": "default", "parameters": {}},
        ]}),
    ];
    features.extend(
        (0..198).map(|n| json!({"name": format!("flag-{n}"), "enabled": true, "strategies": []})),
    );
    let features = json!({"version": 2, "features": features});
    let state = EngineState::default();
    let features = serde_json::from_value(features).expect("a sound document");
    let warnings = state.take_state(UpdateMessage::FullResponse(features));
    assert!(warnings.is_none(), "{warnings:?}");
    state
}

fn yggdrasil_context() -> unleash_yggdrasil::Context {
    let properties = [("plan", "free"), ("country", "CH"), ("version", "1.2.3"), ("beta", "false")];
    unleash_yggdrasil::Context {
        user_id: Some("user-1234".into()),
        properties: Some(properties.map(|(name, value)| (name.into(), value.into())).into()),
        ..Default::default()
    }
}

const RULE: &str = r#"{"if": [{"==": [{"var": "plan"}, "premium"]}, "on", "off"]}"#;

fn datalogic() -> Serve {
    let engine = datalogic_rs::Engine::new();
    let rule = engine.compile(RULE).expect("a sound rule");
    alone(move || {
        DATALOGIC.with_borrow_mut(|(data, arena)| {
            arena.reset();
            let result = engine.evaluate(&rule, &*data, arena).expect("it can be evaluated");
            black_box(result.as_str() == Some("on"));
        });
    })
}

/// The same as a flag among 200 that is counted, by what the standard library has for that.
fn datalogic_by_name() -> Serve {
    let engine = datalogic_rs::Engine::new();
    let rule = |name| (name, (engine.compile(RULE).expect("a sound rule"), AtomicU64::new(0)));
    let mut rules: HashMap<_, _> = (0..199).map(|n| rule(format!("flag-{n}"))).collect();
    rules.extend([rule("compared".to_owned())]);
    alone(move || {
        DATALOGIC.with_borrow_mut(|(data, arena)| {
            arena.reset();
            let (rule, count) = rules.get("compared").expect("it is there");
            let result = engine.evaluate(rule, &*data, arena).expect("it can be evaluated");
            count.fetch_add(1, Relaxed);
            black_box(result.as_str() == Some("on"));
        });
    })
}

thread_local! {
    /// Its context and arena, which stay on one thread.
    static DATALOGIC: RefCell<(datalogic_rs::ParsedData, datalogic_rs::bumpalo::Bump)> = {
        let data = datalogic_rs::ParsedData::from_json(
            r#"{"targetingKey": "user-1234", "plan": "free", "country": "CH", "version": "1.2.3",
            "beta": false}"#,
        );
        RefCell::new((data.expect("a sound context"), datalogic_rs::bumpalo::Bump::new()))
    };
}

fn flagd() -> Serve {
    let file = std::env::temp_dir().join(format!("bartizan-bench-{}.json", std::process::id()));
    std::fs::write(&file, document()).expect("the folder can be written to");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let provider = runtime.block_on(FlagdProvider::new(FlagdOptions {
        resolver_type: ResolverType::File,
        source_configuration: Some(file.display().to_string()),
        // With it a change of the file would not be seen for a minute.
        cache_settings: None,
        ..Default::default()
    }));
    let provider = provider.expect("a sound file");
    let context = open_feature::EvaluationContext::default()
        .with_targeting_key("user-1234")
        .with_custom_field("plan", "free")
        .with_custom_field("country", "CH")
        .with_custom_field("version", "1.2.3")
        .with_custom_field("beta", false);
    alone(move || {
        // Its futures wait now and then; what a runtime adds to its microseconds is little.
        let value = runtime.block_on(provider.resolve_bool_value("new-search", &context));
        black_box(value.is_ok());
    })
}

/// A service that puts a value of its own into the request.
#[derive(Clone)]
struct Inserting(NoOp<Full<Bytes>>);

impl Service<Request<()>> for Inserting {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = <NoOp<Full<Bytes>> as Service<Request<()>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<()>) -> Self::Future {
        request.extensions_mut().insert(7_u64);
        self.0.call(black_box(request))
    }
}

/// A handler that asks for a flag.
#[derive(Clone)]
struct Evaluating(NoOp<Full<Bytes>>);

impl Service<Request<()>> for Evaluating {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = <NoOp<Full<Bytes>> as Service<Request<()>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let flags = RequestFlags::current().expect("it is behind the layer");
        black_box(flags.get(&KILLED));
        self.0.call(request)
    }
}

/// An evaluation before the inner service's call, with nothing that a layer does.
#[derive(Clone)]
struct Alone<F> {
    call: Arc<F>,
    inner: NoOp<Full<Bytes>>,
}

fn alone(call: impl Fn() + Send + Sync + 'static) -> Serve {
    Serve::new(Alone { call: Arc::new(call), inner: inner() }, Traffic::default())
}

impl<F: Fn()> Service<Request<()>> for Alone<F> {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = <NoOp<Full<Bytes>> as Service<Request<()>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        (self.call)();
        self.inner.call(request)
    }
}
