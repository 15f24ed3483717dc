//! The hops that a request came by, as proxies wrote them down: from the right, since each proxy
//! appends what it saw, and what stands to the left of that may be anything.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The hops of `X-Forwarded-For`, the last first; `None` for one that is no address.
///
/// Each member is read by itself: bytes that are no text spoil the one that they are in.
pub(crate) fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    lines(headers, X_FORWARDED_FOR).flat_map(|line| line.rsplit(|byte| *byte == b',')).map(address)
}

/// The hops of `Forwarded` (RFC 7239), likewise.
pub(crate) fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    lines(headers, FORWARDED).flat_map(|line| outside_quotes(line, b',')).map(forwarded_for)
}

/// The lines of a field, the last first.
fn lines(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    // `GetAll` can be read from its back end.
    headers.get_all(name).iter().rev().map(HeaderValue::as_bytes)
}

/// The parts between separators that are not inside of a quoted-string (RFC 9110 §5.6.4), the last
/// first.
///
/// Quotes are paired from the right as well: what a proxy appends is paired by itself, whatever is
/// left open before it.
fn outside_quotes(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quoted = false;
        for (at, byte) in text.iter().enumerate().rev() {
            if *byte == b'"' && !is_escaped(text, at) {
                quoted = !quoted;
            } else if *byte == separator && !quoted {
                rest = Some(&text[..at]);
                return Some(&text[at + 1..]);
            }
        }
        rest = None;
        Some(text)
    })
}

/// Whether an odd number of backslashes is before that place.
fn is_escaped(text: &[u8], at: usize) -> bool {
    text[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The `for` parameter of an element (RFC 7239 §4). Of two, nobody knows which is meant.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut named = outside_quotes(element, b';').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        pair[..at].trim_ascii().eq_ignore_ascii_case(b"for").then(|| &pair[at + 1..])
    });
    match (named.next(), named.next()) {
        (Some(value), None) => address(&unquoted(value.trim_ascii())?),
        _ => None,
    }
}

/// A token as it is, or what a quoted-string says. `None` if the quotes are not a pair.
fn unquoted(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(open) = value.strip_prefix(b"\"") else {
        return Some(Cow::Borrowed(value));
    };
    let inner = open.strip_suffix(b"\"").filter(|inner| !is_escaped(open, inner.len()))?;
    if !inner.contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    let (mut bytes, mut said) = (inner.iter(), Vec::with_capacity(inner.len()));
    while let Some(byte) = bytes.next() {
        said.push(if *byte == b'\\' { *bytes.next()? } else { *byte });
    }
    Some(Cow::Owned(said))
}

/// An address with or without brackets and port.
fn address<T: AsRef<[u8]> + ?Sized>(text: &T) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.as_ref().trim_ascii()).ok()?;
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Some(addr);
    }
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Some(addr.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<&str> {
        outside_quotes(text.as_bytes(), b',')
            .map(|part| std::str::from_utf8(part).unwrap())
            .collect()
    }

    fn read(element: &str) -> Option<String> {
        forwarded_for(element.as_bytes()).map(|addr| addr.to_string())
    }

    #[test]
    fn separators_in_quotes_are_none() {
        assert_eq!(parts(r#"a,b="c,d",e"#), ["e", r#"b="c,d""#, "a"]);
        assert_eq!(parts(r#"a="\",\\",b"#), ["b", r#"a="\",\\""#]);
        assert_eq!(parts(""), [""]);
        // What was left open does not reach what is appended.
        assert_eq!(parts(r#"a=",b="c,d""#), [r#"b="c,d""#, r#"a=""#]);
        assert_eq!(parts(r#"a\,b="c""#), [r#"b="c""#, r"a\"]);
    }

    #[test]
    fn quotes_are_stripped_as_a_pair() {
        let v4 = Some("192.0.2.1".to_owned());
        for element in [
            "for=192.0.2.1",
            r#"for="192.0.2.1""#,
            r#"For = "192.0.2.1:80" ;proto=http"#,
            r#"for="192\.0.2\.1""#,
            r#"host="a;for=6.6.6.6";for=192.0.2.1"#,
            r#"for=192.0.2.1;host="\";for=6.6.6.6""#,
        ] {
            assert_eq!(read(element), v4, "{element}");
        }
        assert_eq!(read(r#"for="[2001:db8::1]:80""#).as_deref(), Some("2001:db8::1"));
        for element in [
            r#"for=""192.0.2.1"""#,
            r#"for="192.0.2.1"#,
            r#"for=192.0.2.1""#,
            r#"for=""#,
            r#"for="192.0.2.1\""#,
            "for=192.0.2.1;for=192.0.2.1",
            "by=192.0.2.1",
            "for",
            "",
        ] {
            assert_eq!(read(element), None, "{element}");
        }
    }
}
