//! Secondary keys (RFC 9111 §4.1).

use std::hash::{Hash, Hasher};

use bartizan_core::Key;
use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_LANGUAGE, VARY};
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

use crate::list;

/// More fields than anybody negotiates by.
const MAX_VARY: usize = 16;

/// What a response's `Vary` names, with the values that the request had.
///
/// Values are hashed: they may be long, or secret.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vary {
    fields: Box<[(HeaderName, Option<Key>)]>,
    /// The response's language, where requests for it may match by what they prefer.
    language: Option<Box<[u8]>>,
    languages: bool,
}

impl Vary {
    /// `None` if no other request can match.
    pub(crate) fn of(response: &HeaderMap, request: &HeaderMap, languages: bool) -> Option<Self> {
        let mut fields = Vec::new();
        for member in list::members(response, VARY).filter(|member| !member.is_empty()) {
            // `*` is a valid name of a field.
            if member == b"*" || fields.len() == MAX_VARY {
                return None;
            }
            let name = HeaderName::from_bytes(member).ok()?;
            let value = value_key(request, &name, languages);
            fields.push((name, value));
        }
        let language = languages.then(|| response.get(CONTENT_LANGUAGE)).flatten();
        let language = language.map(|language| language.as_bytes().to_ascii_lowercase().into());
        Some(Self { fields: fields.into_boxed_slice(), language, languages })
    }

    /// Whether every request matches.
    #[inline]
    pub(crate) fn is_for_all(&self) -> bool {
        self.fields.is_empty()
    }

    #[inline]
    pub(crate) fn matches(&self, request: &HeaderMap) -> bool {
        self.fields.iter().all(|(name, value)| {
            value_key(request, name, self.languages) == *value || self.prefers(name, request)
        })
    }

    /// Whether both requests would be answered by the same variant.
    pub(crate) fn same(&self, one: &HeaderMap, other: &HeaderMap) -> bool {
        self.fields.iter().all(|(name, _)| {
            value_key(one, name, self.languages) == value_key(other, name, self.languages)
        })
    }

    /// Whether the request likes the response's language best: the service could not choose better.
    fn prefers(&self, name: &HeaderName, request: &HeaderMap) -> bool {
        let Some(language) = self.language.as_deref().filter(|_| name == ACCEPT_LANGUAGE) else {
            return false;
        };
        let mut best: Option<Choice> = None;
        for choice in choices(request, name) {
            match &best {
                Some(old) if old.weight == choice.weight => return false,
                Some(old) if old.weight > choice.weight => {}
                _ => best = Some(choice),
            }
        }
        // What has no weight is what the client will not have (RFC 9110 §12.4.2).
        best.is_some_and(|best| best.name == language && best.weight != Weight::Thousandths(0))
    }

    pub(crate) fn weight(&self) -> usize {
        size_of_val(&*self.fields) + self.language.as_ref().map_or(0, |language| language.len())
    }

    /// The names, and a hash of the request's values that is the same in every process.
    pub(crate) fn portable(&self, request: &HeaderMap) -> Vec<(HeaderName, [u8; 16])> {
        let fields = self.fields.iter();
        let value = |name| portable_value(request, name, self.languages);
        fields.map(|(name, _)| (name.clone(), value(name))).collect()
    }
}

/// A hash of a request's values for a field, for other processes: equal where [`value_key`] is.
pub(crate) fn portable_value(request: &HeaderMap, name: &HeaderName, languages: bool) -> [u8; 16] {
    let mut hash = Sha256::new();
    let mut push = |kind: u8, member: &[u8]| {
        hash.update([kind]);
        hash.update((member.len() as u64).to_be_bytes());
        hash.update(member);
    };
    if is_read(name, languages) && request.contains_key(name) {
        for Choice { name, weight } in sorted(request, name) {
            push(2, &name);
            match weight {
                Weight::Thousandths(weight) => push(3, &weight.to_be_bytes()),
                Weight::Text(text) => push(4, &text),
            }
        }
    } else {
        push(u8::from(request.contains_key(name)), b"");
        list::members(request, name).for_each(|member| push(5, member));
    }
    let digest = hash.finalize();
    std::array::from_fn(|at| digest[at])
}

/// A field's value as a key. White space and the split into lines do not matter; nor does, for the
/// codings that a client takes, their case and order (RFC 9110 §12.5.3).
fn value_key(headers: &HeaderMap, name: &HeaderName, languages: bool) -> Option<Key> {
    if !headers.contains_key(name) {
        return None;
    }
    if is_read(name, languages) {
        return Some(Key::of(&sorted(headers, name)));
    }
    Some(Key::of(&Members(headers, name)))
}

/// Whether a field is read as choices with weights.
fn is_read(name: &HeaderName, languages: bool) -> bool {
    name == ACCEPT_ENCODING || languages && name == ACCEPT_LANGUAGE
}

/// A member of `Accept-Encoding` or `Accept-Language`.
#[derive(Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Choice {
    name: Vec<u8>,
    weight: Weight,
}

#[derive(Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Weight {
    Thousandths(u64),
    /// What is no weight is kept apart.
    Text(Vec<u8>),
}

fn sorted(headers: &HeaderMap, name: &HeaderName) -> Vec<Choice> {
    let mut all: Vec<_> = choices(headers, name).collect();
    all.sort_unstable();
    all
}

fn choices(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = Choice> {
    list::members(headers, name).filter(|member| !member.is_empty()).map(|member| {
        let mut parts = member.splitn(2, |byte| *byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii_end().to_ascii_lowercase();
        let weight = parts.next().map_or(Weight::Thousandths(1000), |text| {
            let text = text.trim_ascii().to_ascii_lowercase();
            let value = text.strip_prefix(b"q=").and_then(|value| std::str::from_utf8(value).ok());
            match value.and_then(|value| value.parse::<f32>().ok()) {
                Some(value) if (0.0..=1.0).contains(&value) => {
                    Weight::Thousandths((value * 1000.0) as u64)
                }
                _ => Weight::Text(text),
            }
        });
        Choice { name, weight }
    })
}

struct Members<'a>(&'a HeaderMap, &'a HeaderName);

impl Hash for Members<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        list::members(self.0, self.1).for_each(|member| member.hash(state));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn variants_are_told_apart_by_the_named_fields_only() {
        let german = headers(&[("foo-language", "de, en"), ("x", "1")]);
        let named = headers(&[("vary", "Foo-Language"), ("vary", "foo")]);
        let vary = Vary::of(&named, &german, false).unwrap();
        assert!(vary.matches(&headers(&[("foo-language", "de,en"), ("x", "2")])));
        assert!(vary.matches(&headers(&[("foo-language", "de"), ("foo-language", "en")])));
        for other in ["de", "en, de", "", "de, en, fr"] {
            assert!(!vary.matches(&headers(&[("foo-language", other)])), "{other}");
        }
        assert!(!vary.matches(&HeaderMap::new()));
        assert!(!vary.matches(&headers(&[("foo-language", "de, en"), ("foo", "")])));
    }

    #[test]
    fn codings_are_a_set_with_weights() {
        let of = |value| headers(&[("accept-encoding", value)]);
        let vary = Vary::of(&headers(&[("vary", "accept-encoding")]), &of("gzip, br;q=0.5"), false);
        let vary = vary.unwrap();
        for same in ["br;q=0.5, gzip", "GZIP,Br; Q=0.50", "gzip;q=1, br;q=0.500"] {
            assert!(vary.matches(&of(same)), "{same}");
        }
        for other in ["gzip, br", "gzip", "gzip, br;q=0.4", "gzip;q=0, br;q=0.5", "gzip, br;q=x"] {
            assert!(!vary.matches(&of(other)), "{other}");
        }
        // In every process.
        let portable = |value| portable_value(&of(value), &ACCEPT_ENCODING, false);
        let one = portable("gzip, br;q=0.5");
        for same in ["br;q=0.5, gzip", "GZIP,Br; Q=0.50", "gzip;q=1, br;q=0.500"] {
            assert_eq!(portable(same), one, "{same}");
        }
        for other in ["gzip, br", "gzip", "gzip, br;q=0.4", "", "gzip, br;q=x"] {
            assert_ne!(portable(other), one, "{other}");
        }
        assert!(!vary.matches(&HeaderMap::new()));
    }

    #[test]
    fn languages_are_read_if_asked() {
        let of = |value| headers(&[("accept-language", value)]);
        let german = headers(&[("vary", "accept-language"), ("content-language", "de")]);
        let letter = Vary::of(&german, &of("en, de"), true).unwrap();
        assert!(letter.matches(&of("de, EN")));
        assert!(letter.matches(&of("fr;q=0.5, de;q=1.0")), "it is what the client likes best");
        assert!(!letter.matches(&of("fr, de")), "the client may like French as well");
        assert!(!letter.matches(&of("fr, de;q=0.5")));
        assert!(!letter.matches(&of("de;q=0")), "the client does not take it");
        let safe = Vary::of(&german, &of("en, de"), false).unwrap();
        assert!(!safe.matches(&of("de, en")), "order may be preference");
        assert!(!safe.matches(&of("fr;q=0.5, de;q=1.0")));
    }

    #[test]
    fn a_star_anywhere_and_what_is_no_name_match_nothing() {
        let vary = |named: &[_]| Vary::of(&headers(named), &HeaderMap::new(), false);
        for never in [&[("vary", "*")][..], &[("vary", "a, *")], &[("vary", "a b")]] {
            assert!(vary(never).is_none(), "{never:?}");
        }
        assert!(vary(&[("vary", "a"), ("vary", "*")]).is_none());
        assert!(vary(&[]).is_some());
    }
}
