use std::task::{Context, Poll};
use std::time::Duration;

use bartizan_core::{Http, Protocol, Rejection};
use http::StatusCode;
use tower_service::Service;

use crate::{Exempt, LoadShedder, NoneExempt, ResponseFuture, Slot};

const OVERLOADED: Rejection = Rejection::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "overloaded",
    "too many requests are in flight",
)
.problem_type("https://iana.org/assignments/http-problem-types#temporary-reduced-capacity")
.retry_after(Duration::from_secs(1));

/// Middleware that refuses requests beyond a limit.
///
/// See the [crate docs](crate) for examples.
#[derive(Clone, Debug)]
pub struct LoadShed<S, P = Http, X = NoneExempt> {
    pub(crate) inner: S,
    pub(crate) shedder: LoadShedder,
    pub(crate) protocol: P,
    pub(crate) exempt: X,
}

impl<S, P, X, Req> Service<Req> for LoadShed<S, P, X>
where
    S: Service<Req>,
    P: Protocol<Req, S::Response, S::Error>,
    X: Exempt<Req>,
{
    type Response = P::Response<Slot>;
    type Error = P::Error;
    type Future = ResponseFuture<S::Future, P, Req, S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The slot is taken in `call`: a clone that is ready but idle must not hold one.
        self.inner.poll_ready(cx).map_err(|error| self.protocol.error(error))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let slot = if self.exempt.is_exempt(&request) {
            Some(Slot::uncounted())
        } else {
            self.shedder.admit()
        };
        match slot {
            Some(slot) => {
                ResponseFuture::admitted(self.inner.call(request), self.protocol.clone(), slot)
            }
            None => {
                let dialect = self.protocol.dialect(&request);
                ResponseFuture::refused(self.protocol.refuse(dialect, OVERLOADED))
            }
        }
    }
}
