//! Entry points for fuzzing the cache, through the API that its users have: no input panics, hangs,
//! or makes it answer with anything but what the service sent.

use std::convert::Infallible;
use std::sync::Arc;

use bartizan::cache::{
    CacheLayer, KeyRules, Loaded, Purge, Record, ResponseCache, Store, StoreFuture, StoreKey,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use sha2::{Digest, Sha256};
use tower::{Layer, ServiceExt, service_fn};

const BODY: &[u8] = b"0123456789";

/// `Cache-Control`, `Age`, `Expires` and tags in a response, and `Cache-Control` in a request.
pub fn cache_control(data: &[u8]) {
    let [a, b, c] = thirds(data);
    let response = [
        ("cache-control", a),
        ("cache-control", b),
        ("age", b),
        ("expires", c),
        ("surrogate-key", c),
        ("cache-groups", c),
    ];
    exchanges(&response, &[("cache-control", c), ("pragma", a)]);
}

/// `Vary` and `No-Vary-Search` in a response, and the fields that they name.
pub fn vary(data: &[u8]) {
    let [a, b, c] = thirds(data);
    let response = [
        ("cache-control", &b"max-age=60"[..]),
        ("vary", a),
        ("vary", b"accept-encoding, accept-language"),
        ("no-vary-search", b),
        ("content-language", c),
    ];
    exchanges(&response, &[("accept-encoding", b), ("accept-language", c)]);
}

/// Targeted fields (RFC 9213).
pub fn targeted(data: &[u8]) {
    let [a, b, c] = thirds(data);
    let response = [("cdn-cache-control", a), ("cdn-cache-control", b), ("cache-control", c)];
    exchanges(&response, &[]);
}

/// `Range`, `If-Range` and conditions in a request, and `Content-Range` in a response.
pub fn range(data: &[u8]) {
    let [a, b, c] = thirds(data);
    let response = [("cache-control", &b"max-age=60"[..]), ("etag", c), ("content-range", b)];
    exchanges(&response, &[("range", a), ("if-range", c), ("if-none-match", b)]);
    let ranges = [b"bytes=".as_slice(), a].concat();
    exchanges(&[("cache-control", b"max-age=60")], &[("range", &ranges)]);
}

/// Heads and bodies as a store may return them, whatever became of them there.
pub fn envelope(data: &[u8]) {
    let (head, body) = data.split_at(data.len() / 2);
    let found = [
        Garbage { head: Bytes::copy_from_slice(data), body: Bytes::from_static(BODY) },
        Garbage { head: signed(head), body: Bytes::copy_from_slice(body) },
    ];
    for store in found {
        let cache = ResponseCache::new("fuzz").over(store);
        run(&CacheLayer::rfc(cache), &[("cache-control", b"max-age=60")], &[]);
    }
}

/// A head that is as it was written, whatever that was.
fn signed(head: &[u8]) -> Bytes {
    let digest = Sha256::digest(head);
    [b"bzc3", &digest[..16], head].concat().into()
}

fn thirds(data: &[u8]) -> [&[u8]; 3] {
    let third = data.len() / 3;
    [&data[..third], &data[third..2 * third], &data[2 * third..]]
}

type Fields<'a> = [(&'static str, &'a [u8])];

/// The same exchange three times, by each preset: a miss, and whatever comes of it.
fn exchanges(response: &Fields<'_>, request: &Fields<'_>) {
    let cache = || ResponseCache::new("fuzz").keyed_by(KeyRules::default().no_vary_search(true));
    run(&CacheLayer::rfc(cache()), response, request);
    run(&CacheLayer::safe(cache()), response, request);
}

fn run(layer: &CacheLayer, response: &Fields<'_>, request: &Fields<'_>) {
    let fields = |fields: &Fields<'_>| -> Vec<(HeaderName, HeaderValue)> {
        fields
            .iter()
            .filter_map(|(name, value)| {
                Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?))
            })
            .collect()
    };
    let (answered, asked) = (Arc::new(fields(response)), fields(request));
    let service = layer.layer(service_fn(move |_: Request<Empty<Bytes>>| {
        let mut response = Response::new(Full::new(Bytes::from_static(BODY)));
        response.headers_mut().extend(answered.iter().cloned());
        std::future::ready(Ok::<_, Infallible>(response))
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        for round in 0..3 {
            let mut request = Request::new(Empty::new());
            *request.uri_mut() = http::Uri::from_static("http://a.test/x?a=1");
            if round > 0 {
                request.headers_mut().extend(asked.iter().cloned());
            }
            let Ok(answer) = service.clone().oneshot(request).await;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
            match status {
                200 => assert_eq!(body, BODY),
                206 => assert!(
                    BODY.windows(body.len()).any(|part| part == body) || body.len() > BODY.len()
                ),
                304 | 416 => assert!(body.is_empty()),
                504 => {}
                _ => panic!("the service never said {status}"),
            }
        }
    });
}

#[derive(Debug)]
struct Garbage {
    head: Bytes,
    body: Bytes,
}

impl Store for Garbage {
    fn load<'a>(
        &'a self,
        _: StoreKey,
        suits: &'a (dyn Fn(&[u8]) -> bool + Send + Sync),
    ) -> StoreFuture<'a, Option<Loaded>> {
        // As a store that was not told to ask.
        suits(&self.head);
        let body = Full::new(self.body.clone()).map_err(|never: Infallible| match never {});
        Box::pin(std::future::ready(Ok(Some(Loaded::new(self.head.clone(), body)))))
    }

    fn save(&self, _: StoreKey, _: Record) -> StoreFuture<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn purge<'a>(&'a self, _: &'a Purge, _: Option<StoreKey>) -> StoreFuture<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
