//! The shop itself: what an API does when nothing guards it.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Sse;
use axum::response::sse::Event;
use serde_json::{Value, json};
use tokio::time::{interval, sleep};
use tokio_stream::wrappers::IntervalStream;
use tokio_stream::{Stream, StreamExt};

/// What is for sale.
pub(crate) async fn products() -> Json<Value> {
    Json(json!([{ "id": 1, "name": "anvil" }, { "id": 2, "name": "bellows" }]))
}

/// When a parcel arrives. Asks a carrier, and the one called `down` never answers properly.
pub(crate) async fn shipping(Path(carrier): Path<String>) -> Result<Json<Value>, StatusCode> {
    if carrier == "down" {
        return Err(StatusCode::BAD_GATEWAY);
    }
    Ok(Json(json!({ "carrier": carrier, "days": 3 })))
}

/// Adds up the sales, which takes two seconds.
pub(crate) async fn report() -> Json<Value> {
    sleep(Duration::from_secs(2)).await;
    Json(json!({ "sold": 42 }))
}

/// Tells of a sale every second, for as long as the caller listens.
pub(crate) async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut sold = 41;
    let sales = IntervalStream::new(interval(Duration::from_secs(1))).map(move |_| {
        sold += 1;
        Ok(Event::default().event("sale").data(sold.to_string()))
    });
    Sse::new(sales)
}
