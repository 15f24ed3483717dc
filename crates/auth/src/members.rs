use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

/// A JSON object in which no name comes twice: two parsers must not read it differently.
#[derive(Debug)]
pub(crate) struct Members(pub(crate) Map<String, Value>);

impl Members {
    /// The member if it is a string.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Unique)
    }
}

struct Unique;

impl<'de> Visitor<'de> for Unique {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members, A::Error> {
        let mut members = Map::new();
        while let Some((name, value)) = access.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member comes twice"));
            }
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_with_unique_names_are_read() {
        let read = |json: &str| serde_json::from_str::<Members>(json).is_ok();
        assert!(read(r#"{"a":1,"b":{}}"#));
        assert!(!read(r#"{"a":1,"\u0061":1}"#));
        assert!(!read(r#"["a",1]"#));
        assert!(!read(r#"{"a":"\ud800"}"#));
        assert!(!read(r#"{"a":1} "#.trim_end().repeat(2).as_str()));
    }
}
