use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Sleep;

use crate::queue::Place;
use crate::shared::{Limited, Shared};
use crate::{Reason, Slot};

/// A request that waits for a slot, with the service that is ready for it. Dropped, it does not wait
/// any more.
pub(crate) struct Waiting<S, Req> {
    shared: Arc<Shared>,
    place: Option<Place>,
    /// Both until there is a verdict.
    call: Option<(S, Req)>,
    /// Ends the wait if nothing else happens. Without a runtime, whoever comes or leaves does.
    timer: Option<Pin<Box<Sleep>>>,
    /// Why the timer does.
    reason: Reason,
}

impl<S, Req> Waiting<S, Req> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        place: Place,
        Limited { after, reason }: Limited,
        inner: S,
        request: Req,
    ) -> Self {
        let timer = tokio::runtime::Handle::try_current()
            .is_ok()
            .then(|| Box::pin(tokio::time::sleep(after)));
        Self { shared, place: Some(place), call: Some((inner, request)), timer, reason }
    }

    /// Comes to the service, the request, and a slot or the reason why there is none.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(S, Req, Result<Slot, Reason>)> {
        let place = self.place.expect("polled after completion");
        let mut verdict = self.shared.lobby.poll(place, cx.waker());
        if verdict.is_none()
            && self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
        {
            // It may have been decided on at the last moment.
            verdict = self.shared.lobby.poll(place, cx.waker());
            if verdict.is_none() {
                self.shared.leave(place);
                verdict = Some(Err(self.reason));
            }
        }
        let Some(verdict) = verdict else { return Poll::Pending };
        self.place = None;
        let (inner, request) = self.call.take().expect("polled after completion");
        let slot = match verdict {
            Ok(entry) => Ok(self.shared.slot(entry, false)),
            Err(reason) => {
                self.shared.refused(reason);
                Err(reason)
            }
        };
        Poll::Ready((inner, request, slot))
    }
}

impl<S, Req> Drop for Waiting<S, Req> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.shared.leave(place);
        }
    }
}
