use std::borrow::Cow;

/// A setting that cannot be: which one, what is wrong with it, and what to write instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{field}`: {problem}; {fix}")]
pub struct ConfigError {
    field: Cow<'static, str>,
    problem: Cow<'static, str>,
    fix: Cow<'static, str>,
}

impl ConfigError {
    /// Names the field, the problem and the fix.
    #[must_use]
    pub fn new(
        field: impl Into<Cow<'static, str>>,
        problem: impl Into<Cow<'static, str>>,
        fix: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: field.into(), problem: problem.into(), fix: fix.into() }
    }

    /// The field that is wrong.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }
}
