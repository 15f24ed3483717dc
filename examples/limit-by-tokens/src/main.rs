//! A budget of model tokens, reserved before the answer and settled after it. See the README beside
//! this package.

use std::error::Error;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::response::Response;
use axum::{Router, routing::post};
use bartizan::auth::{ApiKeys, AuthLayer, Authenticator, Principal};
use bartizan::core::key;
use bartizan::rate_limit::{Policy, Quota, RateLimitLayer, RateLimiter, Reservation};
use futures_util::stream;
use tokio::net::TcpListener;
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let keys = ApiKeys::new();
    keys.insert("demo_ann_2f8a61c4b7d90e35aa14", Principal::new("ann"))?;
    keys.insert("demo_bob_91c0d7b25e4f8a63bb70", Principal::new("bob"))?;
    let auth = Authenticator::new("demo").scheme(keys);

    // Whoever calls may make 20 calls a minute, and spend 1000 tokens a minute on them.
    let limiter = RateLimiter::with_policies([
        Policy::new("calls", Quota::per_minute(20)?).flat(),
        Policy::new("tokens", Quota::per_minute(1000)?),
    ])?;
    // By who has proved to call: a field as it came would be a new budget for each key made up.
    let layers = ServiceBuilder::new()
        .layer(AuthLayer::new(auth))
        .layer(RateLimitLayer::new(limiter).key(key::principal()).reserve_with(estimate));
    let app = Router::new().route("/complete", post(complete)).layer(layers);

    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// The most that an answer may cost: a token for every four bytes of the prompt, and 200 more.
fn estimate(request: &Request) -> u32 {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|length| length.parse::<u32>().ok()).unwrap_or(0) / 4 + 200
}

/// Answers with the words of the prompt, each a token. The bill is settled when the answer has been
/// sent, or when the caller has gone.
async fn complete(Extension(reservation): Extension<Reservation>, prompt: String) -> Response {
    let words: Vec<String> = prompt.split_whitespace().map(|word| format!("{word}\n")).collect();
    let bill = Bill { spent: 0, reservation };
    let answer = stream::unfold((words.into_iter(), bill), |(mut words, mut bill)| async {
        let word = words.next()?;
        bill.spent += 1;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(word)), (words, bill)))
    });
    Response::new(Body::from_stream(answer))
}

struct Bill {
    spent: u32,
    reservation: Reservation,
}

impl Drop for Bill {
    fn drop(&mut self) {
        self.reservation.settle(self.spent);
    }
}
