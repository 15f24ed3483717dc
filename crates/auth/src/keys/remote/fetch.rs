//! What an issuer publishes, asked for and read.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use serde::Deserialize;

use super::Jwks;
use crate::client::{FetchFault, HttpClient};
use crate::{Backend, KeySet};

/// Where keys are to be had.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// At this address.
    Jwks(Uri),
    /// At the address that the issuer's configuration names (OpenID Connect Discovery 1.0 §4), if
    /// it names `issuer`, and a host that is expected.
    Issuer { configuration: Uri, issuer: String, host: Option<String> },
}

/// Asks an issuer, and remembers what spares it work.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: HttpClient,
    source: Source,
    backend: Backend,
    /// Where the keys were found to be.
    found: Option<Uri>,
    etag: Option<HeaderValue>,
    document: Bytes,
}

/// What an issuer answered.
pub(super) struct Fetched {
    /// Absent if nothing has changed.
    pub(super) set: Option<KeySet>,
    /// For how long the answer is fresh, if it says so.
    pub(super) fresh: Option<Duration>,
}

#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

impl Fetcher {
    pub(super) fn new(jwks: &Jwks) -> Self {
        let Jwks { client, source, backend, .. } = jwks.clone();
        Self { client, source, backend, found: None, etag: None, document: Bytes::new() }
    }

    /// Asks for the keys. Where nothing new is found, they may have moved meanwhile: then the
    /// issuer is asked where they are now, though the old address still answers.
    pub(super) async fn fetch(&mut self) -> Result<Fetched, FetchFault> {
        let Some(known) = self.found.clone() else {
            let uri = self.locate().await?;
            return self.fetch_from(uri).await;
        };
        let fetched = self.fetch_from(known.clone()).await;
        if matches!(fetched, Ok(Fetched { set: Some(_), .. }) | Err(FetchFault::Busy(_))) {
            return fetched;
        }
        match self.locate().await {
            Ok(uri) if uri != known => {
                // Its tags are others.
                self.etag = None;
                self.fetch_from(uri).await
            }
            // What cannot be said anew stays.
            _ => fetched,
        }
    }

    async fn locate(&mut self) -> Result<Uri, FetchFault> {
        let (configuration, issuer, host) = match &self.source {
            Source::Jwks(uri) => return Ok(uri.clone()),
            Source::Issuer { configuration, issuer, host } => (configuration, issuer, host),
        };
        let response = self.get(configuration.clone(), None).await?;
        let found: Configuration =
            serde_json::from_slice(response.body()).map_err(|_| FetchFault::Document)?;
        if found.issuer != *issuer {
            return Err(FetchFault::Issuer);
        }
        let uri = self.client.address("jwks_uri", &found.jwks_uri);
        let uri = uri.map_err(|_| FetchFault::Insecure)?;
        if host.as_deref().is_some_and(|host| uri.host() != Some(host)) {
            return Err(FetchFault::Insecure);
        }
        self.found = Some(uri.clone());
        Ok(uri)
    }

    async fn fetch_from(&mut self, uri: Uri) -> Result<Fetched, FetchFault> {
        let response = self.get(uri, self.etag.clone()).await?;
        let (head, body) = response.into_parts();
        let fresh = freshness(&head.headers);
        if head.status == StatusCode::NOT_MODIFIED {
            return Ok(Fetched { set: None, fresh });
        }
        let set = if body == self.document {
            None
        } else {
            let text = std::str::from_utf8(&body).map_err(|_| FetchFault::Document)?;
            Some(KeySet::from_jwks_by(self.backend, text).map_err(|_| FetchFault::Document)?)
        };
        self.etag = head.headers.get(ETAG).cloned();
        self.document = body;
        Ok(Fetched { set, fresh })
    }

    /// Whom it asks.
    pub(super) fn host(&self) -> &str {
        match &self.source {
            Source::Jwks(uri) | Source::Issuer { configuration: uri, .. } => {
                uri.host().unwrap_or_default()
            }
        }
    }

    /// Forgets what it has, so that the next answer is taken whole.
    pub(super) fn forget(&mut self) {
        self.etag = None;
        self.document = Bytes::new();
    }

    async fn get(
        &self,
        uri: Uri,
        etag: Option<HeaderValue>,
    ) -> Result<Response<Bytes>, FetchFault> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let conditional = etag.is_some();
        if let Some(etag) = etag {
            request.headers_mut().insert(IF_NONE_MATCH, etag);
        }
        let response = self.client.ask(request).await?;
        // Whoever was asked for the whole thing cannot say that nothing has changed.
        if response.status() == StatusCode::NOT_MODIFIED && !conditional {
            return Err(FetchFault::Status);
        }
        Ok(response)
    }
}

/// `max-age`, less what the answer spent in caches; zero if it is not to be kept (RFC 9111 §4.2).
fn freshness(headers: &HeaderMap) -> Option<Duration> {
    let mut fresh = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-cache" | "no-store" => return Some(Duration::ZERO),
                "max-age" => {
                    let seconds = argument.trim().trim_matches('"').parse().ok()?;
                    fresh = Some(Duration::from_secs(seconds));
                }
                _ => {}
            }
        }
    }
    let age = headers.get(http::header::AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok());
    fresh.map(|fresh| fresh.saturating_sub(Duration::from_secs(age.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_is_read() {
        let fresh = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            freshness(&headers).map(|fresh| fresh.as_secs())
        };
        assert_eq!(fresh(&[("cache-control", "public, max-age=600, must-revalidate")]), Some(600));
        assert_eq!(fresh(&[("cache-control", "Max-Age=600"), ("age", "100")]), Some(500));
        assert_eq!(fresh(&[("cache-control", "max-age=60"), ("age", "100")]), Some(0));
        assert_eq!(fresh(&[("cache-control", "max-age=60, no-store")]), Some(0));
        assert_eq!(fresh(&[("cache-control", "max-age=x")]), None);
        assert_eq!(fresh(&[("cache-control", "public")]), None);
        assert_eq!(fresh(&[]), None);
    }
}
