//! Greets without a key, with one that may not, and with one that may until it is told to slow down. See the README beside this package.

use std::error::Error;

use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

use self::greeter::GreetRequest;
use self::greeter::greeter_client::GreeterClient;

#[allow(clippy::all, clippy::must_use_candidate, missing_docs, reason = "generated")]
#[allow(
    clippy::exhaustive_structs,
    clippy::use_self,
    missing_debug_implementations,
    unreachable_pub,
    dead_code
)]
mod greeter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "50051".to_owned());
    let mut client = GreeterClient::connect(format!("http://127.0.0.1:{port}")).await?;
    let key = MetadataValue::from_static("greet_4f1c9a7e2b6d8035c1e7f9a2");
    let other = MetadataValue::from_static("greet_08d7b3f5a1c64e92907b5d3c");
    for call in 0..6 {
        let mut request = Request::new(GreetRequest { name: "Bart".to_owned() });
        if call > 0 {
            let key = if call == 1 { &other } else { &key };
            request.metadata_mut().insert("x-api-key", key.clone());
        }
        match client.greet(request).await {
            Ok(reply) => println!("{}", reply.into_inner().message),
            Err(status) => {
                let pushback = status.metadata().get("grpc-retry-pushback-ms");
                let retry = pushback
                    .and_then(|value| value.to_str().ok())
                    .map_or_else(String::new, |millis| format!(", retry in {millis} ms"));
                let code = match status.code() {
                    Code::PermissionDenied => "PERMISSION_DENIED",
                    Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
                    Code::Unauthenticated => "UNAUTHENTICATED",
                    _ => "another status",
                };
                println!("{code}: {}{retry}", status.message());
            }
        }
    }
    Ok(())
}
