//! The words that every Bartizan layer shares.
//!
//! A user of the layers rarely needs this crate by name: each room re-exports what its own API
//! mentions. It is for whoever writes a layer in the same style.
//!
//! | to say | use |
//! |---|---|
//! | how a layer refuses, delivers and annotates | [`Protocol`]: [`Http`] or [`Plain`] |
//! | why a request was turned away | [`Rejection`] |
//! | how an exchange ended | [`Outcome`], told to a [`Watch`]; judged by a [`Verdict`] |
//! | whom a request is counted under | [`Key`], [`KeyExtractor`], the extractors in [`key`] |
//! | where a request comes from | [`ClientIp`], [`ClientIpLayer`] |
//! | who calls | [`Principal`] |
//! | whether a layer acts | [`Mode`], [`Switch`] |
//! | what time it is | [`Clock`], [`Timestamp`] |
//! | what may change while running | [`Live`] |
//! | what an operator sees and sets | [`Engine`], [`Registry`], [`Snapshot`], [`Metric`] |
//!
//! # Examples
//!
//! A refusal, as an HTTP caller and as a gRPC caller receive it:
//!
//! ```
//! use std::time::Duration;
//!
//! use bartizan_core::{Http, Protocol, Rejection};
//! use http::{Request, Response, StatusCode};
//!
//! type Inner = Response<http_body_util::Empty<bytes::Bytes>>;
//! type Answer = Result<Response<bartizan_core::ResponseBody<http_body_util::Empty<bytes::Bytes>>>, ()>;
//!
//! let busy = Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "try again")
//!     .retry_after(Duration::from_millis(1200));
//! let http = Http::new();
//!
//! let request = Request::new(());
//! let dialect = Protocol::<_, Inner, ()>::dialect(&http, &request);
//! let answer: Answer = Protocol::<Request<()>, Inner, ()>::refuse(&http, dialect, busy.clone());
//! assert_eq!(answer.unwrap().headers()["retry-after"], "2");
//!
//! let request = Request::builder().header("content-type", "application/grpc").body(()).unwrap();
//! let dialect = Protocol::<_, Inner, ()>::dialect(&http, &request);
//! let answer: Answer = Protocol::<Request<()>, Inner, ()>::refuse(&http, dialect, busy);
//! assert_eq!(answer.unwrap().headers()["grpc-status"], "14");
//! ```
//!
//! # Features
//!
//! - `axum`: the peer's address is read from axum's `ConnectInfo`, and the
//!   route's template from its `MatchedPath`.
//! - `tonic`: the peer's address is read from tonic's `TcpConnectInfo`.

mod body;
mod client_ip;
mod clock;
mod counters;
mod engine;
mod error;
mod grpc;
mod hops;
pub mod key;
mod live;
mod metric;
mod mode;
mod outcome;
mod principal;
mod protocol;
mod rejection;
mod retry_after;

pub use self::body::ResponseBody;
pub use self::client_ip::{ClientAddr, ClientIp, ClientIpLayer, ClientIpService, PeerAddr};
pub use self::clock::{Clock, Timestamp};
pub use self::counters::Counters;
pub use self::engine::{Engine, Registry, Snapshot};
pub use self::error::ConfigError;
pub use self::key::{Key, KeyExtractor};
pub use self::live::{Live, Reader};
pub use self::metric::{Counter, Metric, MetricKind, Sample};
pub use self::mode::{Mode, Switch};
pub use self::outcome::{Outcome, Verdict, Watch};
pub use self::principal::Principal;
pub use self::protocol::{Http, HttpDialect, Plain, Protocol};
pub use self::rejection::{Refused, Rejection};
pub use self::retry_after::retry_after;
