use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::pointer::Pointer;

/// What a member takes beside its texts once it is in a map.
const MEMBER_BYTES: usize = 64;
/// What a node of a map takes.
const NODE_BYTES: usize = 1024;
/// Up to as many names are compared each with each, which allocates nothing.
const FEW: usize = 16;

/// A JSON object in which no name comes twice: two parsers must not read it differently.
///
/// Names and texts are borrowed from the document, unless they hold escapes.
#[derive(Debug)]
pub(crate) struct Members<'a>(Vec<(Name<'a>, Member<'a>)>);

/// What stands under a name.
#[derive(Debug)]
pub(crate) enum Member<'a> {
    Text(Cow<'a, str>),
    Other(Value),
}

#[derive(Debug, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Members<'de> {
    /// All there are, whether a name comes twice or not.
    fn read<A: MapAccess<'de>>(mut access: A) -> Result<Self, A::Error> {
        let mut members = Vec::with_capacity(FEW);
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Self(members))
    }
}

impl Members<'_> {
    pub(crate) fn get(&self, name: &str) -> Option<&Member<'_>> {
        self.0.iter().find(|(known, _)| known.0 == name).map(|(_, member)| member)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The member if it is a text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Member::as_str)
    }

    /// The text where `at` leads.
    pub(crate) fn text_at(&self, at: &Pointer) -> Option<&str> {
        let (first, rest) = at.steps()?;
        match self.get(first)? {
            Member::Text(text) => rest.is_empty().then_some(text),
            Member::Other(value) => Pointer::walk(value, rest)?.as_str(),
        }
    }

    /// The words where `at` leads: of a list by spaces (RFC 6749 §3.3) or of an array, since
    /// providers use both.
    pub(crate) fn words_at(&self, at: &Pointer) -> impl Iterator<Item = &str> {
        let array = at.steps().and_then(|(first, rest)| match self.get(first)? {
            Member::Text(_) => None,
            Member::Other(value) => Pointer::walk(value, rest)?.as_array(),
        });
        let words = self.text_at(at).unwrap_or_default().split(' ').filter(|word| !word.is_empty());
        words.chain(array.into_iter().flatten().filter_map(Value::as_str))
    }

    /// About the bytes that it takes as a map.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|(name, member)| MEMBER_BYTES + name.0.len() + member.bytes()).sum()
    }

    fn has_twins(&self) -> bool {
        let Self(members) = self;
        if members.len() <= FEW {
            let mut rest = members.iter().enumerate();
            return rest.any(|(index, (name, _))| {
                members[..index].iter().any(|(other, _)| other.0 == name.0)
            });
        }
        let mut names: Vec<&str> = members.iter().map(|(name, _)| &*name.0).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }
}

impl Member<'_> {
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Other(_) => None,
        }
    }

    pub(crate) fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Other(Value::Array(values)) => Some(values),
            _ => None,
        }
    }

    pub(crate) fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Text(_) => None,
            Self::Other(value) => value.as_f64(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Other(value) => bytes(value),
        }
    }
}

impl PartialEq<Value> for Member<'_> {
    fn eq(&self, other: &Value) -> bool {
        match self {
            Self::Text(text) => other == &**text,
            Self::Other(value) => value == other,
        }
    }
}

fn bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(|value| MEMBER_BYTES + bytes(value)).sum(),
        Value::Object(members) => {
            let members = members.iter();
            let each = |(name, value): (&String, _)| MEMBER_BYTES + name.len() + bytes(value);
            NODE_BYTES + members.map(each).sum::<usize>()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfMembers)
    }
}

struct OfMembers;

impl<'de> Visitor<'de> for OfMembers {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Members<'de>, A::Error> {
        let members = Members::read(access)?;
        if members.has_twins() {
            return Err(A::Error::custom("a member comes twice"));
        }
        Ok(members)
    }
}

/// An object of a list in which whatever else may stand, and does not spoil it: nothing if it is no
/// object, or one in which a name comes twice.
#[derive(Debug)]
pub(crate) struct Listed<'a>(pub(crate) Option<Members<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Listed<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfListed)
    }
}

struct OfListed;

impl<'de> Visitor<'de> for OfListed {
    type Value = Listed<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Listed<'de>, A::Error> {
        let members = Members::read(access)?;
        Ok(Listed(if members.has_twins() { None } else { Some(members) }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<Listed<'de>, A::Error> {
        IgnoredAny.visit_seq(access).map(|_| Listed(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Listed<'de>, E> {
        Ok(Listed(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Listed<'de>, E> {
        Ok(Listed(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Listed<'de>, E> {
        Ok(Listed(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Listed<'de>, E> {
        Ok(Listed(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Listed<'de>, E> {
        Ok(Listed(None))
    }

    fn visit_unit<E>(self) -> Result<Listed<'de>, E> {
        Ok(Listed(None))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Member<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfMember)
    }
}

/// All but texts is left to serde_json, which has ways of its own to say numbers.
struct OfMember;

impl<'de> Visitor<'de> for OfMember {
    type Value = Member<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Member::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Member::Text(text.to_owned().into()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Member::Other(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Member::Other(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Member::Other(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Member::Other(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Member::Other(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<Self::Value, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(access)).map(Member::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Self::Value, A::Error> {
        Value::deserialize(MapAccessDeserializer::new(access)).map(Member::Other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::{collection, sample};
    use serde_json::Map;

    use super::*;

    #[test]
    fn only_objects_with_unique_names_are_read() {
        let read = |json: &str| serde_json::from_str::<Members<'_>>(json).is_ok();
        assert!(read(r#"{"a":1,"b":{}}"#));
        assert!(!read(r#"{"a":1,"\u0061":1}"#));
        assert!(!read(r#"["a",1]"#));
        assert!(!read(r#"{"a":"\ud800"}"#));
        assert!(!read(r#"{"a":1} "#.trim_end().repeat(2).as_str()));
        for count in [FEW, FEW + 1, 500] {
            let of = |names: &mut dyn Iterator<Item = usize>| {
                let members: Vec<_> = names.map(|name| format!("\"{name}\":0")).collect();
                format!("{{{}}}", members.join(","))
            };
            assert!(read(&of(&mut (0..count))));
            assert!(!read(&of(&mut (1..count).chain([1]))), "{count}");
        }
    }

    #[test]
    fn members_are_what_serde_json_reads() {
        let json = r#"{"t":"a","e":"\u0061b","n":null,"b":true,"i":-1,"u":7,"f":1.5,"l":["x",1],"o":{"a/b":"y"}}"#;
        let members: Members<'_> = serde_json::from_str(json).unwrap();
        let map: Value = serde_json::from_str(json).unwrap();
        for (name, value) in map.as_object().unwrap() {
            assert!(*members.get(name).unwrap() == *value, "{name}");
            assert!(*members.get(name).unwrap() != Value::from("other"), "{name}");
        }
        assert!(matches!(members.get("t"), Some(Member::Text(Cow::Borrowed("a")))));
        let at = |pointer: &str| Pointer::new(pointer);
        assert_eq!(members.text_at(&at("/o/a~1b")), Some("y"));
        assert_eq!(members.text_at(&at("/t")), Some("a"));
        assert_eq!(members.text_at(&at("/l/0")), Some("x"));
        for none in ["", "t", "/t/x", "/l", "/l/1", "/l/00", "/l/+0", "/o", "/z"] {
            assert_eq!(members.text_at(&at(none)), None, "{none}");
        }
        assert_eq!(members.words_at(&at("/l")).collect::<Vec<_>>(), ["x"]);
        assert!(members.bytes() > json.len());
    }

    /// What is believed of a token by its members is what is found later in the map of its claims.
    fn agree(json: &str) {
        let map = serde_json::from_str::<Map<String, Value>>(json);
        let Ok(Members(members)) = serde_json::from_str(json) else { return };
        let map = map.unwrap();
        assert_eq!(members.len(), map.len(), "{json}");
        assert!(members.iter().all(|(name, member)| *member == map[&*name.0]), "{json}");
    }

    #[test]
    fn members_are_as_deep_as_maps() {
        for depth in 100..140 {
            for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                let json = format!("{{\"a\":{}1{}}}", open.repeat(depth), close.repeat(depth));
                agree(&json);
                let (members, map) = (
                    serde_json::from_str::<Members<'_>>(&json).is_ok(),
                    serde_json::from_str::<Map<String, Value>>(&json).is_ok(),
                );
                assert_eq!(members, map, "{depth}");
            }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                collection::hash_map("[a-c\u{e9}\"]{0,2}", inner, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn members_agree_with_maps(
            members in collection::hash_map("[a-c\u{e9}\"]{0,2}", value(), 0..20),
            at in any::<sample::Index>(), other in any::<char>(),
        ) {
            let json = members.into_iter().collect::<Value>().to_string();
            agree(&json);
            assert!(serde_json::from_str::<Members<'_>>(&json).is_ok());
            // And with one character made another, if that is still JSON.
            let mut spoilt: Vec<char> = json.chars().collect();
            spoilt[at.index(json.chars().count())] = other;
            agree(&spoilt.iter().collect::<String>());
        }
    }
}
