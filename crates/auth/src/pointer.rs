use serde_json::{Map, Value};

/// A JSON pointer (RFC 6901) into an object, taken apart once. One that does not begin with `/`
/// leads nowhere.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pointer {
    text: String,
    path: Vec<String>,
}

impl Pointer {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let unescape = |step: &str| step.replace("~1", "/").replace("~0", "~");
        let path = text.strip_prefix('/').map(|path| path.split('/').map(unescape).collect());
        Self { path: path.unwrap_or_default(), text }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The member to begin with, and the steps from there.
    pub(crate) fn steps(&self) -> Option<(&str, &[String])> {
        self.path.split_first().map(|(first, rest)| (&**first, rest))
    }

    /// Where it leads from the members of an object.
    pub(crate) fn find<'a>(&self, members: &'a Map<String, Value>) -> Option<&'a Value> {
        let (first, rest) = self.steps()?;
        Self::walk(members.get(first)?, rest)
    }

    /// Where `steps` lead from `value`.
    pub(crate) fn walk<'a>(value: &'a Value, steps: &[String]) -> Option<&'a Value> {
        steps.iter().try_fold(value, |value, step| match value {
            Value::Object(members) => members.get(step),
            Value::Array(items) => items.get(index(step)?),
            _ => None,
        })
    }
}

/// A place in an array, in its one spelling.
fn index(step: &str) -> Option<usize> {
    let canonical = !step.starts_with('+') && (step == "0" || !step.starts_with('0'));
    step.parse().ok().filter(|_| canonical)
}
