//! Exchanges are over when a server has sent all that it sends, whether or not it asks a body for more.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bartizan::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use bartizan::core::Registry;
use http::header::CONTENT_LENGTH;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Two pieces of a body that does not say when it is over, as of a file or a stream.
fn pieces() -> Body {
    let pieces = ["hel", "lo"].map(|piece| Ok::<_, Infallible>(Frame::data(piece.into())));
    Body::new(StreamBody::new(tokio_stream::iter(pieces)))
}

#[tokio::test]
async fn what_is_sent_whole_over_http_1_is_no_exchange_that_was_given_up() {
    let breaker = CircuitBreaker::new("served");
    let registry = Registry::new();
    registry.register(breaker.clone());
    let app = Router::new()
        .route("/declared", get(|| async { ([(CONTENT_LENGTH, "5")], pieces()) }))
        .route("/chunked", get(|| async { pieces() }))
        .route("/known", get(|| async { "hello" }))
        .layer(CircuitBreakerLayer::new(breaker));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let requests = [
        ("GET", "/declared"),
        ("HEAD", "/declared"),
        ("GET", "/chunked"),
        ("HEAD", "/chunked"),
        ("GET", "/known"),
        ("HEAD", "/known"),
    ];
    for (before, (method, path)) in requests.into_iter().enumerate() {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(answer.contains("hel"), method == "GET", "{answer}");
        let told = format!("outcome=\"success\"}} {}\n", before + 1);
        let over = async {
            while !registry.to_prometheus().contains(&told) {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), over).await;
        assert!(waited.is_ok(), "{method} {path}: {}", registry.to_prometheus());
    }
}
