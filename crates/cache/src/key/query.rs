//! Which parts of a query matter: rules of one's own, or `No-Vary-Search` (draft-ietf-httpbis
//! -no-vary-search).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, InnerList, ListEntry, Parser};

use crate::targeted::joined;

const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// Which parameters of a query count, and whether their order does.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Query {
    pub(crate) keep: Keep,
    /// Parameters of different names may stand in any order.
    pub(crate) sort: bool,
}

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Keep {
    #[default]
    All,
    /// Names; one that ends with `*` is a prefix.
    Only(Vec<String>),
    Except(Vec<String>),
}

impl Query {
    /// What a response says in `No-Vary-Search`; `None` if it says nothing, or nothing valid.
    pub(crate) fn no_vary_search(response: &HeaderMap) -> Option<Self> {
        let lines = joined(response, &NO_VARY_SEARCH)?;
        let dictionary = Parser::new(&lines).parse::<Dictionary>().ok()?;
        let sort = match dictionary.get("key-order") {
            None => false,
            Some(ListEntry::Item(item)) => item.bare_item.as_boolean()?,
            Some(ListEntry::InnerList(_)) => return None,
        };
        let except = match dictionary.get("except") {
            None => None,
            Some(ListEntry::InnerList(list)) => Some(names(list)?),
            Some(ListEntry::Item(_)) => return None,
        };
        let keep = match (dictionary.get("params"), except) {
            (None, None) => Keep::All,
            (Some(ListEntry::InnerList(list)), None) => Keep::Except(names(list)?),
            (Some(ListEntry::Item(item)), except) => match (item.bare_item.as_boolean()?, except) {
                (true, except) => Keep::Only(except.unwrap_or_default()),
                (false, None) => Keep::All,
                (false, Some(_)) => return None,
            },
            // `except` without `params` is an error.
            (_, Some(_)) => return None,
        };
        (sort || keep != Keep::All).then_some(Self { keep, sort })
    }

    /// The part of `query` that counts.
    pub(crate) fn normalise(&self, query: &str) -> String {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let mut kept: Vec<(Cow<'_, str>, &str)> = pairs
            .map(|pair| (decoded(pair.split('=').next().unwrap_or_default()), pair))
            .filter(|(name, _)| self.keeps(name))
            .collect();
        if self.sort {
            // Stable: the order of equal names is theirs to mean something by.
            kept.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        kept.into_iter().map(|(_, pair)| pair).collect::<Vec<_>>().join("&")
    }

    fn keeps(&self, name: &str) -> bool {
        let listed = |names: &[String]| {
            names.iter().any(|listed| match listed.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => listed == name,
            })
        };
        match &self.keep {
            Keep::All => true,
            Keep::Only(names) => listed(names),
            Keep::Except(names) => !listed(names),
        }
    }
}

fn names(list: &InnerList) -> Option<Vec<String>> {
    let names = list.items.iter().map(|item| match &item.bare_item {
        // A star means nothing there: it is written as what it decodes from.
        BareItem::String(name) if !name.as_str().ends_with('*') => {
            Some(decoded(name.as_str()).into_owned())
        }
        _ => None,
    });
    names.collect()
}

/// A name without the escapes of forms, as far as they are any.
fn decoded(name: &str) -> Cow<'_, str> {
    if !name.contains(['%', '+']) {
        return Cow::Borrowed(name);
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = after.get(..2).filter(|_| *first == b'%');
        let value = escape
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = &after[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn normalised(value: &str, query: &str) -> Option<String> {
        let value = HeaderValue::from_str(value).unwrap();
        let headers = HeaderMap::from_iter([(NO_VARY_SEARCH, value)]);
        Query::no_vary_search(&headers).map(|rules| rules.normalise(query))
    }

    #[test]
    fn no_vary_search_is_read() {
        let query = "b=2&a=1&utm=x&b=1&a%62=3";
        for (value, kept) in [
            ("key-order", Some("a=1&a%62=3&b=2&b=1&utm=x")),
            ("params", Some("")),
            ("params=(\"utm\" \"ab\")", Some("b=2&a=1&b=1")),
            ("params, except=(\"b\")", Some("b=2&b=1")),
            ("params=(\"utm\"), key-order", Some("a=1&a%62=3&b=2&b=1")),
            ("params=?0", None),
            ("key-order=1", None),
            ("except=(\"a\")", None),
            ("params=(a)", None),
            ("params=\"a\"", None),
            ("", None),
            ("&", None),
        ] {
            assert_eq!(normalised(value, query).as_deref(), kept, "{value}");
        }
    }

    #[test]
    fn prefixes_are_for_rules_of_ones_own() {
        let rules =
            Query { keep: Keep::Except(vec!["utm_*".into(), "fbclid".into()]), sort: false };
        assert_eq!(rules.normalise("utm_source=a&x=1&&fbclid=2&utm=3"), "x=1&utm=3");
        assert_eq!(normalised("params=(\"utm_*\")", "utm_a=1"), None);
    }

    proptest! {
        #[test]
        fn any_query_is_normalised_once_and_for_all(query in "[a-c=&%+0-9]{0,40}") {
            let rules = Query { keep: Keep::Except(vec!["a".into()]), sort: true };
            let once = rules.normalise(&query);
            prop_assert_eq!(rules.normalise(&once), once);
        }

        #[test]
        fn any_bytes_are_read(value in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                Query::no_vary_search(&HeaderMap::from_iter([(NO_VARY_SEARCH, value)]));
            }
        }
    }
}
