use std::task::{Context, Poll};

use http::Request;
use tower_service::Service;

use crate::context::Attributes;
use crate::engine::Flags;
use crate::{EvaluationContext, Flag, FlagType};

/// The service behind a gate. While the gate is shut for everyone, nobody waits for it to be ready:
/// that a service is down is why many a gate is shut.
#[derive(Debug)]
pub(super) struct Behind<S> {
    inner: S,
    is_ready: bool,
}

impl<S> Behind<S> {
    pub(super) const fn new(inner: S) -> Self {
        Self { inner, is_ready: false }
    }

    pub(super) fn poll_ready<B>(
        &mut self,
        flags: &Flags,
        flag: &Flag<bool>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), S::Error>>
    where
        S: Service<Request<B>>,
    {
        let polled = self.inner.poll_ready(cx);
        self.is_ready = matches!(polled, Poll::Ready(Ok(())));
        if self.is_ready || !is_shut(flags, flag) { polled } else { Poll::Ready(Ok(())) }
    }

    /// The service, if it may be called.
    pub(super) fn ready(&mut self) -> Option<&mut S> {
        std::mem::take(&mut self.is_ready).then_some(&mut self.inner)
    }
}

/// A clone has to be made ready itself.
impl<S: Clone> Clone for Behind<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

/// Whether the flag is off whoever asks: it has no rule.
fn is_shut(flags: &Flags, flag: &Flag<bool>) -> bool {
    let (set, nobody) = (flags.set(), EvaluationContext::new());
    let index = set.index(flag.name(), flag.hash());
    let rule = index.and_then(|index| set.definition(index)?.targeting.as_ref());
    let mut resolved = flags
        .resolve(&set, index, |index| set.resolve(index, Attributes::of(&nobody), flags.time()));
    let value = index.and_then(|index| set.value(index, &mut resolved, bool::read));
    rule.is_none() && !value.unwrap_or_else(|| flag.default())
}
