//! Fields that are comma-separated lists (RFC 9110 §5.6.1).

use http::header::AsHeaderName;
use http::{HeaderMap, HeaderValue};

/// The members of a field, over all of its lines, without the white space around them.
pub(crate) fn members(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).into_iter().map(HeaderValue::as_bytes).flat_map(split)
}

/// Splits at the commas that are outside of quoted strings.
///
/// A quote that is never closed is an ordinary character: it must not hide what follows.
pub(crate) fn split(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let value = rest?;
        let end = end_of_member(value);
        rest = value.get(end + 1..);
        Some(value[..end].trim_ascii())
    })
}

fn end_of_member(value: &[u8]) -> usize {
    let mut at = 0;
    while at < value.len() {
        match value[at] {
            b',' => return at,
            b'"' => at += quoted_len(&value[at..]).unwrap_or(1),
            _ => at += 1,
        }
    }
    value.len()
}

/// The length of the quoted string that `value` starts with.
fn quoted_len(value: &[u8]) -> Option<usize> {
    let mut at = 1;
    while at < value.len() {
        match value[at] {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split_str(value: &str) -> Vec<&str> {
        split(value.as_bytes()).map(|member| std::str::from_utf8(member).unwrap()).collect()
    }

    #[test]
    fn commas_in_quoted_strings_do_not_split() {
        assert_eq!(split_str(r#" a , b="c, \", d" ,, e"#), ["a", r#"b="c, \", d""#, "", "e"]);
        assert_eq!(split_str(""), [""]);
    }

    #[test]
    fn an_open_quote_hides_nothing() {
        assert_eq!(split_str(r#"a="b, no-store"#), [r#"a="b"#, "no-store"]);
        assert_eq!(split_str(r#"a="b\"#), [r#"a="b\"#]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_panics(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let strip = |bytes: &[u8]| -> Vec<u8> {
                bytes.iter().copied().filter(|b| !b.is_ascii_whitespace() && *b != b',').collect()
            };
            let joined: Vec<u8> = split(&value).flatten().copied().collect();
            prop_assert_eq!(strip(&joined), strip(&value));
        }
    }
}
