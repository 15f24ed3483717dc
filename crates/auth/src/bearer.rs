/// The token of `Authorization: Bearer`, if that is the scheme (RFC 6750 §2.1). One that is not in
/// its form is handed on as empty: it is there, and proves nothing.
pub(crate) fn token(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    match rest {
        [] => Some(rest),
        [b' ', ..] => {
            let token = rest.trim_ascii();
            Some(if is_token68(token) { token } else { &[] })
        }
        _ => None,
    }
}

fn is_token68(token: &[u8]) -> bool {
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
        assert_eq!(token(b"Bearer a b"), Some(&b""[..]));
        assert_eq!(token(b"Bearer a=b"), Some(&b""[..]));
        assert_eq!(token(b"Bearer a\"b"), Some(&b""[..]));
        assert_eq!(token(b"Bearers a"), None);
        assert_eq!(token(b"Basic YTpi"), None);
        assert_eq!(token(b""), None);
    }
}
