//! A shared HTTP cache (RFC 9111): what a service has answered once and allows to be reused is
//! answered from memory.
//!
//! [`CacheLayer`] stores the responses to GET requests that state how long they are fresh
//! (`s-maxage`, `max-age`, `Expires`), in as many variants as their `Vary` makes, and answers GET
//! and HEAD requests with them, conditional ones by `304 Not Modified`. A response streams to the
//! client while it is copied; a hit costs the same for every size of body. `Cache-Status`
//! (RFC 9211) says on each response how it came about.
//!
//! # Examples
//!
//! On an axum router:
//!
//! ```
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use bartizan_cache::{CacheLayer, ResponseCache};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = ResponseCache::new("api");
//! let app: Router = Router::new()
//!     .route("/", get(|| async { ([("cache-control", "max-age=60")], "hello") }))
//!     .layer(CacheLayer::new(cache));
//!
//! let get = || Request::get("/").header("host", "example.test").body(Body::empty());
//! let first = app.clone().oneshot(get()?).await?;
//! assert_eq!(first.headers()["cache-status"], "api; fwd=uri-miss; stored");
//! // It is stored when the client has read it to the end.
//! axum::body::to_bytes(first.into_body(), 1024).await?;
//!
//! let second = app.oneshot(get()?).await?;
//! assert!(second.headers()["cache-status"].to_str()?.starts_with("api; hit; ttl="));
//! assert!(second.headers().contains_key("age"));
//! # Ok(())
//! # }
//! ```
//!
//! With limits of one's own, one part per tenant, and a resource that is changed behind the cache:
//!
//! ```
//! use bartizan_cache::{CacheLayer, Key, ResponseCache, Settings, key};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::default().max_bytes(256 << 20).max_body_bytes(4 << 20);
//! let cache = ResponseCache::new("pages").settings(settings)?;
//! let tenant = http::HeaderName::from_static("x-tenant");
//! let layer = CacheLayer::new(cache.clone()).partition(key::header(tenant)).status(false);
//!
//! cache.invalidate_in(Key::of("acme".as_bytes()), &"https://example.test/prices".parse()?);
//! # Ok(())
//! # }
//! ```
//!
//! # What is stored, and what is not
//!
//! - **Only with explicit freshness.** Nothing is guessed, there is no default lifetime.
//! - **Never**: a response with `Set-Cookie`, `private`, `no-store` or `Vary: *`; to a request with
//!   `no-store`, a range, `If-Match` or a body; a part (206); one that was broken off, is of
//!   another length than declared, ends with trailers, or is longer than allowed.
//! - **Credentials**: responses to requests with `Authorization`, or with a [`Principal`] that an
//!   auth layer found, are stored only if they say `public`, `s-maxage` or `must-revalidate`
//!   (RFC 9111 §3.5), and such requests are answered only with what says so. Sessions by cookie
//!   alone are not known to this layer: their responses have to say `private`.
//! - **Stale responses** with an `ETag` or `Last-Modified` are validated by the next request, in
//!   place of its own conditions; others are fetched anew. They are served unvalidated only to a
//!   request with `max-stale`, and only if the response allows that.
//! - **Unsafe methods**, unknown ones too, invalidate their target and what `Location` and
//!   `Content-Location` of the same origin name, unless the answer is an error.
//! - The **key** is the whole target URI: scheme, host, path and query. Where the URI has no host,
//!   it is that of `Host`.
//!
//! Not there yet: one fetch for concurrent misses, `stale-while-revalidate` and `stale-if-error`,
//! ranges from the store, `CDN-Cache-Control` (RFC 9213), tags.
//!
//! # Place in the stack
//!
//! Inside auth and limits, outside the breaker: a cache outside auth would answer whom auth
//! refuses. Outside of compression if it shall store what was compressed; the response then has to
//! say `Vary: Accept-Encoding`. Inside axum's nested routers the URI is cut: enable the feature
//! `axum`, or give each nest a [partition](CacheLayer::partition), or `/a/x` is answered with what
//! was stored for `/b/x`.
//!
//! # When not to use it
//!
//! - For responses that say nothing of their freshness: have the handlers say it first.
//! - For one cache over several processes: each process stores for itself.
//! - To memoise something within a handler: use a map.
//!
//! # When things fail
//!
//! - **The service fails**: its answer is passed on; what is stored stays. An error is not stored
//!   unless it states its freshness.
//! - **A client goes away in mid-body**: what it was reading is not stored.
//! - **A flood of new URIs**: within [`Settings::max_bytes`], by weight, what is asked for least
//!   makes room. Bodies on their way may take as much again, then further ones are not copied.
//! - **Turned off** ([`Mode::Off`]), the cache neither serves nor stores, but unsafe requests still
//!   invalidate, so that turning it on again is safe. In [`Mode::Shadow`] it stores and counts,
//!   and serves nothing.
//! - **A restart** forgets all that was stored.
//!
//! # Features
//!
//! - `axum`: the key is made of the URI that the client sent, also inside nested routers.
//!
//! [`Principal`]: bartizan_core::Principal

mod body;
mod directives;
mod engine;
mod entry;
mod exchange;
mod fill;
mod future;
mod invalidate;
pub mod key;
mod layer;
mod list;
mod memory;
mod observe;
mod service;
mod settings;
mod state;
mod status;
mod validate;

pub use bartizan_core::{Clock, ConfigError, Engine, Key, KeyExtractor, Mode, Switch};

pub use self::body::CacheBody;
pub use self::engine::ResponseCache;
pub use self::future::ResponseFuture;
pub use self::layer::CacheLayer;
pub use self::service::Cache;
pub use self::settings::Settings;
