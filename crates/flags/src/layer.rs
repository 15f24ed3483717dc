use tower_layer::Layer;

use crate::WithFlags;
use crate::engine::Flags;

/// [`Layer`] that puts [`Flags`] in the extensions of every request.
///
/// Handlers take it from there, and build the context with
/// [`EvaluationContext::from_request`](crate::EvaluationContext::from_request). See the
/// [crate docs](crate) for examples.
#[derive(Clone, Debug)]
#[must_use]
pub struct FlagsLayer {
    flags: Flags,
}

impl FlagsLayer {
    /// Creates a layer that hands out `flags`.
    pub const fn new(flags: Flags) -> Self {
        Self { flags }
    }
}

impl<S> Layer<S> for FlagsLayer {
    type Service = WithFlags<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithFlags { inner, flags: self.flags.clone() }
    }
}
