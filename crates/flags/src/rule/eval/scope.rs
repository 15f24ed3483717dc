//! What `var` and `val` can see.

use serde_json::{Map, Value};

use super::{Evaluator, Outcome, Problem};
use crate::context::{Attributes, Name};
use crate::rule::val::{Val, text};
use crate::rule::{Path, Rule};

/// What the rule works on here, and what lies around it.
pub(super) struct Frame<'a> {
    pub(super) data: Data<'a>,
    /// Where in the list that is being walked.
    pub(super) index: usize,
    pub(super) parent: Option<&'a Self>,
}

/// What `var` reads.
#[derive(Clone, Copy)]
pub(super) enum Data<'a> {
    Attributes(Attributes<'a>),
    Item(&'a Value),
    Fold { current: &'a Value, accumulator: &'a Value },
}

impl<'a> Frame<'a> {
    pub(super) const fn root(data: Data<'a>) -> Self {
        Self { data, index: 0, parent: None }
    }
}

impl<'a> Data<'a> {
    #[inline]
    fn member(self, name: &Name) -> Option<Val<'a>> {
        match self {
            Self::Attributes(attributes) => attributes.get(name),
            Self::Item(value) => Val::of(value).member(name.as_str()),
            Self::Fold { current, accumulator } => match name.as_str() {
                "current" => Some(Val::of(current)),
                "accumulator" => Some(Val::of(accumulator)),
                _ => None,
            },
        }
    }

    fn whole(self) -> Val<'a> {
        match self {
            Self::Item(value) => Val::of(value),
            Self::Attributes(attributes) => Val::owned(attributes.to_json()),
            Self::Fold { current, accumulator } => Val::owned(Value::Object(Map::from_iter([
                ("current".to_owned(), current.clone()),
                ("accumulator".to_owned(), accumulator.clone()),
            ]))),
        }
    }
}

impl<'s> Evaluator<'s> {
    #[inline]
    pub(super) fn var<'a>(
        &mut self,
        path: &Path,
        default: Option<&'a Rule>,
        frame: &Frame<'a>,
    ) -> Outcome<'a>
    where
        's: 'a,
    {
        match (self.lookup(path, frame.data)?, default) {
            (Some(value), None) => Ok(value),
            (None, None) => Ok(Val::Null),
            (Some(value), Some(_)) if !value.is_null() => Ok(value),
            (_, Some(default)) => self.rule(default, frame),
        }
    }

    #[inline]
    fn lookup<'a>(&mut self, path: &Path, data: Data<'a>) -> Result<Option<Val<'a>>, Problem> {
        match path {
            Path::Whole => self.whole(data).map(Some),
            Path::Name(name) => Ok(data.member(name)),
            Path::Way { whole, first, rest } => {
                // Names may hold dots, so the undivided text is tried first.
                if let Data::Attributes(attributes) = data
                    && let Some(value) = attributes.get(whole)
                {
                    return Ok(Some(value));
                }
                let start = data.member(first);
                Ok(rest.iter().try_fold(start, |value, part| Some(value?.member(part))).flatten())
            }
        }
    }

    fn whole<'a>(&mut self, data: Data<'a>) -> Outcome<'a> {
        let whole = data.whole();
        if let Val::Owned(_) = &whole {
            self.pay(&whole)?;
        }
        Ok(whole)
    }

    pub(super) fn val<'a>(&mut self, up: usize, keys: &'a [Rule], frame: &Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        let found = self.find(up, keys, frame)?;
        Ok(found.unwrap_or(Val::Null))
    }

    pub(super) fn exists<'a>(&mut self, keys: &'a [Rule], frame: &Frame<'a>) -> Outcome<'a>
    where
        's: 'a,
    {
        Ok(Val::Bool(self.find(0, keys, frame)?.is_some()))
    }

    /// Follows keys from `up` scopes further out. A loop counts as two scopes: its item, and
    /// around it what knows the index.
    fn find<'a>(
        &mut self,
        up: usize,
        keys: &'a [Rule],
        scope: &Frame<'a>,
    ) -> Result<Option<Val<'a>>, Problem>
    where
        's: 'a,
    {
        let mut frame = scope;
        for _ in 0..up / 2 {
            match frame.parent {
                Some(parent) => frame = parent,
                None => return Ok(None),
            }
        }
        let computed = match keys {
            [] if up.is_multiple_of(2) => return self.whole(frame.data).map(Some),
            [key] => Some(self.rule(key, scope)?),
            _ => None,
        };
        // A single key that is computed may turn out to be several.
        let several = computed.as_ref().and_then(Val::items);
        let count = several.as_ref().map_or(keys.len(), |several| several.len());
        let mut found: Option<Val<'a>> = None;
        for at in 0..count {
            self.burn(1)?;
            let key = match (&several, &computed) {
                (Some(several), _) => several.get(at).map(Val::of),
                (None, Some(key)) => Some(key.clone()),
                (None, None) => keys.get(at).map(|key| self.rule(key, scope)).transpose()?,
            };
            let Some(key) = key else { return Ok(None) };
            self.scan(&key)?;
            let key = text(&key).into_owned();
            if at == 0 && up % 2 == 1 {
                return Ok((key == "index").then_some(Val::Float(frame.index as f64)));
            }
            found = match found {
                None => frame.data.member(&Name::new(key)),
                Some(value) => value.member(&key),
            };
            if found.is_none() {
                return Ok(None);
            }
        }
        match found {
            None if count == 0 => self.whole(frame.data).map(Some),
            found => Ok(found),
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
            let found = self.lookup(&Path::new(&text(&Val::of(name))), data)?;
            if found.is_none_or(|value| value.is_null() || value.as_str() == Some("")) {
                missing.push(name.clone());
            }
        }
        Ok(missing)
    }
}
