use http::Uri;
use serde::Deserialize;

use crate::Purge;

/// A purge as an operator writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Order {
    all: bool,
    group: Option<Group>,
    prefix: Option<String>,
    tag: Option<String>,
    uri: Option<String>,
    soft: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    origin: String,
    name: String,
}

/// Reads the document; the error says what is wrong with it.
pub(super) fn read(document: &[u8]) -> Result<Purge, &'static str> {
    let order: Order =
        serde_json::from_slice(document).map_err(|_| "the body is not a document of a purge")?;
    let mut purges = Vec::new();
    if order.all {
        purges.push(Purge::all());
    }
    if let Some(Group { origin, name }) = order.group {
        purges.push(Purge::group(origin, name));
    }
    if let Some(prefix) = order.prefix {
        if !prefix.contains("://") {
            return Err("the prefix must begin with a scheme, as in https://");
        }
        purges.push(Purge::prefix(prefix));
    }
    purges.extend(order.tag.map(Purge::tag));
    if let Some(uri) = order.uri {
        let uri: Uri = uri.parse().map_err(|_| "the URI cannot be read")?;
        if uri.scheme().is_none() {
            return Err("the URI must be absolute");
        }
        purges.push(Purge::uri(uri));
    }
    match purges.len() {
        1 => Ok(purges.remove(0)).map(|purge| if order.soft { purge.soft() } else { purge }),
        _ => Err("name exactly one of uri, prefix, tag, group and all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_at_a_time() {
        let uri = || "https://a.test/x".parse().unwrap();
        for (document, purge) in [
            (r#"{"uri": "https://a.test/x"}"#, Purge::uri(uri())),
            (r#"{"tag": "a", "soft": true}"#, Purge::tag("a").soft()),
            (r#"{"prefix": "https://a.test/"}"#, Purge::prefix("https://a.test/")),
            (
                r#"{"group": {"origin": "https://a.test", "name": "g"}}"#,
                Purge::group("https://a.test", "g"),
            ),
            (r#"{"all": true}"#, Purge::all()),
        ] {
            assert_eq!(read(document.as_bytes()), Ok(purge), "{document}");
        }
        for wrong in [
            "",
            "{}",
            "[]",
            r#"{"all": false}"#,
            r#"{"tag": "a", "uri": "https://a.test/"}"#,
            r#"{"uri": "/x"}"#,
            r#"{"uri": "http://[x"}"#,
            r#"{"prefix": "/x"}"#,
            r#"{"tags": "a"}"#,
        ] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
