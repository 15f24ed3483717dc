//! The shop itself: what an API does when nothing guards it.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Sse};
use bartizan::auth::Caller;
use serde_json::{Value, json};
use tokio::time::{interval, sleep};
use tokio_stream::wrappers::IntervalStream;
use tokio_stream::{Stream, StreamExt};

/// What is for sale: the same for every caller, so that one copy may serve all.
pub(crate) async fn products() -> impl IntoResponse {
    let products = json!([{ "id": 1, "name": "anvil" }, { "id": 2, "name": "bellows" }]);
    ([(CACHE_CONTROL, "public, max-age=30")], Json(products))
}

/// Puts something up for sale.
pub(crate) async fn add_product(Caller(seller): Caller) -> (StatusCode, Json<Value>) {
    (StatusCode::CREATED, Json(json!({ "id": 3, "seller": seller.subject() })))
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
