//! Targeted cache control (RFC 9213): fields that speak to some caches only, in place of
//! `Cache-Control` and `Expires`.

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::directives::ResponseDirectives;

/// What the first field of the list says that is there and valid.
///
/// A field that is empty or no structured dictionary is as if it were not there (§2.1).
pub(crate) fn read(
    headers: &HeaderMap,
    list: &[HeaderName],
) -> Option<(ResponseDirectives, Vec<HeaderName>)> {
    list.iter().find_map(|name| {
        let lines = joined(headers, name)?;
        let dictionary = Parser::new(&lines).parse::<Dictionary>().ok()?;
        (!dictionary.is_empty()).then(|| directives(&dictionary))
    })
}

/// A field's lines as one, as structured fields are read.
pub(crate) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = headers.get_all(name).iter();
    let mut joined = lines.next()?.as_bytes().to_vec();
    for line in lines {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.as_bytes());
    }
    Some(joined)
}

/// Members of a wrong type are ignored one by one.
fn directives(dictionary: &Dictionary) -> (ResponseDirectives, Vec<HeaderName>) {
    let mut read = ResponseDirectives::default();
    let mut withheld = Vec::new();
    for (name, entry) in dictionary {
        let ListEntry::Item(item) = entry else { continue };
        let flag = matches!(item.bare_item, BareItem::Boolean(true));
        let span = item.bare_item.as_integer().and_then(|seconds| {
            let seconds = u64::try_from(i64::from(seconds)).ok()?;
            Some(u32::try_from(seconds).unwrap_or(u32::MAX).min(1 << 31))
        });
        let fields = item.bare_item.as_string().map(|text| text.as_str());
        match name.as_str() {
            "immutable" => read.immutable |= flag,
            "max-age" => read.max_age = span,
            "must-revalidate" => read.must_revalidate |= flag,
            "must-understand" => read.must_understand |= flag,
            "no-cache" | "private" => match fields {
                Some(fields) => {
                    read.withholds = true;
                    let names = fields.split(',').map(str::trim).filter(|name| !name.is_empty());
                    withheld.extend(names.filter_map(|name| name.parse::<HeaderName>().ok()));
                }
                None if name.as_str() == "private" => read.private |= flag,
                None => read.no_cache |= flag,
            },
            "no-store" => read.no_store |= flag,
            "proxy-revalidate" => read.proxy_revalidate |= flag,
            "public" => read.public |= flag,
            "s-maxage" => read.s_maxage = span,
            "stale-if-error" => read.stale_if_error = span,
            "stale-while-revalidate" => read.stale_while_revalidate = span,
            _ => {}
        }
    }
    (read, withheld)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");
    const OURS: HeaderName = HeaderName::from_static("ours-cache-control");

    fn said(fields: &[(HeaderName, &str)]) -> Option<ResponseDirectives> {
        let fields = fields.iter().cloned();
        let headers = fields.map(|(name, value)| (name, HeaderValue::from_str(value).unwrap()));
        read(&headers.collect(), &[OURS, CDN]).map(|(read, _)| read)
    }

    #[test]
    fn the_first_valid_field_of_the_list_counts() {
        let both = said(&[(CDN, "max-age=1"), (OURS, "max-age=2")]).unwrap();
        assert_eq!(both.max_age, Some(2));
        let invalid = said(&[(CDN, "max-age=1"), (OURS, "max-age=2, &&&")]).unwrap();
        assert_eq!(invalid.max_age, Some(1));
        let empty = said(&[(CDN, "max-age=1"), (OURS, "")]).unwrap();
        assert_eq!(empty.max_age, Some(1));
        assert_eq!(said(&[]), None);
    }

    #[test]
    fn it_is_a_structured_field() {
        for invalid in ["MaX-aGe=3600", "max-age =100", "max-age= 100", "max-age=1,", "a b"] {
            assert_eq!(said(&[(CDN, invalid)]), None, "{invalid}");
        }
        for (wrong, max_age) in [
            ("max-age=\"10000\"", None),
            ("max-age=1.5", None),
            ("max-age=-1", None),
            ("max-age=(1 2)", None),
            ("max-age", None),
            ("foobar, max-age=3600", Some(3600)),
            ("max-age=2147483648", Some(1 << 31)),
            ("max-age=99999999999", Some(1 << 31)),
            ("max-age=60;ext=1", Some(60)),
        ] {
            assert_eq!(said(&[(CDN, wrong)]).unwrap().max_age, max_age, "{wrong}");
        }
        assert!(said(&[(CDN, "no-store, private")]).unwrap().no_store);
        assert!(!said(&[(CDN, "no-store=?0")]).unwrap().no_store);
    }

    #[test]
    fn named_fields_are_withheld() {
        let value = HeaderValue::from_static("private=\"x-a, x-b\", max-age=5");
        let (read, names) = read(&HeaderMap::from_iter([(CDN, value)]), &[CDN]).unwrap();
        assert!(read.withholds && !read.private);
        assert_eq!(names, ["x-a", "x-b"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(value in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                read(&HeaderMap::from_iter([(CDN, value)]), &[CDN]);
            }
        }
    }
}
