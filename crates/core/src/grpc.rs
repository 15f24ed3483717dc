//! gRPC status, as a trailers-only response and as trailers tell it.

use std::fmt::Write;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::Outcome;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// True for `application/grpc`, alone or followed by a subtype or parameters. gRPC-Web clients
/// understand plain HTTP refusals and are answered with those.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The outcome that trailers tell. A gRPC stream that ends without any was cut off.
pub(crate) fn end(trailers: Option<&HeaderMap>) -> Outcome {
    trailers.map_or(Outcome::Failure, outcome)
}

/// The outcome that a `grpc-status` field tells: the server's own faults are failures.
pub(crate) fn outcome(fields: &HeaderMap) -> Outcome {
    match fields.get(GRPC_STATUS).map(HeaderValue::as_bytes) {
        // Unknown, deadline exceeded, resource exhausted, internal, unavailable, data loss.
        None | Some(b"2" | b"4" | b"8" | b"13" | b"14" | b"15") => Outcome::Failure,
        Some(_) => Outcome::Success,
    }
}

/// True if the head already holds the status: a trailers-only response.
pub(crate) fn is_trailers_only(headers: &HeaderMap) -> bool {
    headers.contains_key(GRPC_STATUS)
}

/// Writes the status that stands for an HTTP `status`, its message, and `RetryInfo`.
pub(crate) fn write_status(
    headers: &mut HeaderMap,
    status: StatusCode,
    message: &str,
    retry_after: Option<Duration>,
) {
    let code = match status {
        StatusCode::BAD_REQUEST => 3,
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::NOT_FOUND | StatusCode::GONE => 5,
        StatusCode::TOO_MANY_REQUESTS => 8,
        _ => 14_u8,
    };
    headers.insert(GRPC_STATUS, u16::from(code).into());
    if let Ok(value) = HeaderValue::try_from(percent_encoded(message)) {
        headers.insert(GRPC_MESSAGE, value);
    }
    if let Some(wait) = retry_after {
        let details = STANDARD_NO_PAD.encode(status_details(code, message, wait));
        if let Ok(value) = HeaderValue::try_from(details) {
            headers.insert(GRPC_STATUS_DETAILS, value);
        }
        let millis = wait.as_nanos().div_ceil(1_000_000).clamp(1, i32::MAX as u128);
        headers.insert(GRPC_RETRY_PUSHBACK, (millis as u32).into());
    }
}

/// Percent-encoding of `grpc-message`: all but printable ASCII, and `%` itself.
fn percent_encoded(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | ..b' ' | b'\x7f'.. => {
                // Writing to a string cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

/// `google.rpc.Status { code, message, details: [Any(RetryInfo { retry_delay })] }` in protobuf's
/// wire format.
fn status_details(code: u8, message: &str, wait: Duration) -> Vec<u8> {
    let mut delay = Vec::new();
    // google.protobuf.Duration ends at 315 576 000 000 seconds.
    varint_field(&mut delay, 1, wait.as_secs().min(315_576_000_000));
    varint_field(&mut delay, 2, wait.subsec_nanos().into());
    let mut retry_info = Vec::new();
    bytes_field(&mut retry_info, 1, &delay);
    let mut any = Vec::new();
    bytes_field(&mut any, 1, RETRY_INFO.as_bytes());
    bytes_field(&mut any, 2, &retry_info);
    let mut status = Vec::new();
    varint_field(&mut status, 1, code.into());
    bytes_field(&mut status, 2, message.as_bytes());
    bytes_field(&mut status, 3, &any);
    status
}

fn varint_field(out: &mut Vec<u8>, field: u8, value: u64) {
    // The default value is left out.
    if value != 0 {
        out.push(field << 3);
        varint(out, value);
    }
}

fn bytes_field(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_type_is_matched_whole() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static(value));
            is_grpc(&headers)
        };
        assert!(with("application/grpc"));
        assert!(with("application/grpc+proto"));
        assert!(with("application/grpc;charset=utf-8"));
        assert!(!with("application/grpc-web"));
        assert!(!with("application/json"));
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn message_is_percent_encoded() {
        assert_eq!(percent_encoded("50 % é\n"), "50 %25 %C3%A9%0A");
    }

    #[test]
    fn retry_info_is_wire_format() {
        let bytes = status_details(8, "no", Duration::new(300, 5));
        let mut expected = vec![0x08, 8, 0x12, 2, b'n', b'o', 0x1a, 51, 0x0a, 40];
        expected.extend_from_slice(RETRY_INFO.as_bytes());
        expected.extend_from_slice(&[0x12, 7, 0x0a, 5, 0x08, 0xac, 0x02, 0x10, 5]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn pushback_is_rounded_up() {
        let mut headers = HeaderMap::new();
        write_status(&mut headers, StatusCode::TOO_MANY_REQUESTS, "no", Some(Duration::ZERO));
        assert_eq!(headers["grpc-status"], "8");
        assert_eq!(headers["grpc-retry-pushback-ms"], "1");
        write_status(&mut headers, StatusCode::FORBIDDEN, "no", Some(Duration::from_micros(1001)));
        assert_eq!(headers["grpc-status"], "7");
        assert_eq!(headers["grpc-retry-pushback-ms"], "2");
    }
}
