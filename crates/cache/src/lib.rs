//! A shared HTTP cache (RFC 9111): what a service has answered once and allows to be reused is
//! answered from memory.
//!
//! [`CacheLayer`] stores the responses to GET requests that state how long they are fresh
//! (`s-maxage`, `max-age`, `Expires`, or a targeted field of RFC 9213), in as many variants as
//! their `Vary` makes, and answers GET and HEAD requests with them: conditional ones by
//! `304 Not Modified`, ranges by `206 Partial Content`. Concurrent requests for the same resource
//! share one fetch. A response streams to all who wait for it while it is stored; a hit costs the
//! same for every size of body. `Cache-Status` (RFC 9211) says on each response how it came about.
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
//! // It is stored when a client has read it to the end.
//! axum::body::to_bytes(first.into_body(), 1024).await?;
//!
//! let second = app.oneshot(get()?).await?;
//! assert!(second.headers()["cache-status"].to_str()?.starts_with("api; hit; ttl="));
//! assert!(second.headers().contains_key("age"));
//! # Ok(())
//! # }
//! ```
//!
//! With limits of one's own, one part per tenant, campaigns that do not matter, and resources that
//! are changed behind the cache:
//!
//! ```
//! use bartizan_cache::{CacheLayer, KeyRules, Purge, ResponseCache, Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::default().max_bytes(256 << 20).max_body_bytes(4 << 20);
//! let keys = KeyRules::default().tenant().ignore_query(["utm_*"]);
//! let cache = ResponseCache::new("pages").settings(settings)?.keyed_by(keys);
//! let layer = CacheLayer::safe(cache.clone()).status(false);
//!
//! cache.purge(&Purge::tag("prices").soft());
//! cache.purge(&Purge::uri("https://example.test/prices".parse()?));
//! # Ok(())
//! # }
//! ```
//!
//! # Two presets
//!
//! [`CacheLayer::safe`], the default, is careful where the standard leaves traps: credentials and
//! cookies, `Set-Cookie`, fields that steer the service past the key. [`CacheLayer::rfc`] is the
//! letter of the standard. Their differences are settings of the layer, one by one.
//!
//! # What is stored, and what is not
//!
//! - **Only with explicit freshness**, unless a default, a lifetime by status or heuristics are
//!   asked for.
//! - **Never**: a response that says `private`, `no-store` or `Vary: *`; to a request with
//!   `no-store`, `If-Match` or a body; one that was broken off, is of another length than declared,
//!   ends with trailers, is longer than allowed, or has more than 1000 tags and groups. With the safe preset also: one with
//!   `Set-Cookie`, and one to a request with credentials, unless it says `public`.
//! - **Stale responses** with an `ETag` or `Last-Modified` are validated, in place of the client's
//!   own conditions, also what is stale in a [`Store`] behind memory; others are fetched anew. They are served as they are where they or the settings
//!   grant it: while one request fetches a fresh one, for errors (RFC 5861), or for `max-stale`.
//! - **Unsafe methods**, unknown ones too, invalidate their target, what `Location` and
//!   `Content-Location` of the same origin name, and the groups that `Cache-Group-Invalidation`
//!   names (RFC 9875), unless the answer is an error.
//! - The **key** is the whole target URI, as far as [`KeyRules`] do not say otherwise. Where the
//!   URI has no host, it is that of `Host`. A request whose `Host` is another one, or none that is
//!   plain, has no key and goes past the cache.
//!
//! # Place in the stack
//!
//! Inside auth and limits, outside the breaker: a cache outside auth would answer whom auth
//! refuses; a breaker inside lets stale responses stand in while it is open. Outside of compression
//! if it shall store what was compressed; the response then has to say `Vary: Accept-Encoding`.
//! Inside axum's nested routers the URI is cut: enable the feature `axum`, or give each nest a
//! cache of its own, or `/a/x` is answered with what was stored for `/b/x`.
//!
//! # When not to use it
//!
//! - For responses that say nothing of their freshness: have the handlers say it first.
//! - To memoise something within a handler: use a map.
//!
//! # When things fail
//!
//! - **The service fails**: its answer is passed on, unless a stale response may stand in. An error
//!   is not stored unless it states its freshness, or a lifetime is set for its status. One of those
//!   who waited for it asks next.
//! - **A client goes away**: those who wait for the same response read on. If nobody does, the
//!   request is cancelled and nothing is stored.
//! - **The response cannot be shared**, or does not come within [`Settings::follow_wait`]: each who
//!   waited asks the service itself.
//! - **The service panics**: so does the request that polled it, and the one that it was for;
//!   others ask anew.
//! - **A flood of new URIs**: within [`Settings::max_bytes`], by weight, what is asked for least
//!   makes room. Bodies on their way may take as much again, then further ones are not stored.
//! - **Turned off** ([`Mode::Off`]), the cache neither serves nor stores, but unsafe requests still
//!   invalidate, so that turning it on again is safe. In [`Mode::Shadow`] it stores and counts,
//!   and serves nothing.
//! - **A restart** forgets all that was stored in memory. A [`Store`] behind memory
//!   ([`ResponseCache::over`]) may outlive it; one that is slow, down or corrupt is a miss within
//!   [`Settings::store_deadline`], and left alone for a second after five failures in a row.
//!
//! # Features
//!
//! - `axum`: the key is made of the URI that the client sent, also inside nested routers.

mod admin;
mod after;
mod bell;
mod body;
mod by_key;
mod confirm;
mod control;
mod decide;
mod directives;
mod engine;
mod entry;
mod envelope;
mod error;
mod exchange;
mod fields;
mod flight;
mod flights;
mod further;
mod future;
mod head;
mod invalidate;
mod key;
mod layer;
mod lease;
mod leg;
mod list;
mod memory;
mod observe;
mod owed;
mod purge;
mod range;
mod rules;
mod seen;
mod serve;
mod service;
mod settings;
mod stand_in;
mod state;
mod status;
mod store;
mod stream;
mod tags;
mod targeted;
mod validate;

pub use bartizan_core::{Clock, ConfigError, Engine, Http, Mode, Snapshot, Switch};

pub use self::admin::{PurgeAdmin, PurgeBody, PurgeFuture};
pub use self::body::{BoxError, CacheBody};
pub use self::control::{
    CacheControl, CacheControlLayer, CacheControlService, ControlBody, ControlFuture,
};
pub use self::engine::ResponseCache;
pub use self::error::{StoreError, StoreErrorKind};
pub use self::future::ResponseFuture;
pub use self::key::{KeyRules, RequestHead};
pub use self::layer::CacheLayer;
pub use self::lease::{Lease, Turn};
pub use self::purge::{Purge, What};
pub use self::rules::SetCookie;
pub use self::service::Cache;
pub use self::settings::Settings;
pub use self::store::{FirstTier, Loaded, Record, Store, StoreBody, StoreFuture, StoreKey};
