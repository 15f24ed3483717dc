//! What `var` and `val` can see.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Evaluator, Outcome, Problem};
use crate::rule::value::text;
use crate::rule::{Path, Rule};

/// What the rule works on here, and what lies around it.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) data: Data<'a>,
    /// Where in the list that is being walked.
    pub(super) index: usize,
    pub(super) parent: Option<&'a Self>,
}

/// What `var` reads.
#[derive(Clone, Copy)]
pub(super) enum Data<'a> {
    Attributes(&'a Map<String, Value>),
    Item(&'a Value),
    Fold { current: &'a Value, accumulator: &'a Value },
}

impl<'a> Frame<'a> {
    pub(super) const fn root(data: Data<'a>) -> Self {
        Self { data, index: 0, parent: None }
    }
}

impl<'a> Data<'a> {
    fn member(self, key: &str) -> Option<&'a Value> {
        match self {
            Self::Attributes(map) => map.get(key),
            Self::Item(value) => member(value, key),
            Self::Fold { current, accumulator } => match key {
                "current" => Some(current),
                "accumulator" => Some(accumulator),
                _ => None,
            },
        }
    }

    fn whole(self) -> Cow<'a, Value> {
        match self {
            Self::Item(value) => Cow::Borrowed(value),
            Self::Attributes(map) => Cow::Owned(Value::Object(map.clone())),
            Self::Fold { current, accumulator } => Cow::Owned(Value::Object(Map::from_iter([
                ("current".to_owned(), current.clone()),
                ("accumulator".to_owned(), accumulator.clone()),
            ]))),
        }
    }
}

fn member<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(key),
        Value::Array(items) => key.parse::<usize>().ok().and_then(|at| items.get(at)),
        _ => None,
    }
}

impl<'s> Evaluator<'s> {
    pub(super) fn var<'a>(
        &mut self,
        path: &Path,
        default: Option<&'a Rule>,
        frame: Frame<'a>,
    ) -> Outcome<'a>
    where
        's: 'a,
    {
        match (self.lookup(path, frame.data)?, default) {
            (Some(value), _) if !value.is_null() => Ok(value),
            (_, Some(default)) => self.rule(default, frame),
            _ => Ok(Cow::Owned(Value::Null)),
        }
    }

    pub(super) fn lookup<'a>(
        &mut self,
        path: &Path,
        data: Data<'a>,
    ) -> Result<Option<Cow<'a, Value>>, Problem> {
        let Some((first, rest)) = path.parts.split_first() else {
            return self.whole(data).map(Some);
        };
        if !rest.is_empty()
            && let Data::Attributes(map) = data
            && let Some(value) = map.get(&path.whole)
        {
            return Ok(Some(Cow::Borrowed(value)));
        }
        let start = data.member(first);
        let found = rest.iter().try_fold(start, |value, part| Some(member(value?, part)));
        Ok(found.flatten().map(Cow::Borrowed))
    }

    fn whole<'a>(&mut self, data: Data<'a>) -> Outcome<'a> {
        let whole = data.whole();
        if let Cow::Owned(value) = &whole {
            self.pay(value, 0)?;
        }
        Ok(whole)
    }

    pub(super) fn val<'a>(&mut self, up: usize, keys: &'a [Rule], frame: Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        let found = self.find(up, keys, frame)?;
        Ok(found.unwrap_or(Cow::Owned(Value::Null)))
    }

    pub(super) fn exists<'a>(&mut self, keys: &'a [Rule], frame: Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        let found = self.find(0, keys, frame)?.is_some();
        super::bool(found)
    }

    /// Follows keys from `up` scopes further out. A loop counts as two scopes: its item, and
    /// around it what knows the index.
    fn find<'a>(
        &mut self,
        up: usize,
        keys: &'a [Rule],
        mut frame: Frame<'a>,
    ) -> Result<Option<Cow<'a, Value>>, Problem>
    where
        's: 'a,
    {
        let scope = frame;
        for _ in 0..up / 2 {
            match frame.parent {
                Some(parent) => frame = *parent,
                None => return Ok(None),
            }
        }
        let computed = match keys {
            [] if up.is_multiple_of(2) => return self.whole(frame.data).map(Some),
            [key] => Some(self.rule(key, scope)?),
            _ => None,
        };
        // A single key that is computed may turn out to be several.
        let several = computed.as_deref().and_then(Value::as_array);
        let count = several.map_or(keys.len(), Vec::len);
        let mut found: Option<&'a Value> = None;
        for at in 0..count {
            self.burn(1)?;
            let key = match (several, &computed) {
                (Some(several), _) => several.get(at).map(Cow::Borrowed),
                (None, Some(key)) => Some(Cow::Borrowed(&**key)),
                (None, None) => keys.get(at).map(|key| self.rule(key, scope)).transpose()?,
            };
            let Some(key) = key else { return Ok(None) };
            let key = text(&key);
            if at == 0 && up % 2 == 1 {
                let index = (key == "index").then(|| Cow::Owned(Value::from(frame.index)));
                return Ok(index);
            }
            found = match found {
                None => frame.data.member(&key),
                Some(value) => member(value, &key),
            };
            if found.is_none() {
                return Ok(None);
            }
        }
        match found {
            None if count == 0 => self.whole(frame.data).map(Some),
            found => Ok(found.map(Cow::Borrowed)),
        }
    }

    pub(super) fn missing(
        &mut self,
        names: &[Value],
        data: Data<'_>,
    ) -> Result<Vec<Value>, Problem> {
        let mut missing = Vec::new();
        for name in names {
            self.burn(1)?;
            let found = self.lookup(&Path::new(&text(name)), data)?;
            if found.is_none_or(|value| value.is_null() || value.as_str() == Some("")) {
                missing.push(name.clone());
            }
        }
        Ok(missing)
    }
}
