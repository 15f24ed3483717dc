//! What a document says besides its flags, and several documents, one over the other.

use std::borrow::Cow;
use std::sync::Arc;

use bartizan_core::ConfigError;
use serde_json::{Map, Value};

use crate::bucket::Bucketing;
use crate::definition::FlagSet;

/// A document as far as it has to be right as a whole; its flags are looked at one by one.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    pub(crate) flags: &'a Map<String, Value>,
    evaluators: Option<&'a Map<String, Value>>,
    pub(crate) metadata: Option<&'a Map<String, Value>>,
    /// The version of bucketing that it names.
    bucketing: Option<Bucketing>,
    whole: &'a Value,
}

impl<'a> Document<'a> {
    pub(crate) fn read(whole: &'a Value) -> Result<Self, ConfigError> {
        let Some(flags) = whole.get("flags").and_then(Value::as_object) else {
            return Err(ConfigError::new(
                "flags",
                "is not an object",
                "write \"flags\": {\"name\": {...}} as flagd's flags.json schema says",
            ));
        };
        let object = |value: &'a Value| {
            value.as_object().ok_or_else(|| {
                ConfigError::new("$evaluators", "is not an object", "map names to rules")
            })
        };
        let evaluators = whole.get("$evaluators").map(object).transpose()?;
        let metadata = metadata("metadata", whole.get("metadata"))?;
        let bucketing = metadata.and_then(|members| members.get("bucketing"));
        let bucketing = bucketing.map(version).transpose()?;
        Ok(Self { flags, evaluators, metadata, bucketing, whole })
    }

    /// True if keys are spread over percentages by a version that the document does not name.
    pub(crate) fn guesses(&self) -> bool {
        self.bucketing.is_none() && mentions(self.whole, "fractional")
    }

    /// A plain value of the metadata, as text.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<str>> {
        let value = self.metadata?.get(name)?;
        Some(value.as_str().map_or_else(|| value.to_string().into(), Arc::from))
    }
}

/// By which version all of them spread keys: that of the lowest which has percentages or names one.
pub(crate) fn bucketing(all: &[Document<'_>]) -> Result<Bucketing, ConfigError> {
    let mut found = None;
    for document in all {
        match (found, document.bucketing) {
            // A document over others may take over their version, but not change it: that would
            // move whoever they have placed.
            (Some(before), Some(own)) if before != own => {
                return Err(ConfigError::new(
                    "metadata.bucketing",
                    "differs from that of another document in force",
                    "let all documents name the same version; without a name it is \"v3\"",
                ));
            }
            (Some(_), _) => {}
            (None, Some(own)) => found = Some(own),
            (None, None) => found = document.guesses().then(Bucketing::default),
        }
    }
    Ok(found.unwrap_or_default())
}

/// What `$ref` may name in any of them.
pub(crate) fn evaluators<'a>(all: &[Document<'a>]) -> Cow<'a, Map<String, Value>> {
    let mut found = all.iter().filter_map(|document| document.evaluators);
    let first = found.next().map_or_else(Cow::default, Cow::Borrowed);
    found.fold(first, |mut below, above| {
        below.to_mut().extend(above.iter().map(|(name, rule)| (name.clone(), rule.clone())));
        below
    })
}

/// The documents in force, from the lowest rank to the highest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Documents(Vec<Placed>);

#[derive(Clone, Debug)]
struct Placed {
    rank: u8,
    /// The number of the change that brought it.
    change: u64,
    document: Arc<Value>,
}

impl Documents {
    pub(crate) fn with(&self, rank: u8, change: u64, document: Value) -> Self {
        let mut next = self.clone();
        let placed = Placed { rank, change, document: Arc::new(document) };
        match next.find(rank) {
            Ok(at) => next.0[at] = placed,
            Err(at) => next.0.insert(at, placed),
        }
        next
    }

    pub(crate) fn get(&self, rank: u8) -> Option<&Value> {
        self.find(rank).ok().and_then(|at| self.0.get(at)).map(|placed| &*placed.document)
    }

    /// The change that brought the document of that rank, if there is one.
    pub(crate) fn change(&self, rank: u8) -> Option<u64> {
        self.find(rank).ok().and_then(|at| self.0.get(at)).map(|placed| placed.change)
    }

    /// Where the document of that rank is, or else would be.
    fn find(&self, rank: u8) -> Result<usize, usize> {
        self.0.binary_search_by_key(&rank, |placed| placed.rank)
    }

    /// The others; `None` if there is none of that rank.
    pub(crate) fn without(&self, rank: u8) -> Option<Self> {
        let at = self.find(rank).ok()?;
        let mut next = self.clone();
        next.0.remove(at);
        Some(next)
    }

    /// What they say together.
    pub(crate) fn set(&self) -> Result<FlagSet, ConfigError> {
        let all = self.0.iter().map(|placed| Document::read(&placed.document));
        FlagSet::of(&all.collect::<Result<Vec<_>, _>>()?)
    }
}

pub(crate) fn metadata<'a>(
    field: &str,
    value: Option<&'a Value>,
) -> Result<Option<&'a Map<String, Value>>, ConfigError> {
    let Some(value) = value else { return Ok(None) };
    let plain = |value: &Value| value.is_boolean() || value.is_number() || value.is_string();
    match value.as_object() {
        Some(members) if members.values().all(plain) => Ok(Some(members)),
        _ => Err(ConfigError::new(
            field.to_owned(),
            "holds more than plain values",
            "map names to booleans, numbers or strings",
        )),
    }
}

fn version(name: &Value) -> Result<Bucketing, ConfigError> {
    name.as_str().and_then(Bucketing::parse).ok_or_else(|| {
        ConfigError::new("metadata.bucketing", "is no known version", "write \"v2\" or \"v3\"")
    })
}

/// True if an object somewhere in `value` has a member of that name.
fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| mentions(item, name)),
        Value::Object(members) => {
            members.iter().any(|(member, value)| member == name || mentions(value, name))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_percentage_without_a_bucketing_version_is_noticed() {
        let guesses = |metadata, rule| {
            let flag = json!({"state": "ENABLED", "variants": {"on": true}, "targeting": rule});
            let document = json!({"flags": {"a": flag}, "metadata": metadata});
            Document::read(&document).unwrap().guesses()
        };
        let fractional = json!({"fractional": [["on", 1]]});
        assert!(guesses(json!({}), fractional.clone()));
        assert!(!guesses(json!({"bucketing": "v3"}), fractional));
        assert!(!guesses(json!({}), json!({"if": [true, "on"]})));
    }

    #[test]
    fn the_bucketing_version_is_read() {
        let set = |version| {
            let document = json!({"flags": {}, "metadata": {"bucketing": version}});
            Documents::default().with(0, 1, document).set()
        };
        assert_eq!(set("v2").unwrap().bucketing, Bucketing::V2);
        assert!(set("v9").is_err());
    }
}
