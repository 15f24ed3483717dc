use std::time::Duration;

use bartizan::core::{Clock, Http, Key};
use bartizan::shed::{LoadShedLayer, LoadShedder, Priority, Settings};
use bartizan_benches::overload::{Ask, Contestant, Plan, Tally, run};
use bytes::Bytes;
use http::{Request, Response};
use tower::Layer;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;

/// A shedder on virtual time, and its clock.
fn shedder(settings: Settings) -> (LoadShedder, Clock) {
    let clock = Clock::manual();
    let shedder = LoadShedder::new("overload").clock(clock.clone());
    (shedder.settings(settings).expect("sound settings"), clock)
}

/// Refusals without a text: nobody reads it.
fn curt() -> Http {
    Http::new().respond_with(|_, rejection| {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = rejection.status();
        Some(response)
    })
}

/// Our layer with these settings.
pub(crate) fn contestant(name: &str, settings: Settings) -> Contestant<'static> {
    let run = move |plan: &Plan, seed| {
        let (shedder, clock) = shedder(settings);
        let layer = LoadShedLayer::new(shedder).http(curt());
        simulate(plan, seed, &clock, |worker| layer.layer(worker))
    };
    Contestant { name: name.to_owned(), run: Box::new(run) }
}

pub(crate) fn by_priority() -> Contestant<'static> {
    let run = |plan: &Plan, seed| {
        let (shedder, clock) = shedder(Settings::default());
        let layer =
            LoadShedLayer::new(shedder).http(curt()).priority(
                |request: &Request<Ask>| match request.body().group {
                    0 => Priority::Critical,
                    1 => Priority::Default,
                    2 => Priority::Sheddable,
                    _ => Priority::Background,
                },
            );
        simulate(plan, seed, &clock, |worker| layer.layer(worker))
    };
    Contestant { name: "by priority".to_owned(), run: Box::new(run) }
}

pub(crate) fn by_tenant() -> Contestant<'static> {
    let run = |plan: &Plan, seed| {
        let (shedder, clock) = shedder(Settings::default());
        let layer = LoadShedLayer::new(shedder)
            .http(curt())
            .tenant(|request: &Request<Ask>| Some(Key::of(&request.body().group)));
        simulate(plan, seed, &clock, |worker| layer.layer(worker))
    };
    Contestant { name: "by tenant".to_owned(), run: Box::new(run) }
}

/// tower's own two layers.
pub(crate) fn tower(limit: usize) -> Contestant<'static> {
    let run = move |plan: &Plan, seed| {
        run(plan, seed, |worker| LoadShed::new(ConcurrencyLimit::new(worker, limit)), |_| {})
    };
    Contestant { name: format!("tower({limit})"), run: Box::new(run) }
}

/// The server alone.
pub(crate) fn nothing() -> Contestant<'static> {
    let run = |plan: &Plan, seed| run(plan, seed, |worker| worker, |_| {});
    Contestant { name: "nothing".to_owned(), run: Box::new(run) }
}

fn simulate<S, B>(
    plan: &Plan,
    seed: u64,
    clock: &Clock,
    make: impl FnOnce(bartizan_benches::overload::Worker) -> S,
) -> Tally
where
    S: tower::Service<Request<Ask>, Response = Response<B>> + Clone,
{
    run(plan, seed, make, |nanos| clock.advance(Duration::from_nanos(nanos)))
}
