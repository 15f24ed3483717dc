//! Who calls, and whether they may.
//!
//! An [`Authenticator`] holds one or more [`Scheme`]s: [`Jwt`] for tokens of an issuer (HS, RS, PS,
//! ES and EdDSA, by static keys or by [`Jwks`], with presets for well-known issuers in [`Oidc`]),
//! [`Introspection`] for opaque tokens, [`IssuedKeys`] and [`ApiKeys`] for keys of one's own, `Basic`
//! for users, or what one writes oneself; one of them is enough, or [`AllOf`] several.
//! [`AuthLayer`] asks it about every request, puts the [`Principal`] into the request's extensions
//! (and removes one that was there), and answers whoever proves nothing with 401, problem details
//! and challenges (RFC 6750; gRPC: `UNAUTHENTICATED`). [`RequireLayer`] guards what is inside it by
//! a [`Requirement`] and answers with 403 (gRPC: `PERMISSION_DENIED`), [`RouteGuards`] does so for
//! many routes in one list, and [`AuthorizeLayer`] asks a policy of one's own.
//!
//! # Examples
//!
//! API keys on an axum router. Reading takes any caller, writing a scope:
//!
//! ```
//! use axum::{Extension, Router, routing::{get, post}};
//! use bartizan_auth::{ApiKeys, AuthLayer, Authenticator, Principal, RequireLayer};
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = ApiKeys::new();
//! keys.insert("bz_Yk3vD0mQx8sT1nB6wLr9aC2e", Principal::new("billing").with_scopes(["orders:read"]))?;
//! let auth = Authenticator::new("orders").scheme(keys);
//!
//! let writers = RequireLayer::new(auth.clone()).scopes(["orders:write"]);
//! let app: Router = Router::new()
//!     .route("/orders", post(|| async { "created" }).route_layer(writers))
//!     .route("/me", get(|Extension(who): Extension<Principal>| async move {
//!         who.subject().to_owned()
//!     }))
//!     .route_layer(AuthLayer::new(auth));
//!
//! let request = |method, path, key| {
//!     Request::builder().method(method).uri(path).header("x-api-key", key).body(String::new())
//! };
//! let key = "bz_Yk3vD0mQx8sT1nB6wLr9aC2e";
//! let response = app.clone().oneshot(request("GET", "/me", key)?).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! let response = app.clone().oneshot(request("POST", "/orders", key)?).await?;
//! assert_eq!(response.status(), StatusCode::FORBIDDEN);
//! let response = app.clone().oneshot(request("GET", "/me", "another")?).await?;
//! assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(response.headers()["www-authenticate"], r#"ApiKey realm="orders""#);
//! # Ok(())
//! # }
//! ```
//!
//! Tokens, without tower, and with a clock that the test moves:
//!
#![cfg_attr(any(feature = "aws-lc", feature = "rust-crypto"), doc = include_str!("jwt.md"))]
//!
//! # Place in the stack
//!
//! Inside `CorsLayer`, so that 401 carries its fields and preflights never get here; where that
//! cannot be, [`Settings::preflight`]. Inside the limit by address, which bounds guessing; outside
//! all that reads the principal, and outside the cache, which would serve one caller's answers to
//! another. With axum's `Router::layer` an unknown route is 401 without a credential, with
//! `Router::route_layer` it is 404.
//!
//! # When not to use it
//!
//! - For logins and sessions: nothing is ever written, and a browser's cookie is no credential here.
//! - For DPoP, client certificates or signed requests: not built. Tokens that are bound to a key are
//!   refused.
//! - For decisions on a single object, as whether this order is this caller's: ask the principal
//!   where the object is loaded.
//!
//! # When things fail
//!
//! - **The issuer is away**: the last good keys are used for as long as [`Jwks::max_age`] says, and
//!   then, or if none were ever there, the answer is 503 and `Retry-After` for every token, since it
//!   may be valid. When the issuer is back, so are the keys.
//! - **Keys are rotated without notice**: a token whose key is not there waits for one fetch; a flood
//!   of made-up names costs one per cooldown, and requests with known keys see nothing of it.
//! - **A new document is broken**, too long, redirected, or says the wrong issuer: the last good keys
//!   stay, and an event says why.
//! - **One key of a document is of no use** (unknown type, weak, off its curve, for encryption): it is
//!   left out and told by [`KeySet::skipped`].
//! - **An introspecting issuer or a store of keys is away**: 503, unless the answer is remembered.
//! - **Passwords come faster than they are hashed**: two are hashed at once, 64 wait, the rest get 503.
//! - **The wall clock is wrong**: tokens expire early or late by as much. Leeway is 30 seconds by
//!   default, and 5 minutes at most.
//! - **A token is revoked**: it is good until it expires, unless it is on the [`Denylist`]. Whether
//!   one that fell silent lets pass or refuses is [chosen](Denylist::stale_after).
//! - **The audit trail's sink is slow**: events are dropped and counted; no request waits.
//! - **A policy cannot be asked** ([`Ruling::Unavailable`]): 503, never a pass.
//! - **A kid flood, huge tokens**: keys are looked up in memory only; what is longer than 8 KiB is
//!   refused before it is decoded.
//!
//! # Costs
//!
//! A token is parsed once, verified by a key that was read once, with that key's algorithm and no
//! other, and then remembered ([`Jwt::cache_bytes`]): the next time it costs a hash of it, a comparison and
//! the extension that holds the principal. A scheme that has to wait costs a boxed future, nobody else
//! pays for it; an anonymous request allocates nothing. See `docs/performance.md`.
//!
//! # Features
//!
//! - `aws-lc` (default): tokens are verified with AWS-LC.
//! - `rust-crypto`: tokens are verified with RustCrypto, by way of jsonwebtoken.
//! - `hyper` (default): `HttpClient::https`, hyper over rustls. Without it one brings a service.
//! - `reqwest`: `HttpClient::reqwest`.
//! - `basic`: `Basic`.
//! - `axum`: the extractors `Caller` and `Permit`.
//!
//! Without a backend there are API keys and schemes of one's own only. If both are on, each set of
//! keys is read by one or the other (`Backend`), by default by AWS-LC: the process-wide provider of
//! jsonwebtoken is neither read nor set.

#![cfg_attr(
    not(any(feature = "aws-lc", feature = "rust-crypto")),
    allow(dead_code, reason = "much is for tokens only")
)]

mod admit;
mod api_key;
mod attempts;
mod audit;
mod authorize;
#[cfg(feature = "basic")]
mod basic;
mod bearer;
mod challenge;
mod claims;
mod client;
mod denylist;
mod engine;
mod error;
#[cfg(feature = "axum")]
mod extract;
mod flights;
mod forward;
mod future;
mod health;
mod hooks;
mod identify;
mod introspect;
#[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
mod jwt;
#[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
mod keys;
mod layer;
mod members;
mod observe;
#[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
mod oidc;
mod parties;
mod pointer;
mod scheme;
mod service;
mod settings;
mod verified;
mod waiting;

pub use bartizan_core::{
    Clock, ConfigError, Engine, Http, Key, Mode, Principal, Rejection, ResponseBody, Snapshot,
    Switch,
};

pub use self::api_key::{
    ApiKeyStore, ApiKeys, Found, IssuedKey, IssuedKeys, KeyRecord, KeyTable, Peppers, StoreAway,
};
pub use self::attempts::Attempts;
pub use self::audit::{Audit, AuditDecision, AuditEvent, AuditSink, AuditStage, TracingSink};
pub use self::authorize::{
    Authorize, AuthorizeFuture, AuthorizeLayer, Authorizer, Finding, Guarded, Require,
    RequireLayer, Requirement, RouteGuards, RouteGuardsLayer, Ruling,
};
#[cfg(feature = "basic")]
pub use self::basic::Basic;
pub use self::client::HttpClient;
pub use self::denylist::{Denylist, Full, Revocation, WhenStale};
pub use self::engine::{Authenticator, Decision};
pub use self::error::{Denial, Fault};
#[cfg(feature = "axum")]
pub use self::extract::{Caller, NoCaller, NotPermitted, Permit, Requires};
pub use self::future::ResponseFuture;
pub use self::introspect::Introspection;
#[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
pub use self::jwt::Jwt;
#[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
pub use self::keys::{Algorithm, Backend, Jwks, KeySet, Keys};
pub use self::layer::AuthLayer;
#[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
pub use self::oidc::Oidc;
pub use self::parties::{Audience, Issuer};
pub use self::scheme::{AllOf, Scheme, Verdict, Way};
pub use self::service::Auth;
pub use self::settings::Settings;
pub use self::waiting::AuthFuture;
