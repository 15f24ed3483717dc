use std::fmt::Write;

use http::HeaderValue;

/// A challenge (RFC 9110 §11.3, RFC 6750 §3): the scheme, the realm, and what is wrong.
pub(crate) fn challenge(scheme: &str, realm: &str, parameters: &[(&str, &str)]) -> HeaderValue {
    let mut text = format!("{scheme} ");
    quoted(&mut text, "realm", realm);
    for (name, value) in parameters {
        text.push_str(", ");
        quoted(&mut text, name, value);
    }
    // All of it is printable ASCII.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("Bearer realm=\"\""))
}

fn quoted(text: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{name}=\"");
    for char in value.chars() {
        match char {
            '"' | '\\' => text.extend(['\\', char]),
            ' '..='~' => text.push(char),
            _ => text.push('?'),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted() {
        let value = challenge("Bearer", "a\"b\\\r\né", &[("error", "invalid_token")]);
        assert_eq!(value, r#"Bearer realm="a\"b\\???", error="invalid_token""#);
    }
}
