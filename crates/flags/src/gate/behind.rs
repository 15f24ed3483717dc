use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Request;
use tokio::sync::futures::OwnedNotified;
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
    /// Word of another document, while somebody waits for the service.
    changed: Option<Pin<Box<OwnedNotified>>>,
}

impl<S> Behind<S> {
    pub(super) const fn new(inner: S) -> Self {
        Self { inner, is_ready: false, changed: None }
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
        if polled.is_ready() {
            self.changed = None;
            return if self.is_ready || !is_shut(flags, flag) {
                polled
            } else {
                Poll::Ready(Ok(()))
            };
        }
        loop {
            if is_shut(flags, flag) {
                self.changed = None;
                return Poll::Ready(Ok(()));
            }
            match &mut self.changed {
                // Then the flag is looked at once more, so that no change is missed.
                None => self.changed = Some(Box::pin(flags.changed())),
                Some(changed) => {
                    ready!(changed.as_mut().poll(cx));
                    self.changed = None;
                }
            }
        }
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
