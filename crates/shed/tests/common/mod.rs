//! What the tests of waiting and of operating begin with.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::time::Duration;

use bartizan_core::{Clock, Engine};
use bartizan_shed::{LoadShedder, Settings};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

pub(crate) const MILLI: Duration = Duration::from_millis(1);

pub(crate) type Answer = Result<Response<Full<Bytes>>, Infallible>;

pub(crate) fn one_slot() -> (LoadShedder, Clock) {
    let clock = Clock::manual();
    let settings = Settings::fixed(1).critical_slots(0.0);
    let shedder = LoadShedder::new("test").clock(clock.clone()).settings(settings).unwrap();
    (shedder, clock)
}

pub(crate) async fn hello(_: Request<()>) -> Answer {
    Ok(Response::new(Full::from("hi")))
}

pub(crate) fn to(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

pub(crate) fn refusals(shedder: &LoadShedder, reason: &str) -> f64 {
    shedder.snapshot().value("bartizan_shed_refusals_total", reason).unwrap()
}
