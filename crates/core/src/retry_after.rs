use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// The wait that a response's fields ask for by `Retry-After` (RFC 9110 §10.2.3). A date is taken from
/// the response's own `Date`, so that nobody's clock matters but the sender's; without one it says
/// nothing.
#[must_use]
pub fn retry_after(fields: &HeaderMap) -> Option<Duration> {
    let value = fields.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has room for are still a long wait.
        return (!value.is_empty()).then(|| Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let sent = date(fields.get(DATE)?.to_str().ok()?)?;
    Some(date(value)?.duration_since(sent).unwrap_or_default())
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn wait(retry_after: &'static str, date: Option<&'static str>) -> Option<Duration> {
        let mut fields = HeaderMap::new();
        fields.insert(RETRY_AFTER, HeaderValue::from_static(retry_after));
        if let Some(date) = date {
            fields.insert(DATE, HeaderValue::from_static(date));
        }
        super::retry_after(&fields)
    }

    #[test]
    fn seconds_are_seconds() {
        assert_eq!(wait("120", None), Some(Duration::from_secs(120)));
        assert_eq!(wait("0", None), Some(Duration::ZERO));
        assert_eq!(wait("99999999999999999999", None), Some(Duration::from_secs(u64::MAX)));
        for none in ["", "-1", "1.5", "soon"] {
            assert_eq!(wait(none, None), None, "{none}");
        }
    }

    #[test]
    fn a_date_counts_from_the_response_s_own() {
        let (sent, then) = ("Fri, 31 Dec 1999 23:59:29 GMT", "Fri, 31 Dec 1999 23:59:59 GMT");
        assert_eq!(wait(then, Some(sent)), Some(Duration::from_secs(30)));
        assert_eq!(wait(sent, Some(then)), Some(Duration::ZERO));
        assert_eq!(wait(then, None), None);
    }
}
