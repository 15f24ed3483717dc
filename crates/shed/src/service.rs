use std::task::{Context, Poll};

use bartizan_core::{Http, Mode, Protocol};
use tower_service::Service;

use crate::priority::Claim;
use crate::rejection::rejection;
use crate::shared::Decision;
use crate::triage::Triage;
use crate::waiting::Waiting;
use crate::{LoadShedder, ResponseFuture, Slot};

/// Middleware that refuses requests beyond a limit.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
pub struct LoadShed<S, P = Http, T = ()> {
    pub(crate) inner: S,
    pub(crate) shedder: LoadShedder,
    pub(crate) protocol: P,
    pub(crate) triage: T,
    pub(crate) until_head: bool,
}

impl<S, P, T, Req> Service<Req> for LoadShed<S, P, T>
where
    S: Service<Req> + Clone,
    P: Protocol<Req, S::Response, S::Error>,
    T: Triage<Req>,
{
    type Response = P::Response<Slot>;
    type Error = P::Error;
    type Future = ResponseFuture<S, P, Req>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The slot is taken in `call`: a clone that is ready but idle must not hold one.
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let mode = self.shedder.shared.switch.mode(|| None);
        let slot = if mode == Mode::Off || self.triage.is_exempt(&request) {
            Slot::uncounted()
        } else if !self.triage.is_expired(&request)
            && let Some(slot) = self.shedder.shared.enter()
        {
            slot
        } else {
            return self.call_full(mode, request);
        };
        let future = self.inner.call(request);
        ResponseFuture::admitted(future, self.protocol.clone(), slot, self.until_head)
    }
}

impl<S: Clone, P, T> LoadShed<S, P, T> {
    /// There is no free slot, or no use in one.
    #[cold]
    fn call_full<Req>(&mut self, mode: Mode, request: Req) -> ResponseFuture<S, P, Req>
    where
        S: Service<Req>,
        P: Protocol<Req, S::Response, S::Error>,
        T: Triage<Req>,
    {
        let mut claim = Claim::default();
        self.triage.describe(&request, &mut claim);
        let shared = &self.shedder.shared;
        match shared.knock(mode, claim, true) {
            Decision::Admit(slot) => {
                let future = self.inner.call(request);
                ResponseFuture::admitted(future, self.protocol.clone(), slot, self.until_head)
            }
            Decision::Refuse(reason) => {
                let dialect = self.protocol.dialect(&request);
                ResponseFuture::refused(self.protocol.refuse(dialect, rejection(reason)))
            }
            Decision::Wait(place, limited) => {
                // The service that is ready goes along with the request.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                let waiting = Waiting::new(shared.clone(), place, limited, inner, request);
                ResponseFuture::waiting(waiting, self.protocol.clone(), self.until_head)
            }
        }
    }
}
