//! A gRPC service behind Bartizan's layers. See the README beside this package.

use std::error::Error;
use std::net::SocketAddr;

use bartizan::auth::{ApiKeys, AuthLayer, Authenticator, Principal, RequireLayer};
use bartizan::core::{ClientIp, ClientIpLayer, key};
use bartizan::rate_limit::{Quota, RateLimitLayer, RateLimiter};
use bartizan::shed::{LoadShedLayer, LoadShedder};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tower::ServiceBuilder;

use self::greeter::greeter_server::{Greeter, GreeterServer};
use self::greeter::{GreetReply, GreetRequest};

#[allow(clippy::all, clippy::must_use_candidate, missing_docs, reason = "generated")]
#[allow(
    clippy::exhaustive_structs,
    clippy::use_self,
    missing_debug_implementations,
    unreachable_pub,
    dead_code
)]
mod greeter;

/// For the demonstration: a key in a program is no secret.
const API_KEY: &str = "greet_4f1c9a7e2b6d8035c1e7f9a2";
/// Of someone who may not be greeted.
const OTHER_KEY: &str = "greet_08d7b3f5a1c64e92907b5d3c";

struct Polite;

#[tonic::async_trait]
impl Greeter for Polite {
    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetReply>, Status> {
        let name = request.into_inner().name;
        Ok(Response::new(GreetReply { message: format!("Hello, {name}!") }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::var("PORT").map_or(Ok(50051), |port| port.parse())?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let keys = ApiKeys::new();
    keys.insert(API_KEY, Principal::new("bart").with_scopes(["greet"]))?;
    keys.insert(OTHER_KEY, Principal::new("bob"))?;
    let auth = Authenticator::new("greeter").scheme(keys);
    // The same layers as on axum: a refusal becomes a gRPC status by itself.
    let layers = ServiceBuilder::new()
        .layer(LoadShedLayer::new(LoadShedder::new("greeter")))
        .layer(ClientIpLayer::new(ClientIp::peer()))
        .layer(AuthLayer::new(auth.clone()).strip_credentials())
        .layer(RequireLayer::new(auth).scopes(["greet"]))
        .layer(
            RateLimitLayer::new(RateLimiter::new(Quota::per_minute(30)?.burst(3)?))
                .key(key::principal()),
        )
        .into_inner();
    println!("greeter listens on {address}");
    Server::builder().layer(layers).add_service(GreeterServer::new(Polite)).serve(address).await?;
    Ok(())
}
