//! Fields of responses, on their way into the store and out of it.

use std::fmt::{Display, Write};
use std::time::{Duration, UNIX_EPOCH};

use bytes::BytesMut;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, DATE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use httpdate::HttpDate;

use crate::list;

/// For what a stored response is given: its date and its length.
const ADDED: usize = 2;
/// For their text.
const ADDED_TEXT: usize = 29 + 20;

/// The fields that are not about the connection (RFC 9111 §3.1), with room for what is added, also
/// for its text.
///
/// All values are in one buffer: that is less to let go of, and keeps no buffer alive that a whole
/// exchange was read into.
pub(crate) fn end_to_end(headers: &HeaderMap) -> (HeaderMap, BytesMut) {
    let named: Vec<_> = list::members(headers, CONNECTION).collect();
    let is_named = |name: &HeaderName| {
        named.iter().any(|named| name.as_str().as_bytes().eq_ignore_ascii_case(named))
    };
    let len: usize = headers.values().map(HeaderValue::len).sum();
    let mut text = BytesMut::with_capacity(len + ADDED_TEXT);
    let mut kept = HeaderMap::with_capacity(headers.len() + ADDED);
    for (name, value) in headers {
        if !is_of_the_connection(name) && !is_named(name) {
            text.extend_from_slice(value.as_bytes());
            let mut copy = written(&mut text).unwrap_or_else(|| value.clone());
            copy.set_sensitive(value.is_sensitive());
            kept.append(name.clone(), copy);
        }
    }
    (kept, text)
}

/// What was written since the last time.
fn written(text: &mut BytesMut) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(text.split().freeze()).ok()
}

fn is_of_the_connection(name: &HeaderName) -> bool {
    let is_standard = matches!(
        *name,
        CONNECTION
            | PROXY_AUTHENTICATE
            | PROXY_AUTHORIZATION
            | TE
            | TRAILER
            | TRANSFER_ENCODING
            | UPGRADE
    );
    is_standard
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "proxy-authentication-info")
}

/// Removes what describes a part from the head of the whole.
pub(crate) fn without_part(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(CONTENT_RANGE);
    headers.remove(CONTENT_LENGTH);
    headers
}

/// The cookies that a `304 Not Modified` sets: for this client, never for the store.
pub(crate) fn take_cookies(headers: &mut HeaderMap) -> Vec<HeaderValue> {
    let cookies = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    cookies
}

pub(crate) fn set_date(headers: &mut HeaderMap, unix: Duration, text: &mut BytesMut) {
    // The format ends with the year 9999, long before the clock does.
    let last = Duration::from_secs(253_402_300_799);
    set(headers, DATE, HttpDate::from(UNIX_EPOCH + unix.min(last)), text);
}

pub(crate) fn set_length(headers: &mut HeaderMap, length: u64, text: &mut BytesMut) {
    set(headers, CONTENT_LENGTH, length, text);
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: impl Display, text: &mut BytesMut) {
    // A buffer takes what there is memory for.
    let _ = write!(text, "{value}");
    if let Some(value) = written(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_copied_whole_and_keep_no_other_buffer_alive() {
        let mut secret = HeaderValue::from_static("s");
        secret.set_sensitive(true);
        let buffer = bytes::Bytes::from(vec![b'x'; 4096]);
        let slice = HeaderValue::from_maybe_shared(buffer.slice(..3)).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [("link", "<a>"), ("link", "<b>"), ("connection", "X-Hop")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.insert("x-hop", HeaderValue::from_static("1"));
        headers.insert("x-secret", secret);
        headers.insert("x-slice", slice);
        let (mut kept, mut text) = end_to_end(&headers);
        drop(headers);
        assert!(buffer.is_unique());
        set_length(&mut kept, u64::MAX, &mut text);
        let all: Vec<_> = kept.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let expected = [
            ("link", "<a>"),
            ("link", "<b>"),
            ("x-secret", "s"),
            ("x-slice", "xxx"),
            ("content-length", "18446744073709551615"),
        ];
        assert!(
            expected.iter().all(|(name, value)| {
                all.iter().any(|(kept, said)| kept == name && said == value)
            })
        );
        assert_eq!(all.len(), expected.len());
        assert!(kept["x-secret"].is_sensitive() && !kept["x-slice"].is_sensitive());
    }

    #[test]
    fn a_clock_beyond_all_dates_does_not_panic() {
        let mut headers = HeaderMap::new();
        set_date(&mut headers, Duration::MAX, &mut BytesMut::new());
        assert_eq!(headers[DATE], "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
