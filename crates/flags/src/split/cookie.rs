//! The cookie by which visitors without a name stay with their variant.

use http::header::{COOKIE, HeaderMap, HeaderValue};

/// The longest identity that is believed.
const MAX: usize = 64;
/// How long it is kept, in seconds: a year.
const AGE: u32 = 31_536_000;

/// The identity that a request brings.
pub(super) fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let sound = |value: &&str| {
        (1..=MAX).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    pairs.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).find(sound)
}

/// A new identity. It names nobody and opens nothing, so it need not be unguessable.
pub(super) fn identity() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// What makes a browser keep the identity; `None` if the cookie's name is none.
pub(super) fn write(name: &str, identity: &str) -> Option<HeaderValue> {
    let cookie =
        format!("{name}={identity}; Path=/; Max-Age={AGE}; Secure; HttpOnly; SameSite=Lax");
    HeaderValue::from_str(&cookie).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_and_odd_ones_ignored() {
        let read = |line: &'static str| {
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(line))]);
            read(&headers, "v").map(str::to_owned)
        };
        assert_eq!(read("a=1; v=abc; b=2"), Some("abc".to_owned()));
        assert_eq!(read("v=;w=abc"), None);
        assert_eq!(read("v=a b"), None);
        assert_eq!(read("v=\"a\""), None);
        assert!(write("v", &identity()).is_some());
        assert!(write("v\n", "a").is_none());
    }
}
