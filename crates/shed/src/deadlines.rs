use std::time::Duration;

use http::{HeaderMap, HeaderName};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Where requests say how long their callers wait: in `grpc-timeout`, and in a field of one's own
/// choice. The shorter one counts.
#[derive(Clone, Debug, Default)]
pub struct Deadlines {
    header: Option<HeaderName>,
}

impl Deadlines {
    /// From `grpc-timeout` only.
    #[must_use]
    pub const fn grpc() -> Self {
        Self { header: None }
    }

    /// From `grpc-timeout` and from this field, which holds milliseconds (as Envoy's
    /// `x-envoy-expected-rq-timeout-ms`), or a number with a unit as `grpc-timeout` does.
    #[must_use]
    pub const fn header(name: HeaderName) -> Self {
        Self { header: Some(name) }
    }

    /// How long a request's caller waits by its fields. What cannot be read is as good as nothing.
    #[must_use]
    pub fn timeout(&self, fields: &HeaderMap) -> Option<Duration> {
        let read = |name: &HeaderName| fields.get(name).and_then(|value| parse(value.as_bytes()));
        let own = self.header.as_ref().and_then(read);
        [read(&GRPC_TIMEOUT), own].into_iter().flatten().min()
    }
}

/// Reads a timeout as gRPC writes it (up to eight digits and a unit), or bare milliseconds.
fn parse(text: &[u8]) -> Option<Duration> {
    let (digits, unit) = match text {
        [digits @ .., unit] if !unit.is_ascii_digit() => (digits, *unit),
        digits => (digits, b'm'),
    };
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn units_are_those_of_grpc() {
        let millis = |text: &str| parse(text.as_bytes()).map(|time| time.as_secs_f64() * 1e3);
        assert_eq!(millis("1H"), Some(3.6e6));
        assert_eq!(millis("2M"), Some(1.2e5));
        assert_eq!(millis("3S"), Some(3e3));
        assert_eq!(millis("250m"), Some(250.0));
        assert_eq!(millis("250"), Some(250.0));
        assert_eq!(millis("500u"), Some(0.5));
        assert_eq!(millis("1000n"), Some(0.001));
        assert_eq!(millis("99999999H"), Some(99_999_999.0 * 3.6e6));
        for none in ["", "m", "-1m", "1.5S", "1s", "123456789m", " 1m", "1 m"] {
            assert_eq!(millis(none), None, "{none}");
        }
    }

    #[test]
    fn the_shorter_one_counts() {
        let mut fields = HeaderMap::new();
        let deadlines = Deadlines::header(HeaderName::from_static("x-timeout"));
        assert_eq!(deadlines.timeout(&fields), None);
        fields.insert("x-timeout", HeaderValue::from_static("100"));
        assert_eq!(Deadlines::grpc().timeout(&fields), None);
        fields.insert("grpc-timeout", HeaderValue::from_static("1S"));
        assert_eq!(deadlines.timeout(&fields), Some(Duration::from_millis(100)));
        assert_eq!(Deadlines::grpc().timeout(&fields), Some(Duration::from_secs(1)));
    }
}
