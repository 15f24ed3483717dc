//! flagd's flag-definition document, parsed into compiled flags.

use std::cell::Cell;
use std::sync::Arc;

use bartizan_core::ConfigError;
use hashbrown::HashTable;
use serde_json::{Map, Value};

use crate::bucket::Bucketing;
use crate::context::Mentions;
use crate::document::{self, Document};
use crate::flag::FlagKind;
use crate::name::hash;
use crate::rule::{Plan, Surroundings, compile};

/// The longest document that is read, in bytes.
pub(crate) const MAX_DOCUMENT: usize = 16 << 20;
/// The longest name of a flag or a variant, in bytes.
const MAX_NAME: usize = 1024;

/// Everything a document says.
#[derive(Debug, Default)]
pub(crate) struct FlagSet {
    /// Where in `entries` a flag stands.
    places: HashTable<(Box<str>, u32)>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) bucketing: Bucketing,
    /// The `version` in the metadata of the lowest document that has one.
    pub(crate) version: Option<Arc<str>>,
    /// What was wrong with single flags; the others are in force.
    pub(crate) problems: Vec<ConfigError>,
    /// Which attributes some rule may read.
    pub(crate) mentions: Mentions,
    /// False before the first document.
    pub(crate) loaded: bool,
}

/// A flag of the document, or the place of one that could not be used.
#[derive(Debug)]
pub(crate) enum Entry {
    Broken,
    Sound(Definition),
}

/// A flag, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: Arc<str>,
    pub(crate) enabled: bool,
    pub(crate) kind: FlagKind,
    /// Few, so that a search from the front beats a table.
    pub(crate) variants: Vec<Variant>,
    pub(crate) default_variant: Option<u32>,
    pub(crate) targeting: Option<Plan>,
    /// The flag's own metadata over the document's.
    pub(crate) metadata: Arc<Map<String, Value>>,
    pub(crate) labels: Labels,
}

/// What the document that defines a flag is called.
#[derive(Clone, Debug)]
pub(crate) struct Labels {
    /// The `flagSetId` in its metadata.
    pub(crate) set: Option<Arc<str>>,
    pub(crate) version: Option<Arc<str>>,
}

/// A value by its name.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) name: Arc<str>,
    pub(crate) value: Value,
}

/// Reads a document as JSON.
pub(crate) fn parse(text: &str) -> Result<Value, ConfigError> {
    if text.len() > MAX_DOCUMENT {
        return Err(ConfigError::new(
            "document",
            format!("is longer than {MAX_DOCUMENT} bytes"),
            "split it, or keep data out of it",
        ));
    }
    serde_json::from_str(text).map_err(|error| {
        ConfigError::new(
            "document",
            format!("is not JSON (line {}, column {})", error.line(), error.column()),
            "correct the syntax there",
        )
    })
}

/// What the flags of a document have in common.
struct Common<'a> {
    metadata: Option<&'a Map<String, Value>>,
    labels: Labels,
    evaluators: &'a Map<String, Value>,
    expanded: &'a Cell<usize>,
}

impl FlagSet {
    /// What the documents say together, from the lowest to the highest: where two of them define the
    /// same flag, that of the higher holds, whole.
    pub(crate) fn of(documents: &[Document<'_>]) -> Result<Self, ConfigError> {
        let (evaluators, expanded) = (document::evaluators(documents), Cell::new(0));
        let mut set = Self {
            loaded: !documents.is_empty(),
            bucketing: document::bucketing(documents)?,
            version: documents.iter().find_map(|document| document.named("version")),
            ..Self::default()
        };
        for document in documents.iter().rev() {
            let (id, version) = (document.named("flagSetId"), document.named("version"));
            let common = Common {
                metadata: document.metadata,
                labels: Labels { set: id, version },
                evaluators: &evaluators,
                expanded: &expanded,
            };
            for (name, flag) in document.flags {
                if set.index(name, hash(name)).is_none() {
                    set.add(name, flag, &common);
                }
            }
        }
        Ok(set)
    }

    fn add(&mut self, name: &str, flag: &Value, common: &Common<'_>) {
        // One flag that is wrong must not take the others down.
        let mut mentions = Mentions::default();
        let Common { metadata, labels, evaluators, expanded } = common;
        let bucketing = self.bucketing;
        let surroundings = Surroundings { flag: name, evaluators, bucketing, expanded };
        let entry = match Definition::parse(surroundings, flag, *metadata, labels, &mut mentions) {
            Ok(definition) => {
                self.mentions.join(mentions);
                Entry::Sound(definition)
            }
            Err(problem) => {
                self.problems.push(problem);
                Entry::Broken
            }
        };
        // A document of 16 MiB has no more flags than that.
        let place = (name.into(), self.entries.len() as u32);
        self.places.insert_unique(hash(name), place, |(name, _)| hash(name));
        self.entries.push(entry);
    }

    /// Where the flag stands whose name has this hash.
    #[inline]
    pub(crate) fn index(&self, flag: &str, hash: u64) -> Option<u32> {
        self.places.find(hash, |(name, _)| **name == *flag).map(|(_, index)| *index)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|(name, _)| &**name)
    }
}

impl Definition {
    fn parse(
        surroundings: Surroundings<'_>,
        flag: &Value,
        common: Option<&Map<String, Value>>,
        labels: &Labels,
        mentions: &mut Mentions,
    ) -> Result<Self, ConfigError> {
        let name = surroundings.flag;
        let wrong = |field: &str, problem: &str, fix: &str| {
            ConfigError::new(format!("flags.{name}{field}"), problem.to_owned(), fix.to_owned())
        };
        let Some(flag) = flag.as_object() else {
            return Err(wrong("", "is not an object", "give it a state and variants"));
        };
        let enabled = match flag.get("state").and_then(Value::as_str) {
            Some("ENABLED") => true,
            Some("DISABLED") => false,
            _ => return Err(wrong(".state", "is no state", "write \"ENABLED\" or \"DISABLED\"")),
        };
        let variants = match flag.get("variants").and_then(Value::as_object) {
            Some(variants) if !variants.is_empty() => variants,
            _ => return Err(wrong(".variants", "has no variant", "name at least one")),
        };
        if name.len() > MAX_NAME || variants.keys().any(|variant| variant.len() > MAX_NAME) {
            return Err(wrong("", "has a name of more than 1024 bytes", "shorten it"));
        }
        let mut kinds = variants.values().map(FlagKind::of);
        let first = kinds.next().flatten();
        let mixed = kinds.any(|kind| kind != first);
        let Some(kind) = first.filter(|_| !mixed) else {
            return Err(wrong(
                ".variants",
                "mixes types",
                "give every variant a boolean, or every one a string, a number or an object",
            ));
        };
        let default_variant = match flag.get("defaultVariant") {
            None | Some(Value::Null) => None,
            Some(Value::String(variant)) if variants.contains_key(variant) => {
                variants.keys().position(|name| name == variant).map(|at| at as u32)
            }
            Some(_) => {
                return Err(wrong(
                    ".defaultVariant",
                    "names no variant",
                    "name one, or leave it out",
                ));
            }
        };
        let targeting = match flag.get("targeting") {
            None | Some(Value::Null) => None,
            Some(Value::Object(rule)) if rule.is_empty() => None,
            Some(rule @ Value::Object(_)) => {
                let rule = compile(rule, surroundings, mentions).map_err(|problem| {
                    wrong(".targeting", &problem, "see flagd's documentation of custom operations")
                })?;
                let place = |name: &str| variants.keys().position(|variant| variant == name);
                Some(Plan::new(rule, &|name| place(name).map(|at| at as u32)))
            }
            Some(_) => {
                return Err(wrong(".targeting", "is not an object", "write a JsonLogic rule"));
            }
        };
        let own = document::metadata(&format!("flags.{name}.metadata"), flag.get("metadata"))?;
        let mut metadata = common.cloned().unwrap_or_default();
        metadata.extend(own.cloned().unwrap_or_default());
        let variant = |(name, value): (&String, &Value)| Variant {
            name: Arc::from(name.as_str()),
            value: value.clone(),
        };
        Ok(Self {
            name: name.into(),
            enabled,
            kind,
            variants: variants.iter().map(variant).collect(),
            default_variant,
            targeting,
            metadata: Arc::new(metadata),
            labels: labels.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bad_flag_is_isolated_and_named() {
        let document = json!({"flags": {
            "good": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"},
            "bad": {"state": "ENABLED", "variants": {"on": true}, "targeting": {"$ref": "gone"}},
        }});
        let set = FlagSet::of(&[Document::read(&document).unwrap()]).unwrap();
        let entry = |name| &set.entries[set.index(name, hash(name)).unwrap() as usize];
        assert!(matches!(entry("good"), Entry::Sound(_)));
        assert!(matches!(entry("bad"), Entry::Broken));
        assert_eq!(set.problems.len(), 1);
        let problem = set.problems[0].to_string();
        assert!(problem.starts_with("`flags.bad.targeting`: refers to `gone`"), "{problem}");
    }

    #[test]
    fn a_syntax_error_tells_its_place() {
        let error = parse("{\n  \"flags\": }").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
