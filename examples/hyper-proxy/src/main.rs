//! A reverse proxy on hyper behind Bartizan's layers. See the README beside this package.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use bartizan::cache::{CacheLayer, ResponseCache};
use bartizan::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use bartizan::core::{ClientIp, ClientIpLayer, Http, Outcome, PeerAddr, Verdict};
use bartizan::shed::{LoadShedLayer, LoadShedder};
use http::uri::Scheme;
use http::{Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tower::timeout::Timeout;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use self::options::{Options, USAGE};

mod options;
mod proxy;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(Options { listen, upstream, cache }: Options) -> Result<(), Box<dyn Error>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Incoming>();
    // Inside the breaker, which must see the time-out as a failure.
    let client = Timeout::new(client, Duration::from_secs(30));
    let forward =
        service_fn(move |request| proxy::forward(client.clone(), upstream.clone(), request));
    let listener = TcpListener::bind(listen).await?;
    println!("proxy listens on http://{}", listener.local_addr()?);
    if cache {
        // A cache and nothing else: what the upstream says is what the clients see.
        let responses = ResponseCache::new("proxy").scheme(&Scheme::HTTP);
        accept(listener, CacheLayer::rfc(responses).layer(forward)).await
    } else {
        // An upstream that answers is well, whatever it answers: only the proxy's own 502 and 504 count.
        let unreachable = Http::new().classify_with(|status, _| {
            let failed = [StatusCode::BAD_GATEWAY, StatusCode::GATEWAY_TIMEOUT].contains(&status);
            Verdict::Known(if failed { Outcome::Failure } else { Outcome::Success })
        });
        let guarded = ServiceBuilder::new()
            .layer(LoadShedLayer::new(LoadShedder::new("proxy")))
            .layer(ClientIpLayer::new(ClientIp::peer()))
            .layer(CircuitBreakerLayer::new(CircuitBreaker::new("upstream")).protocol(unreachable))
            .service(forward);
        accept(listener, guarded).await
    }
}

/// Serves each connection by a clone of the service.
async fn accept<S, B>(listener: TcpListener, service: S) -> Result<(), Box<dyn Error>>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    loop {
        let (socket, peer) = listener.accept().await?;
        let service = service.clone();
        let connection = http1::Builder::new().serve_connection(
            TokioIo::new(socket),
            hyper::service::service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr::new(peer));
                service.clone().oneshot(request)
            }),
        );
        // A connection that breaks is the client's affair.
        tokio::spawn(async move { connection.await.ok() });
    }
}
