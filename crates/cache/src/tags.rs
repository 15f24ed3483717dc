//! What a response can be purged by: its resource, `Surrogate-Key`, `Cache-Tag`, and `Cache-Groups`
//! (RFC 9875).

use bartizan_core::Key;
use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, List, ListEntry, Parser};

use crate::list;
use crate::targeted::joined;

const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// The most tags and groups of a response that is stored, together. RFC 9875 §2.1 asks for 32 groups
/// at least.
const MAX_TAGS: usize = 1000;
/// The most groups that are made invalid by their names: with more of them, all of the origin is.
pub(crate) const MAX_INVALIDATED: usize = 128;

/// The label of a tag.
pub(crate) fn tag(name: &[u8]) -> Key {
    Key::of(&("tag", name))
}

/// The label of a group of one origin.
pub(crate) fn group(origin: &str, name: &str) -> Key {
    Key::of(&("group", origin, name))
}

/// The origin of a URI as stored.
pub(crate) fn origin(uri: &str) -> &str {
    let start = uri.find("://").map_or(0, |at| at + 3);
    uri[start..].find('/').map_or(uri, |end| &uri[..start + end])
}

/// All labels of a response: the resource first. `None` if there are more than are kept: a purge by
/// one that was left out would not find it.
pub(crate) fn labels(resource: Key, uri: &str, response: &HeaderMap) -> Option<Box<[Key]>> {
    let is_label = |name| [SURROGATE_KEY, CACHE_TAG, CACHE_GROUPS].contains(name);
    if !response.keys().any(is_label) {
        return Some(Box::new([resource]));
    }
    let mut labels = vec![resource];
    labels.extend(tags(response).take(MAX_TAGS + 1).map(tag));
    labels.extend(group_names(response).iter().map(|name| group(origin(uri), name)));
    (labels.len() <= MAX_TAGS + 1).then(|| labels.into_boxed_slice())
}

fn tags(response: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let keys = response.get_all(SURROGATE_KEY).into_iter().map(HeaderValue::as_bytes);
    let keys = keys.flat_map(|line| line.split(|byte| byte.is_ascii_whitespace()));
    keys.chain(list::members(response, CACHE_TAG)).filter(|name| !name.is_empty())
}

/// The tags of a response, as text.
pub(crate) fn names(response: &HeaderMap) -> Vec<String> {
    tags(response).map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// The groups of a response.
pub(crate) fn group_names(response: &HeaderMap) -> Vec<String> {
    groups(response, &CACHE_GROUPS)
}

/// The groups that the answer to an unsafe request makes invalid (RFC 9875 §3).
pub(crate) fn invalidated(response: &HeaderMap) -> Vec<String> {
    groups(response, &CACHE_GROUP_INVALIDATION)
}

/// A list of strings; one that is anything else is ignored as a whole.
fn groups(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let parse = || {
        let lines = joined(headers, name)?;
        let list = Parser::new(&lines).parse::<List>().ok()?;
        let names = list.iter().map(|entry| match entry {
            ListEntry::Item(item) => match &item.bare_item {
                BareItem::String(name) => Some(name.as_str().to_owned()),
                _ => None,
            },
            ListEntry::InnerList(_) => None,
        });
        names.collect::<Option<Vec<_>>>()
    };
    parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::tests::headers;

    const URI: &str = "https://a.test/x/y?z";

    fn of(fields: &[(&'static str, &'static str)]) -> Vec<Key> {
        labels(Key::of("r"), URI, &headers(fields)).unwrap()[1..].to_vec()
    }

    #[test]
    fn each_dialect_is_read() {
        let expected = ["a", "b", "c", "d"].map(|name| tag(name.as_bytes()));
        assert_eq!(of(&[("surrogate-key", "a  b"), ("cache-tag", "c, d")]), expected);
        let groups = ["x y", "X Y"].map(|name| group("https://a.test", name));
        assert_eq!(of(&[("cache-groups", "\"x y\", \"X Y\";ext=1")]), groups);
        assert_ne!(group("https://a.test", "x"), group("https://b.test", "x"));
        assert_ne!(group("https://a.test", "x"), tag(b"x"));
    }

    #[test]
    fn what_is_no_list_of_strings_is_ignored() {
        for wrong in ["a", "\"a\", b", "(\"a\")", "\"a", ""] {
            let value = [("cache-groups", wrong), ("cache-group-invalidation", wrong)];
            assert!(of(&value[..1]).is_empty(), "{wrong}");
            assert!(invalidated(&headers(&value)).is_empty(), "{wrong}");
        }
        let fields = headers(&[("cache-group-invalidation", "\"x\"")]);
        assert_eq!(invalidated(&fields), ["x"]);
    }

    proptest! {
        #[test]
        fn tags_are_bounded_and_any_bytes_are_read(
            value in prop::collection::vec(any::<u8>(), 0..3000),
        ) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let fields = [SURROGATE_KEY, CACHE_TAG, CACHE_GROUPS].map(|name| (name, value.clone()));
                if let Some(labels) = labels(Key::of("r"), URI, &HeaderMap::from_iter(fields)) {
                    prop_assert!(labels.len() <= MAX_TAGS + 1);
                }
            }
        }
    }
}
