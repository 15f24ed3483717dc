use std::pin::Pin;
use std::task::{Context, Poll};

use bartizan_core::ConfigError;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower_service::Service;

use super::HttpClient;

/// reqwest as a service of the requests that issuers are asked by.
#[derive(Clone)]
struct Adapter(reqwest::Client);

impl HttpClient {
    /// A client by reqwest, as for its proxies and certificates. Redirects are turned off.
    ///
    /// # Errors
    ///
    /// If the client cannot be built.
    pub fn reqwest(builder: reqwest::ClientBuilder) -> Result<Self, ConfigError> {
        let built = builder.redirect(reqwest::redirect::Policy::none()).build();
        // What reqwest says could hold an address.
        let client = built.map_err(|_| {
            ConfigError::new("client", "cannot be built", "see reqwest's `ClientBuilder::build`")
        })?;
        Ok(Self::new(Adapter(client)))
    }
}

impl Service<Request<Full<Bytes>>> for Adapter {
    type Response = Response<reqwest::Body>;
    type Error = reqwest::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move {
            let request = request.map(reqwest::Body::wrap).try_into()?;
            Ok(client.execute(request).await?.into())
        })
    }
}
