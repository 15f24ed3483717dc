use bartizan_core::ConfigError;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::HttpClient;

impl HttpClient {
    /// The client of one's own: hyper over rustls, by the roots that the system trusts.
    ///
    /// # Errors
    ///
    /// If the system has no roots.
    pub fn https() -> Result<Self, ConfigError> {
        // Named here: the process-wide provider of rustls is neither read nor set.
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|_| {
                let problem = "no roots to trust on this system";
                ConfigError::new("client", problem, "install ca-certificates, or bring a client")
            })?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self::new(Client::builder(TokioExecutor::new()).build(connector)))
    }
}
