//! Fields of responses, on their way into the store and out of it.

use std::time::{Duration, UNIX_EPOCH};

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, DATE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::list;

/// The fields that are not about the connection (RFC 9111 §3.1).
pub(crate) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in list::members(headers, CONNECTION) {
        if let Ok(name) = HeaderName::from_bytes(name) {
            kept.remove(name);
        }
    }
    for name in [
        CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        kept.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "proxy-authentication-info"] {
        kept.remove(name);
    }
    kept
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

pub(crate) fn set_date(headers: &mut HeaderMap, unix: Duration) {
    // The format ends with the year 9999, long before the clock does.
    let last = Duration::from_secs(253_402_300_799);
    let date = httpdate::fmt_http_date(UNIX_EPOCH + unix.min(last));
    if let Ok(date) = HeaderValue::try_from(date) {
        headers.insert(DATE, date);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_beyond_all_dates_does_not_panic() {
        let mut headers = HeaderMap::new();
        set_date(&mut headers, Duration::MAX);
        assert_eq!(headers[DATE], "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
