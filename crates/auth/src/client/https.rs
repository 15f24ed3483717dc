use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bartizan_core::ConfigError;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioExecutor;
use tower_service::Service;

use super::HttpClient;
use super::public::is_public;
use crate::scheme::Later;

impl HttpClient {
    /// The client of one's own: hyper over rustls, by the roots that the system trusts.
    ///
    /// # Errors
    ///
    /// If the system has no roots.
    pub fn https() -> Result<Self, ConfigError> {
        Self::over(false)
    }

    /// As [`HttpClient::https`], but asks nobody on one's own networks: neither at a private,
    /// local or reserved address, nor at a name that stands for such ones only.
    ///
    /// For issuers that others name, as tenants do.
    ///
    /// # Errors
    ///
    /// If the system has no roots.
    pub fn https_to_public() -> Result<Self, ConfigError> {
        Ok(Self { public_only: true, ..Self::over(true)? })
    }

    fn over(public_only: bool) -> Result<Self, ConfigError> {
        // Named here: the process-wide provider of rustls is neither read nor set.
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let resolver = Resolver { resolver: GaiResolver::new(), public_only };
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|_| {
                let problem = "no roots to trust on this system";
                ConfigError::new("client", problem, "install ca-certificates, or bring a client")
            })?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self::new(Client::builder(TokioExecutor::new()).build(connector)))
    }
}

/// The system's, of which some answers may be left out: the address that was looked at is then the
/// one that is connected to.
#[derive(Clone)]
struct Resolver {
    resolver: GaiResolver,
    public_only: bool,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Error;
    type Future = Later<Result<Self::Response, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.resolver.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (found, public_only) = (self.resolver.call(name), self.public_only);
        Box::pin(async move {
            let may = |address: &SocketAddr| !public_only || is_public(address.ip());
            let addresses: Vec<_> = found.await?.filter(may).collect();
            if addresses.is_empty() {
                return Err(Error::from(ErrorKind::AddrNotAvailable));
            }
            Ok(addresses.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::Full;
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::FetchFault;

    #[tokio::test]
    async fn api7_names_and_addresses_of_ones_own_network_are_not_asked_if_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ask = async |client: &HttpClient, host: &str| {
            let mut request = Request::new(Full::<Bytes>::default());
            *request.uri_mut() = format!("https://{host}:{port}/keys").parse().unwrap();
            client.ask(request).await.map(drop)
        };
        let strict = HttpClient::https_to_public().unwrap();
        for host in ["127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]"] {
            assert_eq!(ask(&strict, host).await, Err(FetchFault::Insecure), "{host}");
        }
        let open = HttpClient::https().unwrap();
        // By name too: nobody connects.
        assert_eq!(ask(&strict, "localhost").await, Err(FetchFault::Unreachable));
        let accept =
            async || tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
        assert!(accept().await.is_err());
        let (asked, accepted) = tokio::join!(ask(&open, "localhost"), async {
            drop(listener.accept().await.unwrap());
        });
        assert_eq!((asked, accepted), (Err(FetchFault::Unreachable), ()));
    }
}
