/// The token of `Authorization: Bearer`, if that is the scheme (RFC 6750 §2.1). Whether it is in its
/// form is not looked at: whoever verifies it takes no other anyway.
pub(crate) fn token(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    match rest {
        [] => Some(rest),
        [b' ', rest @ ..] => Some(rest.trim_ascii()),
        _ => None,
    }
}

/// The form of a token (RFC 9110 §11.2), for one that is sent on.
pub(crate) fn is_token68(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = &token[..token.len() - padding];
    !body.is_empty()
        && body.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_matched_whole_in_any_case() {
        assert_eq!(token(b"Bearer a.b-c"), Some(&b"a.b-c"[..]));
        assert_eq!(token(b"bEARER  a=="), Some(&b"a=="[..]));
        assert_eq!(token(b"Bearer"), Some(&b""[..]));
        assert_eq!(token(b"Bearer a b"), Some(&b"a b"[..]));
        assert_eq!(token(b"Bearers a"), None);
        assert_eq!(token(b"Basic YTpi"), None);
        assert_eq!(token(b""), None);
    }

    #[test]
    fn tokens_are_told_from_other_texts() {
        assert!(is_token68(b"a.b-c_~+/9==") && is_token68(b"a"));
        for other in [&b""[..], b"=", b"a b", b"a=b", b"a\"b", b"a&b", "\u{e9}".as_bytes()] {
            assert!(!is_token68(other));
        }
    }
}
